/**
 * The calendar document: days and hours under a name that jobs share. It has no zone: each job reads it in the zone of its own schedule, so that
 * one calendar of holidays serves jobs everywhere.
 */
import { z } from 'zod';
import { type FieldError, JobError } from '../errors.ts';
import { choice, documentIssues, strictShape } from '../job-issues.ts';
import { isObject, jsonProblem } from '../job-json.ts';
import { holidayProblems } from './holidays.ts';
import { IcsProblem } from './ics-problem.ts';
import { reducedIcs } from './ics-text.ts';
import { parseLocalDate, parseLocalTime, parseTimeOfDay, parseYearlyDate } from './local-time.ts';

const DAY_S = 86_400;
/** Longer stretches are a job's startAt and endAt, or a rule. */
const LONGEST_RANGE_DAYS = 3_660;
export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export const HOLIDAY_TYPES = ['public', 'bank', 'school', 'optional', 'observance'] as const;

/** A text that is checked by a reader that answers with a sentence when it is wrong. */
const checked = (what: string, problemOf: (text: string) => string | null) =>
  z.string({ error: `must be ${what}` }).check((payload) => {
    const problem = problemOf(payload.value);
    if (problem) payload.issues.push({ code: 'custom', message: problem, input: payload.value, continue: true });
  });
const sentenceOf = (parsed: unknown): string | null => (typeof parsed === 'string' ? parsed : null);

const isYearly = (text: string) => /^\d\d-\d\d$/.test(text);
const dateText = checked('a date in quotes, e.g. "2026-12-24", or "12-24" for every year', (text) =>
  sentenceOf(isYearly(text) ? parseYearlyDate(text) : parseLocalDate(text)),
);
const localTime = checked('a date or a local time in quotes, e.g. "2026-12-24" or "2026-12-24T18:00"', (text) =>
  sentenceOf(parseLocalTime(text)),
);
const timeOfDay = checked('a time of day in quotes, e.g. "09:00"', (text) => sentenceOf(parseTimeOfDay(text)));

const rangeSchema = strictShape({ from: localTime, to: localTime }, 'from and to')
  .superRefine((range, context) => {
    const problem = rangeProblem(range);
    if (problem) context.addIssue({ code: 'custom', path: ['to'], message: problem });
  })
  .meta({
    description: 'From a date or local time to another; a last date belongs to it, a last time does not',
    example: { from: '2026-12-24', to: '2027-01-06' },
  });

const weeklySchema = strictShape(
  {
    days: z.array(choice(WEEKDAYS)).min(1, 'must name at least one day').max(7, 'names more than 7 days'),
    from: timeOfDay.optional(),
    to: timeOfDay.optional(),
  },
  'days, and optionally from and to',
)
  .superRefine(({ from, to }, context) => {
    if ((from === undefined) !== (to === undefined))
      context.addIssue({
        code: 'custom',
        path: [from === undefined ? 'from' : 'to'],
        message: 'from and to go together; leave both out for whole days',
      });
    else if (from !== undefined && from === to)
      context.addIssue({ code: 'custom', path: ['to'], message: 'is the same as from; leave both out for whole days' });
  })
  .meta({
    description: 'Weekdays, whole or from a time of day to another; past midnight when `to` is not later',
    example: { days: ['mon', 'tue'], from: '09:00', to: '17:00' },
  });

const holidaySchema = strictShape(
  {
    country: z.string({ error: 'must be a country code, e.g. "DE"' }).max(10, 'is not a country code; write e.g. "DE"'),
    region: z.string({ error: 'must be the code of a region, e.g. "BY"' }).max(20, 'is not the code of a region').optional(),
    types: z
      .array(choice(HOLIDAY_TYPES))
      .min(1, 'must name at least one type; leave it out for public holidays')
      .max(5, 'names more than 5 types')
      .optional(),
  },
  'country, and optionally region and types',
).meta({
  description: 'Holidays of a country, and of a region of it; public ones unless `types` says otherwise',
  example: { country: 'DE', region: 'BY' },
});

export const calendarNameSchema = z
  .string({ error: (issue) => (issue.input === undefined ? 'name is required' : 'must be a string') })
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
    'must be 1 to 100 letters, digits, dots, dashes or underscores, beginning with a letter or digit',
  )
  .meta({ description: 'Unique in its team; never changes, because jobs know the calendar by it', example: 'company-holidays' });

export const calendarSchema = strictShape(
  {
    name: calendarNameSchema,
    description: z.string({ error: 'must be a string' }).max(5_000, 'has more than 5,000 characters').optional(),
    dates: z
      .array(dateText)
      .max(5_000, 'holds more than 5,000 dates; use ranges or weekly')
      .optional()
      .meta({ description: 'Days: "2026-12-24", or "12-24" for every year' }),
    ranges: z.array(rangeSchema).max(1_000, 'holds more than 1,000 ranges').optional(),
    weekly: z.array(weeklySchema).max(50, 'holds more than 50 rules').optional(),
    holidays: z.array(holidaySchema).max(20, 'holds more than 20 sets; make several calendars').optional(),
    ics: z
      .string({ error: 'must be the text of an iCalendar file' })
      .optional()
      .meta({ description: 'Text of an iCalendar file (RFC 5545): the times of its events. Kept without what says nothing about times' }),
  },
  'a calendar with name and at least one of dates, ranges, weekly, holidays and ics',
).meta({ id: 'CalendarDocument' });

export type CalendarDocument = z.output<typeof calendarSchema>;
export type CalendarView = CalendarDocument & { version: number; createdBy: string; createdAt: string; updatedAt: string };
export type WeeklyRule = NonNullable<CalendarDocument['weekly']>[number];
export type HolidaySet = NonNullable<CalendarDocument['holidays']>[number];

const PARTS = ['dates', 'ranges', 'weekly', 'holidays', 'ics'] as const;
const READ_ONLY_KEYS = ['version', 'createdBy', 'createdAt', 'updatedAt'];

/** What GET adds is left unread, so that what was read can be written. */
export const withoutReadOnlyKeys = (body: unknown): unknown =>
  isObject(body) && body.version !== undefined
    ? Object.fromEntries(Object.entries(body).filter(([key]) => !READ_ONLY_KEYS.includes(key)))
    : body;

function rangeProblem({ from, to }: { from: string; to: string }): string | null {
  const first = parseLocalTime(from);
  const last = parseLocalTime(to);
  if (typeof first === 'string' || typeof last === 'string') return null;
  const end = last.wallS + (last.isDay ? DAY_S : 0);
  if (end <= first.wallS) return `${to} is not after ${from}; write a later one`;
  const days = Math.ceil((end - first.wallS) / DAY_S);
  if (days <= LONGEST_RANGE_DAYS) return null;
  return `the range has ${days} days, more than ${LONGEST_RANGE_DAYS}; give the jobs a startAt or endAt instead, or write a weekly rule`;
}

/**
 * Parses a calendar; an iCalendar text is read whole and reduced to what says when.
 * @throws JobError `invalid` naming every wrong place.
 */
export async function parseCalendar(body: unknown): Promise<CalendarDocument> {
  const unstorable = jsonProblem(body);
  if (unstorable) throw invalidCalendar([{ ...unstorable, code: 'invalid' }]);
  const parsed = calendarSchema.safeParse(body);
  if (!parsed.success) throw invalidCalendar(documentIssues(parsed.error));
  const document = parsed.data;
  if (PARTS.every((part) => document[part] === undefined || document[part].length === 0))
    throw invalidCalendar([{ path: '', message: `holds no day; write at least one of ${PARTS.join(', ')}`, code: 'empty' }]);
  const errors: FieldError[] = await holidayProblems(document.holidays ?? []);
  if (errors.length > 0) throw invalidCalendar(errors);
  return document.ics === undefined ? document : { ...document, ics: readIcs(document.ics) };
}

/** Kept reduced; whether its rules can be worked out is seen when its days are. */
function readIcs(text: string): string {
  try {
    return reducedIcs(text);
  } catch (error) {
    if (!(error instanceof IcsProblem)) throw error;
    throw invalidIcs(error);
  }
}

export const invalidIcs = ({ message }: IcsProblem): JobError => invalidCalendar([{ path: '/ics', message, code: 'invalid_ics' }]);

export function invalidCalendar(errors: FieldError[]): JobError {
  const first = errors[0];
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new JobError('invalid', 'invalid_calendar', `The calendar is not valid: ${first?.path || 'document'}: ${first?.message}${more}.`, {
    errors: errors.slice(0, 50),
  });
}
