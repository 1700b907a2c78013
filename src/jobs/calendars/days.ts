/** What a calendar's document means between two moments in one zone: merged stretches. The one place that all who ask go through. */
import { zoneOf } from '../time/zone.ts';
import { type CalendarDocument, invalidCalendar, invalidIcs, WEEKDAYS, type WeeklyRule } from './calendar-document.ts';
import { holidaySpans } from './holidays.ts';
import { type IcsSpans, icsSpans } from './ics-events.ts';
import { IcsProblem } from './ics-problem.ts';
import { daysOfMonth, parseLocalDate, parseLocalTime, parseTimeOfDay, parseYearlyDate, wallOfDate } from './local-time.ts';
import { clipped, merged, momentsOf, type Span, type WallSpan } from './spans.ts';

const DAY_S = 86_400;
/** Weekday of 1 January 1970, a Thursday, in WEEKDAYS. */
const EPOCH_WEEKDAY = 3;
/** What a calendar may come to in the stretch that is kept ahead. */
const MOST_SPANS = 10_000;

/**
 * The stretches of a calendar that lie in `[fromS, toS)`, as this zone reads it.
 * @throws JobError `invalid` when there are more than 10,000.
 */
export async function calendarSpans(document: CalendarDocument, timezone: string, fromS: number, toS: number): Promise<Span[]> {
  const zone = zoneOf(timezone);
  // wall times of any zone that can lie in the stretch
  const fromW = fromS - DAY_S;
  const toW = toS + DAY_S;
  const walls: WallSpan[] = [];
  for (const date of document.dates ?? []) walls.push(...datesOf(date, fromW, toW));
  for (const { from, to } of document.ranges ?? []) walls.push(rangeOf(from, to));
  for (const rule of document.weekly ?? []) walls.push(...weeklyOf(rule, fromW, toW));
  for (const set of document.holidays ?? []) walls.push(...(await holidaySpans(set, fromW, toW)));
  const events = eventsOf(document, fromS, toS);
  const near = [...walls, ...events.walls].filter((wall) => wall.toW > fromW && wall.fromW < toW);
  const spans = clipped(merged([...momentsOf(near, zone), ...events.moments]), fromS, toS);
  if (spans.length <= MOST_SPANS) return spans;
  throw invalidCalendar([
    {
      path: '',
      message: `comes to ${spans.length} separate stretches in ${Math.round((toS - fromS) / DAY_S)} days, more than ${MOST_SPANS}; write longer ones`,
      code: 'too_many',
    },
  ]);
}

/** Events are the same in every zone: a calendar that is read in many is worked out once, as it was and as it is to be. */
const lastEvents = new Map<string, IcsSpans>();
const MOST_LAST = 4;

function eventsOf({ ics }: CalendarDocument, fromS: number, toS: number): IcsSpans {
  if (ics === undefined) return { walls: [], moments: [] };
  const key = `${fromS} ${toS} ${ics}`;
  const known = lastEvents.get(key);
  if (known) return known;
  try {
    const events = icsSpans(ics, fromS, toS);
    if (lastEvents.size >= MOST_LAST) lastEvents.delete(lastEvents.keys().next().value as string);
    lastEvents.set(key, events);
    return events;
  } catch (error) {
    if (!(error instanceof IcsProblem)) throw error;
    throw invalidIcs(error);
  }
}

/** Texts were checked when the document was parsed. */
const wall = (parsed: number | string): number => parsed as number;

function datesOf(text: string, fromW: number, toW: number): WallSpan[] {
  if (text.length > 5) return [dayOf(wall(parseLocalDate(text)))];
  const { month, day } = parseYearlyDate(text) as { month: number; day: number };
  const days: WallSpan[] = [];
  for (let year = yearOf(fromW); year <= yearOf(toW); year += 1)
    if (day <= daysOfMonth(month, year)) days.push(dayOf(wallOfDate(year, month, day)));
  return days;
}

const dayOf = (fromW: number): WallSpan => ({ fromW, toW: fromW + DAY_S });
const yearOf = (wallS: number): number => new Date(wallS * 1_000).getUTCFullYear();

function rangeOf(from: string, to: string): WallSpan {
  const first = parseLocalTime(from) as { wallS: number };
  const last = parseLocalTime(to) as { wallS: number; isDay: boolean };
  return { fromW: first.wallS, toW: last.wallS + (last.isDay ? DAY_S : 0) };
}

function weeklyOf({ days, from, to }: WeeklyRule, fromW: number, toW: number): WallSpan[] {
  const begin = from === undefined ? 0 : wall(parseTimeOfDay(from));
  const end = to === undefined ? DAY_S : wall(parseTimeOfDay(to));
  const length = end > begin ? end - begin : end + DAY_S - begin;
  const spans: WallSpan[] = [];
  // from the day before: hours past midnight belong to the day on which they begin
  for (let day = Math.floor(fromW / DAY_S) - 1; day * DAY_S < toW; day += 1)
    if (days.includes(WEEKDAYS[(((day + EPOCH_WEEKDAY) % 7) + 7) % 7]!))
      spans.push({ fromW: day * DAY_S + begin, toW: day * DAY_S + begin + length });
  return spans;
}
