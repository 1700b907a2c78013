/**
 * Business days that leave out the days of a shared calendar. Those days are written into the document (`holidayDates`) whenever it is written, so that what a job means follows from
 * its document alone: its timing, its hash and its dates are worked out without a look at the calendar, by every process alike. A change of the calendar therefore is a change of
 * the jobs that count by it.
 */
import type { Queryable } from '../../postgres.ts';
import type { JobDocument } from '../job-document.ts';
import { weekendOf } from '../time/calendar-compile.ts';
import type { CalendarRule } from '../time/calendar-rule.ts';
import { dayNumber, weekdayOf } from '../time/civil-day.ts';
import type { Schedule } from '../time/schedule-document.ts';
import { zoneOf } from '../time/zone.ts';
import { calendarStops } from './slot-filter.ts';
import type { Span } from './spans.ts';

const DAY_S = 86_400;
/** From this year on as many years are written: dates are wanted 460 days ahead. */
const YEARS = 3;

const calendarOf = ({ holidays }: CalendarRule): string | null => (typeof holidays === 'string' ? holidays : null);

/** Calendars by whose days a schedule counts, each with its place. Paths begin at the schedule. */
export const holidayPlaces = (schedule: Pick<Schedule, 'calendar'> | undefined): { path: string; name: string }[] =>
  (schedule?.calendar ?? []).flatMap((rule, index) => {
    const name = calendarOf(rule);
    return name === null ? [] : [{ path: `/calendar/${index}/holidays`, name }];
  });

/** The document with the days of the calendars that it counts by; the same object when it names none. A calendar that does not exist has no days. */
export async function withHolidayDates<Document extends Pick<JobDocument, 'schedule'>>(
  database: Queryable,
  team: string,
  document: Document,
  now = new Date(),
  stopsOf: typeof calendarStops = calendarStops,
): Promise<Document> {
  const { schedule } = document;
  const names = holidayPlaces(schedule).map(({ name }) => name);
  if (!schedule || names.length === 0) return document;
  const year = now.getUTCFullYear();
  const [first, end] = [dayNumber(year, 1, 1), dayNumber(year + YEARS, 1, 1)];
  const moment = (day: number) => new Date(day * DAY_S * 1_000);
  const stops = await stopsOf(database, team, names, schedule.timezone, moment(first - 2), moment(end + 2));
  const calendar = schedule.calendar!.map((rule) => {
    const name = calendarOf(rule);
    return name === null ? rule : { ...rule, holidayDates: daysOf(stops.get(name) ?? [], rule, schedule.timezone, first, end) };
  });
  return { ...document, schedule: { ...schedule, calendar } };
}

/** Whole local days within the spans that would be business days otherwise. */
function daysOf(spans: readonly Span[], rule: CalendarRule, timezone: string, first: number, end: number): string[] {
  const zone = zoneOf(timezone);
  const weekend = weekendOf(rule);
  const days: string[] = [];
  let index = 0;
  for (let day = first; day < end; day += 1) {
    const [from, to] = [zone.epochOf(day * DAY_S), zone.epochOf((day + 1) * DAY_S)];
    while (index < spans.length && spans[index]!.toS < to) index += 1;
    if (index === spans.length) break;
    if (spans[index]!.fromS <= from && !weekend.has(weekdayOf(day))) days.push(new Date(day * DAY_S * 1_000).toISOString().slice(0, 10));
  }
  return days;
}
