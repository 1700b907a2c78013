/** A timing made ready to be walked: compiled once, shared by all who ask. */
import { type CompiledCalendar, compileCalendar, nextOfCalendar } from './calendar-walk.ts';
import { createDateSource, remembering, type WallSource } from './date-rule.ts';
import { firesEveryHour, sentParts } from './server-walk.ts';
import type { Interval, Timing } from './timing.ts';
import { fixedZone } from './zone.ts';

/** The wall times of one calendar or date rule, twice: for the clocks before a change and for those after it. */
export type PlannedWalls = { onOld: WallSource; onNew: WallSource; everyHour: boolean; isDates: boolean };

export type Plan = {
  timing: Timing;
  /** All that the timing means, but for its intervals. */
  walls: PlannedWalls[];
  /** What Temporal is sent. */
  sent: { compiled: CompiledCalendar; wall: WallSource }[];
  sentIntervals: Interval[];
  /** The wall times that Temporal is not sent. */
  dates: WallSource[];
};

const WALL = fixedZone(0);
const wallsOf = (compiled: CompiledCalendar): WallSource => remembering((after) => nextOfCalendar(compiled, WALL, after));

export function planOf(timing: Timing): Plan {
  const sent = sentParts(timing);
  const rules = (timing.dates ?? []).map(createDateSource);
  const calendars = timing.calendars.map((calendar) => ({ compiled: compileCalendar(calendar), everyHour: firesEveryHour(calendar) }));
  return {
    timing,
    walls: [
      ...calendars.map(({ compiled, everyHour }) => ({ onOld: wallsOf(compiled), onNew: wallsOf(compiled), everyHour, isDates: false })),
      ...rules.map((next) => ({ onOld: remembering(next), onNew: remembering(next), everyHour: false, isDates: true })),
    ],
    sent: sent.calendars.map(compileCalendar).map((compiled) => ({ compiled, wall: wallsOf(compiled) })),
    sentIntervals: sent.intervals,
    dates: rules.map(remembering),
  };
}
