/**
 * One form for schedule specs, so that what we want and what Temporal shows can be compared although the server rewrites specs:
 * ranges are spread out into sets of numbers, defaults are written down, the order does not matter. Dated extras are a matter of time: those that have passed do
 * not count, and those far ahead may come with the next renewal.
 */
import type { temporal } from '@temporalio/proto';
import { isExtra } from '../time/extras.ts';

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

/** The parts of a spec as comparable texts; dated extras in epoch seconds. `intervals`: how many it holds, extras included. */
export type SpecForm = { times: Set<string>; extras: Set<number>; intervals: number; excluded: Set<string>; rest: string };

/** Brings a spec into its comparable form. */
export function specForm(spec: Spec | null | undefined): SpecForm {
  const times = new Set((spec?.structuredCalendar ?? []).map(calendarForm));
  const extras = new Set<number>();
  for (const interval of spec?.interval ?? []) {
    const every = seconds(interval.interval);
    if (isExtra(every, seconds(interval.phase))) extras.add(every);
    else times.add(`every ${every} + ${every > 0 ? seconds(interval.phase) % every : 0}`);
  }
  for (const cron of spec?.cronString ?? []) times.add(`cron ${cron}`); // the server never shows these: always a difference
  const zone = spec?.timezoneName || 'UTC';
  const bounds = [spec?.startTime, spec?.endTime].map((bound) => (bound ? seconds(bound) : 'open')).join(' to ');
  return {
    times,
    extras,
    intervals: spec?.interval?.length ?? 0,
    excluded: new Set((spec?.excludeStructuredCalendar ?? []).map(calendarForm)),
    rest: `zone ${zone}, ${bounds}, jitter ${seconds(spec?.jitter)}`,
  };
}

const sameSet = (a: Set<string>, b: Set<string>): boolean => a.size === b.size && a.isSubsetOf(b);

export const sameSpec = (a: SpecForm, wanted: SpecForm, now = Date.now()): boolean =>
  a.rest === wanted.rest &&
  sameSet(a.times, wanted.times) &&
  sameSet(a.excluded, wanted.excluded) &&
  hasNoForeignExtra(a, wanted, now) &&
  hasNearExtras(a, wanted, now);

/** An extra further ahead than this may be missing: clocks are renewed long before it matters. Seconds. */
const NEAR_S = 365 * 86_400;
/** What is due at this moment may have been left out when the schedule was made. */
const AT_ONCE_S = 60;

const hasNearExtras = (is: SpecForm, wanted: SpecForm, now: number): boolean =>
  [...wanted.extras].every((at) => at < now / 1_000 + AT_ONCE_S || at > now / 1_000 + NEAR_S || is.extras.has(at));

/** One ahead that nobody wants fires when nothing is due; what lies behind the last that we ask for is not known. */
function hasNoForeignExtra(is: SpecForm, wanted: SpecForm, now: number): boolean {
  let last = wanted.extras.size === 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  for (const at of wanted.extras) last = Math.max(last, at);
  return [...is.extras].every((at) => at < now / 1_000 || at > last || wanted.extras.has(at));
}

/** Temporal's list keeps at most this many calendars and as many intervals of a spec. */
const LISTED_AT_MOST = 10;

/** True when a spec from Temporal's list can be the wanted one: equal, or, where the list cuts it off, a part of it. */
export function sameAsListed(listed: SpecForm, wanted: SpecForm, now = Date.now()): boolean {
  const matches = (part: Set<string>, whole: Set<string>) =>
    part.isSubsetOf(whole) && (part.size === whole.size || whole.size > LISTED_AT_MOST);
  return (
    listed.rest === wanted.rest &&
    matches(listed.times, wanted.times) &&
    matches(listed.excluded, wanted.excluded) &&
    hasNoForeignExtra(listed, wanted, now) &&
    (listed.intervals >= LISTED_AT_MOST || hasNearExtras(listed, wanted, now))
  );
}
