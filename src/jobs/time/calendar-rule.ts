/** `schedule.calendar`: days and times of day in words that a cron has not, among them the n-th Monday, the last weekday and business days. */
import { z } from 'zod';
import { strictShape } from '../job-issues.ts';
import { parseInstant } from './instant.ts';

/** The order is that of `Date`: Sunday is 0. */
export const WEEKDAY_NAMES = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
const LONG_WEEKDAYS = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'];
const MONTH_NAMES = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const ORDINALS = ['first', 'second', 'third', 'fourth', 'fifth'];

export const MOST_RULES = 10;
const MOST_TIMES = 24;
const MOST_HOLIDAYS = 1_000;
/** A month has at most so many weekdays. */
const MOST_NTH = 23;

const shown = (value: unknown): string => (JSON.stringify(value) ?? 'nothing').slice(0, 60);

/** A value or a list of values, each read by `read`, which answers with what it means or with what is wrong; the list comes out ascending, each value once. */
function listOf<Value extends string | number>(read: (value: unknown) => Value | { wrong: string }, most: number, what: string) {
  return z
    .union([z.string(), z.number(), z.array(z.union([z.string(), z.number()]))], { error: `must be ${what}, or a list of them` })
    .transform((given, context): Value[] => {
      const values = new Set<Value>();
      const list = Array.isArray(given) ? given : [given];
      if (list.length === 0) context.issues.push({ code: 'custom', message: 'must not be empty; leave it out instead', input: given });
      if (list.length > most) {
        context.issues.push({ code: 'custom', message: `holds ${list.length} values, more than ${most}; write fewer`, input: list.length });
        return [];
      }
      for (const [index, value] of list.entries()) {
        const meant = read(value);
        if (typeof meant !== 'object') values.add(meant);
        else context.issues.push({ code: 'custom', message: meant.wrong, input: value, path: Array.isArray(given) ? [index] : [] });
      }
      return [...values].sort((a, b) => (a < b ? -1 : 1));
    });
}

function readTime(value: unknown): string | { wrong: string } {
  const match = /^(\d\d):(\d\d)(?::(\d\d))?$/.exec(String(value));
  if (!match) return { wrong: `${shown(value)} is not a time of day; write hours and minutes with two digits each, e.g. "09:00"` };
  const [hour = 0, minute = 0, second = 0] = match.slice(1).map((digits) => Number(digits ?? 0));
  if (hour > 23 || minute > 59 || second > 59) return { wrong: `${shown(value)} does not exist; write 00:00 to 23:59, or 23:59:59` };
  return second === 0 ? `${match[1]}:${match[2]}` : String(value);
}

const nameIndex = (value: unknown, ...lists: readonly (readonly string[])[]): number => {
  for (const list of lists) {
    const index = list.indexOf(String(value).toLowerCase());
    if (index >= 0) return index;
  }
  return -1;
};

function readWeekday(value: unknown): (typeof WEEKDAY_NAMES)[number] | { wrong: string } {
  const name = WEEKDAY_NAMES[nameIndex(value, WEEKDAY_NAMES, LONG_WEEKDAYS)];
  return name ?? { wrong: `${shown(value)} is not a day of the week; write ${WEEKDAY_NAMES.join(', ')}` };
}

function readMonth(value: unknown): number | { wrong: string } {
  const month = typeof value === 'number' ? value : nameIndex(value, MONTH_NAMES) + 1;
  if (Number.isInteger(month) && month >= 1 && month <= 12) return month;
  return { wrong: `${shown(value)} is not a month; write 1 to 12 or ${MONTH_NAMES.join(', ')}` };
}

function readDayOfMonth(value: unknown): number | { wrong: string } {
  const day = String(value).toLowerCase() === 'last' ? -1 : value;
  if (typeof day === 'number' && Number.isInteger(day) && day !== 0 && Math.abs(day) <= 31) return day;
  return { wrong: `${shown(value)} is not a day of the month; write 1 to 31, or "last" (-1), -2 for the day before it` };
}

function readNth(value: unknown): number | { wrong: string } {
  const word = String(value).toLowerCase();
  const nth = word === 'last' ? -1 : ORDINALS.includes(word) ? ORDINALS.indexOf(word) + 1 : value;
  if (typeof nth === 'number' && Number.isInteger(nth) && nth !== 0 && Math.abs(nth) <= MOST_NTH) return nth;
  return {
    wrong: `${shown(value)} can't be counted; write ${ORDINALS.join(', ')}, last, or 1 to ${MOST_NTH}, or -1 (last) to -${MOST_NTH}`,
  };
}

function readDate(value: unknown): string | { wrong: string } {
  const text = String(value);
  const isDate = /^\d{4}-\d\d-\d\d$/.test(text) && typeof parseInstant(`${text}T00:00:00Z`) !== 'string';
  return isDate ? text : { wrong: `${shown(value)} is not a date; write e.g. "2026-12-25"` };
}

const weekdays = listOf(readWeekday, 7, 'a day of the week, e.g. "mon"');

const holidayDates = listOf(readDate, MOST_HOLIDAYS, 'a date, e.g. "2026-12-25"');
/** A list of dates, or the name of a shared calendar. */
const holidaysSchema = z
  .union([z.string(), z.array(z.string())], { error: 'must be the name of a calendar or a list of dates' })
  .transform((given, context): string | string[] => {
    if (typeof given === 'string' && !/^\d{4}-/.test(given)) {
      if (given === '' || given.length > 100)
        context.issues.push({
          code: 'custom',
          message: 'must be the name of a calendar (1 to 100 characters) or a list of dates',
          input: given,
        });
      return given;
    }
    const dates = holidayDates.safeParse(given);
    for (const { message, path } of dates.error?.issues ?? []) context.issues.push({ code: 'custom', message, path, input: given });
    return dates.data ?? [];
  })
  .meta({ description: 'Days that are no business days: a list of dates, or the name of a shared calendar' });

/** One rule: all that it says holds together. */
export const calendarRuleSchema = strictShape(
  {
    at: listOf(readTime, MOST_TIMES, 'a time of day in quotes, e.g. "09:00"').meta({ description: 'Times of day, e.g. "09:00"' }),
    months: listOf(readMonth, 12, 'a month, 1 to 12 or e.g. "jan"').optional(),
    weekdays: weekdays.optional(),
    daysOfMonth: listOf(readDayOfMonth, 62, 'a day of the month, 1 to 31 or "last"').optional(),
    nth: listOf(readNth, MOST_NTH * 2, '"first", "second", … "last" or a number')
      .optional()
      .meta({ description: 'Of the days that weekdays or businessDays leave in the month: the first, the last, the third …' }),
    businessDays: z.literal(true, { error: 'must be true; leave it out otherwise' }).optional(),
    weekend: weekdays.optional().meta({ description: 'Days of the week that are no business days; default sat and sun' }),
    holidays: holidaysSchema.optional(),
    holidayDates: holidayDates.optional().meta({ description: 'Written by Almanac: the days of the calendar that holidays names' }),
  },
  'at and what days are meant, or a list of such',
)
  .superRefine((rule, context) => {
    for (const [key, message] of problemsOf(rule)) context.addIssue({ code: 'custom', path: [key], message });
  })
  .meta({ description: 'Days of the month or week and times of day, in the schedule’s time zone' });

export type CalendarRule = z.output<typeof calendarRuleSchema>;

function problemsOf({
  weekdays: days,
  daysOfMonth,
  nth,
  businessDays,
  weekend,
  holidays,
  holidayDates: dates,
}: CalendarRule): [keyof CalendarRule, string][] {
  const problems: [keyof CalendarRule, string][] = [];
  if (nth && !days && !businessDays)
    problems.push([
      'nth',
      'nth counts days of a kind: add weekdays, e.g. ["mon"], or businessDays: true; for a day of the month use daysOfMonth',
    ]);
  if (nth && daysOfMonth) problems.push(['daysOfMonth', "daysOfMonth can't stand beside nth; keep one of them"]);
  if (weekend && !businessDays)
    problems.push(['weekend', 'weekend says which days are no business days; add businessDays: true, or use weekdays']);
  if (holidays && !businessDays)
    problems.push([
      'holidays',
      'holidays are days that are no business days; add businessDays: true, or put them into a calendar and name it in exclude',
    ]);
  if (dates && typeof holidays !== 'string')
    problems.push([
      'holidayDates',
      'holidayDates are written by Almanac, from the calendar that holidays names; leave them out, or list the dates in holidays',
    ]);
  const left = (days ?? WEEKDAY_NAMES).filter((day) => !businessDays || !(weekend ?? ['sat', 'sun']).includes(day));
  if (left.length === 0) problems.push(['weekend', 'no day of the week is left; leave out of weekend what is worked on']);
  return problems;
}
