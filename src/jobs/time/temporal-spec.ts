/** A timing in the words of Temporal's client. */
import type { ScheduleSpec } from '@temporalio/client';
import type { Calendar } from './cron.ts';
import { sentParts } from './server-walk.ts';
import type { Timing } from './timing.ts';

type CalendarSpec = NonNullable<ScheduleSpec['calendars']>[number];

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

/**
 * The spec to create or update a Temporal schedule with. Every range has its `end` (the SDK turns a missing one into 1) and every calendar its seconds.
 * Jitter, start and end are never set (semantics 5).
 * @param extras dated extras, epoch seconds.
 */
export function toTemporalSpec(timing: Timing, extras: readonly number[]): ScheduleSpec {
  const { calendars, intervals } = sentParts(timing);
  return {
    calendars: calendars.map(calendarSpec),
    intervals: [
      ...intervals.map(({ everyS, offsetS }) => ({ every: everyS * 1_000, offset: offsetS * 1_000 })),
      ...extras.map((atS) => ({ every: atS * 1_000, offset: 0 })),
    ],
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
