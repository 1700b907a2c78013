/**
 * What of a timing goes to Temporal, and the times it makes of that, from any moment on. Around an offset change these depend on the moment the walk starts from (the server looks
 * for each slot from the one before), so that only `clock-change.ts` asks there, in the server's own steps; everywhere else the start does not matter.
 */
import { type CompiledCalendar, nextOfCalendar } from './calendar-walk.ts';
import type { Calendar } from './cron.ts';
import { valuesOf } from './ranges.ts';
import type { Interval, Timing } from './timing.ts';
import { type Zone, zoneOf } from './zone.ts';

/** The first time after an epoch second; null when there is none. */
export type Walker = (afterS: number) => number | null;

/** The widest distance between two slots that is looked for: every repeating schedule that fires at all fires again within 40 years. */
export const HORIZON_S = 41 * 366 * 86_400;
/** The server fires nothing after the year 2100. */
export const END_S = Date.UTC(2101, 0, 1) / 1_000;

/** A calendar that fires at every hour of every day is sent as at most so many intervals. */
const MOST_INTERVALS = 60;
/** Zones that had their last change before this are left as they are: nothing goes wrong there. */
const LAST_STEADY_S = Date.UTC(2020, 0, 1) / 1_000;

/** What the clock's schedule holds besides its dated extras. */
export type SentParts = { calendars: Calendar[]; intervals: Interval[] };

/**
 * A calendar of every hour, such as `*\/15 * * * *`, means the same as an interval where the zone only ever changes by whole periods, and the server, which loses slots of such
 * calendars in repeated hours, loses none of an interval.
 */
export function sentParts(timing: Timing): SentParts {
  const calendars: Calendar[] = [];
  const intervals = [...timing.intervals];
  for (const calendar of timing.calendars) {
    const steady = intervalsOf(calendar, zoneOf(timing.timezone));
    if (steady) intervals.push(...steady);
    else calendars.push(calendar);
  }
  const unique = new Map(intervals.map((interval) => [`${interval.everyS} ${interval.offsetS}`, interval]));
  return { calendars, intervals: [...unique.values()] };
}

function intervalsOf(calendar: Calendar, zone: Zone): Interval[] | null {
  if (!firesEveryHour(calendar) || valuesOf(calendar.dayOfMonth).length < 31) return null;
  if (valuesOf(calendar.month).length < 12 || valuesOf(calendar.dayOfWeek).length < 7) return null;
  if (zone.nextChange(LAST_STEADY_S) === null) return null;
  const minutes = valuesOf(calendar.minute);
  const period = minutes.length === 60 ? 60 : 3_600;
  const [first, ...others] = zone.changes(0, END_S).flatMap(({ before, after }) => [before, after]);
  if (others.some((offset) => (offset - first!) % period !== 0)) return null;
  const seconds = valuesOf(calendar.second);
  const walls = period === 60 ? seconds : minutes.flatMap((minute) => seconds.map((second) => minute * 60 + second));
  const times = walls.map((wall) => (((wall - first!) % period) + period) % period).sort((a, b) => a - b);
  const step = period / times.length;
  if (times.every((time, index) => time === times[0]! + index * step)) return [{ everyS: step, offsetS: times[0]! }];
  return times.length > MOST_INTERVALS ? null : times.map((offsetS) => ({ everyS: period, offsetS }));
}

/** A repeated hour of such a calendar is two hours; of any other it is one that comes twice. */
export const firesEveryHour = (calendar: Calendar): boolean => valuesOf(calendar.hour).length === 24;

/** The union of calendars and intervals, in any zone. */
export function createWalker(calendars: readonly CompiledCalendar[], intervals: readonly Interval[], zone: Zone): Walker {
  const nexts = calendars.map((calendar) => createCalendarWalker(calendar, zone));
  return (afterS) => {
    const from = Math.max(afterS, -1);
    let next = Number.POSITIVE_INFINITY;
    const stretch = nexts.length === 0 ? STEADY : stretchOf(zone, from);
    for (const nextOf of nexts) next = Math.min(next, nextOf(from, stretch));
    for (const interval of intervals) next = Math.min(next, nextOfInterval(interval, from));
    return next < END_S && next - from <= HORIZON_S ? next : null;
  };
}

const STEADY_S = 2 * 86_400;
const STEADY = -1;
const HOUR_S = 3_600;

/**
 * From all starts in one stretch a calendar's walk is the same, as far as it takes it past the start. Away from changes that is all time: the walk leaves the start's day at midnight
 * in the same state. Within two days of one it is one copy of an hour on the wall.
 */
function stretchOf(zone: Zone, afterS: number): number {
  if (zone.isSteady(afterS - STEADY_S, afterS + STEADY_S)) return STEADY;
  const offset = zone.offsetAt(afterS);
  const hour = Math.floor((afterS + offset) / HOUR_S);
  const hourBefore = Math.floor((afterS - HOUR_S + zone.offsetAt(afterS - HOUR_S)) / HOUR_S);
  return (hour * 2 + (hour === hourBefore ? 1 : 0)) * 200_000 + offset + 100_000;
}

/** One calendar, which remembers its last answer: a union of fifty crons asks each of them again for every slot of any of them. */
function createCalendarWalker(calendar: CompiledCalendar, zone: Zone): (afterS: number, stretch: number) => number {
  let from = Number.POSITIVE_INFINITY;
  let next = Number.POSITIVE_INFINITY;
  let known = STEADY;
  const found = { wallS: 0 };
  /** In a repeated hour the server's answer can be a wall time that the start has passed. */
  const isAhead = (afterS: number) => found.wallS > afterS + zone.offsetAt(afterS);
  return (afterS, stretch) => {
    if (afterS >= from && afterS < next && (afterS === from || stretch === STEADY || (stretch === known && isAhead(afterS)))) return next;
    from = afterS;
    known = stretch;
    found.wallS = Number.POSITIVE_INFINITY;
    next = strictlyNext(calendar, zone, afterS, found) ?? Number.POSITIVE_INFINITY;
    return next;
  };
}

/**
 * When a zone leaves out a whole day (Samoa, 30 December 2011) the server's walk can answer with a moment that is not after the one asked about, and would stay
 * there for ever. Ours looks on from a little later.
 */
function strictlyNext(calendar: CompiledCalendar, zone: Zone, afterS: number, found: { wallS: number }): number | null {
  let slot = nextOfCalendar(calendar, zone, afterS, found);
  for (let from = afterS; slot !== null && slot <= afterS; slot = nextOfCalendar(calendar, zone, from, found)) from += 900;
  return slot;
}

/** Intervals count from the epoch; the division truncates, as the server's does before an interval's first time. */
export function nextOfInterval({ everyS, offsetS }: Interval, afterS: number): number {
  return (Math.trunc((afterS - offsetS) / everyS) + 1) * everyS + offsetS;
}
