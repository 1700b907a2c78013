/** What a calendar rule means: calendars of Temporal where those can say it, else dates worked out by us. */
import { type CalendarRule, WEEKDAY_NAMES } from './calendar-rule.ts';
import { dayNumber, daysIn } from './civil-day.ts';
import type { Calendar } from './cron.ts';
import { createDateSource, type DateRule } from './date-rule.ts';
import { FIELD_LIMITS, type Range, rangesOf } from './ranges.ts';

export type CompiledRule = { calendars: Calendar[]; dates: DateRule[] };

/** More dates a year than this are no rule but a table. */
export const MOST_DATES_A_YEAR = 2_000;

const secondOfDay = (time: string): number => {
  const [hour = 0, minute = 0, second = 0] = time.split(':').map(Number);
  return hour * 3_600 + minute * 60 + second;
};

export function compileRule(rule: CalendarRule): CompiledRule {
  const date = dateRuleOf(rule);
  return isNative(date) ? { calendars: nativeCalendars(date), dates: [] } : { calendars: [], dates: [date] };
}

/** What is wrong with a rule that is well written: it never comes, or far too often. Null: nothing. */
export function ruleProblem(rule: CalendarRule): string | null {
  const date = dateRuleOf(rule);
  if (createDateSource(date)(0) === null) return 'never fires: no day is all that this rule says; leave out one of its parts';
  if (isNative(date)) return null;
  const next = createDateSource({ ...date, at: [0] });
  const [from, to] = [dayNumber(2028, 1, 1), dayNumber(2029, 1, 1)].map((day) => day * 86_400) as [number, number];
  let days = 0;
  for (let day = next(from - 1); day !== null && day < to; day = next(day)) days += 1;
  if (days * date.at.length <= MOST_DATES_A_YEAR) return null;
  return `means ${days * date.at.length} dates a year, more than ${MOST_DATES_A_YEAR}; use cron with weekdays, and put the holidays into a calendar that exclude names`;
}

/** Days of the week that are no business days; 0 is Sunday. */
export const weekendOf = ({ weekend = ['sat', 'sun'] }: CalendarRule): Set<number> =>
  new Set(weekend.map((day) => WEEKDAY_NAMES.indexOf(day)));

function dateRuleOf(rule: CalendarRule): DateRule {
  const free = rule.businessDays ? weekendOf(rule) : new Set<number>();
  const weekdays = (rule.weekdays ?? WEEKDAY_NAMES).map((day) => WEEKDAY_NAMES.indexOf(day)).filter((day) => !free.has(day));
  return {
    at: rule.at.map(secondOfDay),
    months: rule.months ?? [],
    weekdays: weekdays.length === 7 ? [] : weekdays,
    daysOfMonth: rule.daysOfMonth ?? [],
    nth: rule.nth ?? [],
    holidays: (typeof rule.holidays === 'string' ? rule.holidayDates : rule.holidays) ?? [],
  };
}

/** The n-th Monday is the Monday of the n-th seven days; what is counted from the month's end, or over several weekdays, no calendar can say. */
function isNative({ weekdays, daysOfMonth, nth, holidays }: DateRule): boolean {
  if (holidays.length > 0 || daysOfMonth.some((day) => day < 0)) return false;
  return nth.length === 0 || (weekdays.length === 1 && nth.every((which) => which > 0 && which <= 5));
}

function nativeCalendars({ at, months, weekdays, daysOfMonth, nth }: DateRule): Calendar[] {
  const whole = (field: keyof Calendar): Range[] => [{ start: FIELD_LIMITS[field][0], end: FIELD_LIMITS[field][1], step: 1 }];
  const days = nth.length === 0 ? daysOfMonth : nth.flatMap((which) => weekOf(which));
  const dayFields = {
    dayOfMonth: days.length === 0 ? whole('dayOfMonth') : rangesOf(days),
    month: months.length === 0 ? whole('month') : rangesOf(months),
    dayOfWeek: weekdays.length === 0 ? whole('dayOfWeek') : rangesOf(weekdays),
  };
  const byMinute = Map.groupBy(at, (second) => second % 3_600);
  return [...byMinute].map(([inHour, times]) => ({
    second: rangesOf([inHour % 60]),
    minute: rangesOf([Math.floor(inHour / 60)]),
    hour: rangesOf(times.map((second) => Math.floor(second / 3_600))),
    ...dayFields,
  }));
}

const weekOf = (nth: number): number[] =>
  Array.from({ length: Math.min(7, daysIn(1, 2026) - 7 * (nth - 1)) }, (_, day) => 7 * (nth - 1) + day + 1);
