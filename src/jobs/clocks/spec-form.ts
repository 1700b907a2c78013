/**
 * One form for schedule specs, so that what we want and what Temporal shows can be compared although the server rewrites specs:
 * ranges are spread out into sets of numbers, defaults are written down, the order does not matter.
 */
import type { temporal } from '@temporalio/proto';

type Spec = temporal.api.schedule.v1.IScheduleSpec;
type Calendar = temporal.api.schedule.v1.IStructuredCalendarSpec;
type Range = temporal.api.schedule.v1.IRange;
type Duration = { seconds?: { toString(): string } | number | null; nanos?: number | null };

/** All values of a calendar field as text: `0,15,30`. An empty field means 0 for the clock fields, as on the server. */
function values(ranges: Range[] | null | undefined, empty: string): string {
  if (!ranges || ranges.length === 0) return empty;
  const all = new Set<number>();
  for (const range of ranges) {
    const start = range.start ?? 0;
    const step = Math.max(1, range.step ?? 1);
    for (let value = start; value <= Math.max(start, range.end ?? 0); value += step) all.add(value);
  }
  return [...all].sort((a, b) => a - b).join(',');
}

function calendarForm(calendar: Calendar): string {
  return [
    values(calendar.second, '0'),
    values(calendar.minute, '0'),
    values(calendar.hour, '0'),
    values(calendar.dayOfMonth, 'none'),
    values(calendar.month, 'none'),
    values(calendar.year, 'any'),
    values(calendar.dayOfWeek, 'none'),
  ].join(' ');
}

const seconds = (duration: Duration | null | undefined): number => Number(duration?.seconds ?? 0) + Number(duration?.nanos ?? 0) / 1e9;

/** The parts of a spec as comparable texts. */
export type SpecForm = { times: Set<string>; excluded: Set<string>; rest: string };

/** Brings a spec into its comparable form. */
export function specForm(spec: Spec | null | undefined): SpecForm {
  const times = new Set((spec?.structuredCalendar ?? []).map(calendarForm));
  for (const interval of spec?.interval ?? []) {
    const every = seconds(interval.interval);
    times.add(`every ${every} + ${every > 0 ? seconds(interval.phase) % every : 0}`);
  }
  for (const cron of spec?.cronString ?? []) times.add(`cron ${cron}`); // the server never shows these: always a difference
  const zone = spec?.timezoneName || 'UTC';
  const bounds = [spec?.startTime, spec?.endTime].map((bound) => (bound ? seconds(bound) : 'open')).join(' to ');
  return {
    times,
    excluded: new Set((spec?.excludeStructuredCalendar ?? []).map(calendarForm)),
    rest: `zone ${zone}, ${bounds}, jitter ${seconds(spec?.jitter)}`,
  };
}

const sameSet = (a: Set<string>, b: Set<string>): boolean => a.size === b.size && a.isSubsetOf(b);

export const sameSpec = (a: SpecForm, b: SpecForm): boolean =>
  a.rest === b.rest && sameSet(a.times, b.times) && sameSet(a.excluded, b.excluded);

/** Temporal's list keeps at most this many calendars and intervals of a spec. */
const LISTED_AT_MOST = 10;

/** True when a spec from Temporal's list can be the wanted one: equal, or, where the list cuts it off, a part of it. */
export function sameAsListed(listed: SpecForm, wanted: SpecForm): boolean {
  const matches = (part: Set<string>, whole: Set<string>) =>
    part.isSubsetOf(whole) && (part.size === whole.size || whole.size > LISTED_AT_MOST);
  return listed.rest === wanted.rest && matches(listed.times, wanted.times) && matches(listed.excluded, wanted.excluded);
}
