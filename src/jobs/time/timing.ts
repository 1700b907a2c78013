/**
 * A timing is a schedule reduced to what decides its slots: the part that Temporal keeps, that a clock's hash covers (semantics 5) and that the oracle reads.
 * Start, end and jitter are not in it: admit applies them. Two spellings of one schedule give the same timing.
 */
import { createHash } from 'node:crypto';
import { compileRule } from './calendar-compile.ts';
import { type Calendar, compileCron } from './cron.ts';
import type { DateRule } from './date-rule.ts';
import { durationMs } from './duration.ts';
import { FIELDS, isWithin, type Range, rangesOf, valuesOf } from './ranges.ts';
import type { Schedule } from './schedule-document.ts';

/** Every `everyS` seconds since the epoch, shifted by `offsetS` (0 <= offsetS < everyS). */
export type Interval = { everyS: number; offsetS: number };

/** JSON-serialisable and canonical: equal timings are equal texts. The slots are the union of all calendars, intervals and dates; `dates` is left out when there are none. */
export type Timing = { calendars: Calendar[]; intervals: Interval[]; dates?: DateRule[]; timezone: string };

/**
 * The timing of a schedule; null for a one-off (`at`, `delay`), which has no clock.
 * @param createdAt when the job (or this schedule of it) was created; only `alignTo: creation` reads it, in whole seconds.
 */
export function timingOf(schedule: Schedule, createdAt: Date): Timing | null {
  const known = made.get(schedule);
  if (known && (schedule.alignTo !== 'creation' || known.createdAt === createdAt.getTime())) return known.timing;
  const timing = compileTiming(schedule, createdAt);
  made.set(schedule, { createdAt: createdAt.getTime(), timing });
  return timing;
}

/** Whoever writes a job needs its timing, its next run and its next runs: one request asks for the same schedule object three times. */
const made = new WeakMap<Schedule, { createdAt: number; timing: Timing | null }>();
/** Timings that are in canonical form already. */
const canonicalTimings = new WeakSet<Timing>();

/** Thousands of jobs have the same few schedules; by what a timing is compiled from. Timings never change, so that they may be shared. */
const compiled = new Map<string, Timing | null>();
const MOST_COMPILED = 2_000;

function compileTiming(schedule: Schedule, createdAt: Date): Timing | null {
  const { cron, every, offset, timezone, alignTo, calendar } = schedule;
  if (alignTo === 'creation') return timingAnew(schedule, createdAt);
  const text = JSON.stringify([cron, every, offset, timezone, calendar]);
  const known = compiled.get(text);
  if (known !== undefined) return known;
  const timing = timingAnew(schedule, createdAt);
  if (compiled.size >= MOST_COMPILED) compiled.delete(compiled.keys().next().value as string);
  compiled.set(text, timing);
  return timing;
}

function timingAnew(schedule: Schedule, createdAt: Date): Timing | null {
  const crons = schedule.cron === undefined ? [] : [schedule.cron].flat();
  const rules = (schedule.calendar ?? []).map(compileRule);
  if (crons.length + rules.length === 0 && schedule.every === undefined) return null;
  const intervals = schedule.every === undefined ? [] : [intervalOf(schedule.every, schedule, createdAt)];
  return normaliseTiming({
    calendars: [...crons.flatMap(compileCron), ...rules.flatMap(({ calendars }) => calendars)],
    intervals,
    dates: rules.flatMap(({ dates }) => dates),
    timezone: schedule.timezone,
  });
}

function intervalOf(every: string, schedule: Schedule, createdAt: Date): Interval {
  const everyS = durationMs(every) / 1_000;
  const offsetS = schedule.offset === undefined ? 0 : durationMs(schedule.offset) / 1_000;
  const from = schedule.alignTo === 'creation' ? Math.floor(createdAt.getTime() / 1_000) : 0;
  return { everyS, offsetS: (from + offsetS) % everyS };
}

/** The moment of a one-off schedule, null for any other. A delay counts from `createdAt`. */
export function onceAt(schedule: Schedule, createdAt: Date): Date | null {
  if (schedule.at !== undefined) return new Date(schedule.at);
  if (schedule.delay !== undefined) return new Date(createdAt.getTime() + durationMs(schedule.delay));
  return null;
}

/** Brings a timing into its one canonical form: canonical ranges, no calendar or interval contained in another, sorted, UTC when only intervals are left. */
export function normaliseTiming(timing: Timing): Timing {
  if (canonicalTimings.has(timing)) return timing;
  const calendars = withoutContained(timing.calendars.map(canonicalCalendar), (inner, outer) =>
    FIELDS.every((field) => isWithin(inner[field], outer[field])),
  );
  const intervals = withoutContained(
    timing.intervals.map(({ everyS, offsetS }) => ({ everyS, offsetS })),
    (inner, outer) => inner.everyS % outer.everyS === 0 && inner.offsetS % outer.everyS === outer.offsetS,
  );
  const dates = withoutContained((timing.dates ?? []).map(canonicalRule), () => false);
  const canonical: Timing = {
    calendars,
    intervals,
    ...(dates.length === 0 ? {} : { dates }),
    timezone: calendars.length + dates.length === 0 ? 'UTC' : timing.timezone,
  };
  canonicalTimings.add(canonical);
  return canonical;
}

function canonicalCalendar(calendar: Calendar): Calendar {
  const canonical = (ranges: readonly Range[]) => rangesOf(valuesOf(ranges));
  return Object.fromEntries(FIELDS.map((field) => [field, canonical(calendar[field])])) as Calendar;
}

function canonicalRule(rule: DateRule): DateRule {
  const ascending = (values: number[]) => [...new Set(values)].sort((a, b) => a - b);
  const unlessAll = (values: number[], count: number) => (values.length === count ? [] : values);
  const { at, months, weekdays, daysOfMonth, nth, holidays } = rule;
  return {
    at: ascending(at),
    months: unlessAll(ascending(months), 12),
    weekdays: unlessAll(ascending(weekdays), 7),
    daysOfMonth: ascending(daysOfMonth),
    nth: ascending(nth),
    holidays: [...new Set(holidays)].sort(),
  };
}

function withoutContained<Part>(parts: Part[], isContained: (inner: Part, outer: Part) => boolean): Part[] {
  const unique = [...new Map(parts.map((part) => [JSON.stringify(part), part])).entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, part]) => part);
  return unique.filter((inner) => !unique.some((outer) => outer !== inner && isContained(inner, outer)));
}

/**
 * The hash under which jobs may share a clock: same slots, same queue, same team.
 * @returns 32 lower-case hex digits, the same for every spelling and order, on every machine.
 */
export function timingHash(timing: Timing, queue: string, team: string): string {
  const known = lastHashes.get(timing);
  if (known?.queue === queue && known.team === team) return known.hash;
  const text = JSON.stringify(['timing-1', normaliseTiming(timing), queue, team]);
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 32);
  lastHashes.set(timing, { queue, team, hash });
  return hash;
}

const lastHashes = new WeakMap<Timing, { queue: string; team: string; hash: string }>();

/** True when two timings fire at the same times because they mean the same, however they were written. */
export function sameTiming(a: Timing, b: Timing): boolean {
  return JSON.stringify(normaliseTiming(a)) === JSON.stringify(normaliseTiming(b));
}
