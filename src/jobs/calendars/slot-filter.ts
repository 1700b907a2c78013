/**
 * Which slots of a job its calendars stop, for what people are shown: previews, next runs, timelines. What really starts is decided by admit, from the same stretches as they
 * are kept in `calendar_spans`.
 */
import type { Queryable } from '../../postgres.ts';
import { JobError } from '../errors.ts';
import { type DstPolicy, nextSlots, type Window } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';
import type { CalendarDocument } from './calendar-document.ts';
import { calendarSpans } from './days.ts';
import { type Span, spanAtOrAfter } from './spans.ts';

/** The calendars of a schedule and the zone in which it reads them. */
export type CalendarUse = { include?: string[] | null | undefined; exclude?: string[] | null | undefined; timezone: string };
export type CalendarStretches = { calendar: string; spans: Span[] };
/** Slots run inside one of `include` (null: anywhere) and outside all of `exclude`. Known between two moments, and only there. */
export type StopRules = { include: CalendarStretches[] | null; exclude: CalendarStretches[]; from: Date; to: Date };
/** Which calendar stops a slot, and from which epoch second on one may run again as far as this calendar goes (Infinity: none within what is known). */
export type Stop = { calendar: string; untilS: number };

const DAY_MS = 86_400_000;
/** So far ahead people are told when a job runs next. */
const AHEAD_MS = 430 * DAY_MS;

const worked = new Map<string, Promise<Span[]>>();
const MOST_WORKED = 200;

/**
 * The stretches of calendars between two moments (to the day around them), as a zone reads them; calendars that do not exist are left out.
 * @returns merged spans by the calendar's name.
 */
export async function calendarStops(
  database: Queryable,
  team: string,
  names: readonly string[],
  timezone: string,
  from: Date,
  to: Date,
): Promise<Map<string, Span[]>> {
  const { rows } = await database.query<{ name: string; version: string; made: string; document: CalendarDocument }>({
    name: 'calendars-of-names',
    text: `SELECT name, version, extract(epoch FROM created_at)::text AS made, document FROM calendars
            WHERE team = $1 AND name = ANY ($2::text[]) AND deleted_at IS NULL`,
    values: [team, [...new Set(names)]],
  });
  const fromS = (Math.floor(from.getTime() / DAY_MS) * DAY_MS) / 1_000;
  const toS = (Math.ceil(to.getTime() / DAY_MS) * DAY_MS) / 1_000;
  const found = new Map<string, Span[]>();
  for (const { name, version, made, document } of rows) {
    const key = JSON.stringify([team, name, version, made, timezone, fromS, toS]);
    let spans = worked.get(key);
    if (!spans) {
      spans = calendarSpans(document, timezone, fromS, toS);
      if (worked.size >= MOST_WORKED) worked.delete(worked.keys().next().value as string);
      worked.set(key, spans);
      // what failed because a machine was busy may succeed next time
      spans.catch(() => worked.delete(key));
    }
    found.set(name, await spans);
  }
  return found;
}

/** The rules of a schedule between two moments; null when it names no calendar. */
export async function stopRules(
  database: Queryable,
  team: string,
  { include, exclude, timezone }: CalendarUse,
  from: Date,
  to: Date = new Date(from.getTime() + AHEAD_MS),
): Promise<StopRules | null> {
  const names = [...(include ?? []), ...(exclude ?? [])];
  if (names.length === 0) return null;
  return rulesOf(include, exclude, await calendarStops(database, team, names, timezone, from, to), from, to);
}

/** The same, or null when a calendar can not be worked out so far: it must keep nobody from seeing his job. The controller's loop of stretches says so. */
export const workableRules = (database: Queryable, team: string, use: CalendarUse, from: Date): Promise<StopRules | null> =>
  stopRules(database, team, use, from).catch((error: unknown) => {
    if (error instanceof JobError) return null;
    throw error;
  });

/** A calendar that is not there has no day. */
export function rulesOf(
  include: readonly string[] | null | undefined,
  exclude: readonly string[] | null | undefined,
  spans: ReadonlyMap<string, Span[]>,
  from: Date,
  to: Date,
): StopRules {
  const of = (calendar: string): CalendarStretches => ({ calendar, spans: spans.get(calendar) ?? [] });
  return { include: include?.map(of) ?? null, exclude: (exclude ?? []).map(of), from, to };
}

/** The calendar that stops a slot; null: none does, the slot runs. */
export function isStopped(slot: Date, rules: StopRules | null): Stop | null {
  if (!rules) return null;
  const atS = Math.floor(slot.getTime() / 1_000);
  for (const { calendar, spans } of rules.exclude) {
    const span = spanAtOrAfter(spans, atS);
    if (span && span.fromS <= atS) return { calendar, untilS: span.toS };
  }
  if (!rules.include) return null;
  let untilS = Number.POSITIVE_INFINITY;
  for (const { spans } of rules.include) {
    const span = spanAtOrAfter(spans, atS);
    if (span && span.fromS <= atS) return null;
    if (span) untilS = Math.min(untilS, span.fromS);
  }
  return { calendar: rules.include[0]!.calendar, untilS };
}

/**
 * The next slots that run, strictly after a moment. Whole stretches are stepped over, not their slots.
 * @returns at most `count`, and none behind the end of what the rules know.
 */
export function nextRunning(
  timing: Timing,
  after: Date,
  count: number,
  window: Window,
  policy: DstPolicy,
  rules: StopRules | null,
): Date[] {
  if (!rules) return nextSlots(timing, after, count, window, policy);
  const runs: Date[] = [];
  let from = after;
  while (runs.length < count) {
    const slots = nextSlots(timing, from, count - runs.length, window, policy);
    if (slots.length === 0) return runs;
    for (const slot of slots) {
      if (slot <= from) continue;
      if (slot >= rules.to) return runs;
      const stop = isStopped(slot, rules);
      if (stop?.untilS === Number.POSITIVE_INFINITY) return runs;
      if (!stop) runs.push(slot);
      // the rest of the stretch is stepped over, in what was asked for and in what is asked for next
      from = stop ? new Date(Math.max(slot.getTime(), stop.untilS * 1_000 - 1)) : slot;
    }
  }
  return runs;
}
