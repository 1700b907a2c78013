/** A timing in the words of Temporal's client, and back from what `describe()` answers, so that drift is a comparison of hashes. */
import type { ScheduleSpec, ScheduleSpecDescription } from '@temporalio/client';
import type { Calendar } from './cron.ts';
import type { Range } from './ranges.ts';
import { normaliseTiming, type Timing } from './timing.ts';

type CalendarSpec = NonNullable<ScheduleSpec['calendars']>[number];
type CalendarDescription = NonNullable<ScheduleSpecDescription['calendars']>[number];

const MONTHS = [
  'JANUARY',
  'FEBRUARY',
  'MARCH',
  'APRIL',
  'MAY',
  'JUNE',
  'JULY',
  'AUGUST',
  'SEPTEMBER',
  'OCTOBER',
  'NOVEMBER',
  'DECEMBER',
] as const;
const DAYS = ['SUNDAY', 'MONDAY', 'TUESDAY', 'WEDNESDAY', 'THURSDAY', 'FRIDAY', 'SATURDAY'] as const;
type Named<Unit> = { start: Unit; end: Unit; step: number };

/**
 * The spec to create or update a Temporal schedule with. Every range has its `end` (the SDK turns a missing one into 1) and every calendar its seconds.
 * Jitter, start and end are never set (semantics 5).
 */
export function toTemporalSpec(timing: Timing): ScheduleSpec {
  return {
    calendars: timing.calendars.map(calendarSpec),
    intervals: timing.intervals.map(({ everyS, offsetS }) => ({ every: everyS * 1_000, offset: offsetS * 1_000 })),
    timezone: timing.timezone,
  };
}

function calendarSpec(calendar: Calendar): CalendarSpec {
  return {
    second: calendar.second,
    minute: calendar.minute,
    hour: calendar.hour,
    dayOfMonth: calendar.dayOfMonth,
    month: calendar.month.map(({ start, end, step }) => ({ start: MONTHS[start - 1]!, end: MONTHS[end - 1]!, step })),
    dayOfWeek: calendar.dayOfWeek.map(({ start, end, step }) => ({ start: DAYS[start]!, end: DAYS[end]!, step })),
  };
}

/**
 * The timing of a described schedule, canonical, to compare with `sameTiming` or `timingHash`.
 * @returns null when the schedule holds what Almanac never writes: a year, an exclusion, a start, an end or jitter. Such a schedule is drift.
 */
export function timingOfDescription(spec: ScheduleSpecDescription): Timing | null {
  const calendars = spec.calendars ?? [];
  const foreign =
    (spec.skip?.length ?? 0) > 0 ||
    spec.startAt ||
    spec.endAt ||
    (spec.jitter ?? 0) > 0 ||
    calendars.some((calendar) => (calendar.year?.length ?? 0) > 0);
  if (foreign) return null;
  return normaliseTiming({
    calendars: calendars.map(calendarOfDescription),
    intervals: (spec.intervals ?? []).map(({ every, offset }) => ({ everyS: every / 1_000, offsetS: (offset ?? 0) / 1_000 })),
    timezone: spec.timezone || 'UTC',
  });
}

function calendarOfDescription(calendar: CalendarDescription): Calendar {
  const numbered = <Unit extends string>(ranges: readonly Named<Unit>[], names: readonly Unit[], first: number): Range[] =>
    ranges.map(({ start, end, step }) => ({ start: names.indexOf(start) + first, end: names.indexOf(end) + first, step }));
  return {
    second: calendar.second,
    minute: calendar.minute,
    hour: calendar.hour,
    dayOfMonth: calendar.dayOfMonth,
    month: numbered(calendar.month, MONTHS, 1),
    dayOfWeek: numbered(calendar.dayOfWeek, DAYS, 0),
  };
}
