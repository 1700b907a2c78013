/** A timing made ready to be walked: compiled once, shared by all who ask. */
import { type CompiledCalendar, compileCalendar, nextOfCalendar } from './calendar-walk.ts';
import { createDateSource, remembering, type WallSource } from './date-rule.ts';
import { firesEveryHour, sentParts } from './server-walk.ts';
import type { Interval, Timing } from './timing.ts';
import { fixedZone } from './zone.ts';

/** The wall times of one calendar or date rule. */
export type PlannedWalls = { next: WallSource; everyHour: boolean; isDates: boolean };

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
  const dates = (timing.dates ?? []).map((rule) => remembering(createDateSource(rule)));
  return {
    timing,
    walls: [
      ...timing.calendars.map((calendar) => ({
        next: wallsOf(compileCalendar(calendar)),
        everyHour: firesEveryHour(calendar),
        isDates: false,
      })),
      ...dates.map((next) => ({ next, everyHour: false, isDates: true })),
    ],
    sent: sent.calendars.map(compileCalendar).map((compiled) => ({ compiled, wall: wallsOf(compiled) })),
    sentIntervals: sent.intervals,
    dates,
  };
}
