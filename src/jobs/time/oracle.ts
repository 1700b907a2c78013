/**
 * The one oracle of slots: which moments a timing means, agreeing with Temporal's own times to the second (a property test asks the real server).
 * Previews, next-run columns, admit's successors and the search for late slots all ask here.
 *
 * All moments are whole seconds. Slots of several calendars and intervals that fall in one second are one slot.
 *
 * Around an offset change the server's answer depends on the moment it starts from: it looks for each slot from the one before. So that all questions have one answer, ours
 * are answered from the same path: within a day of a change the walk starts before it.
 */
import { type CompiledCalendar, compileCalendar, nextOfCalendar } from './calendar-walk.ts';
import type { Interval, Timing } from './timing.ts';
import { type Zone, zoneOf } from './zone.ts';

/** The widest distance between two slots that is looked for: every repeating schedule that fires at all fires again within 40 years. */
const HORIZON_S = 41 * 366 * 86_400;
/** The server fires nothing after the year 2100. */
const END_S = Date.UTC(2101, 0, 1) / 1_000;

/** A job's window: slots with `startAt <= slot <= endAt` count, both ends included, as Temporal's own do. */
export type Window = { startAt?: Date | null; endAt?: Date | null };

/** What a job wants on days when clocks change; absent parts are the default: gap shift, repeat first for times of day and both for what fires every hour. */
export type DstPolicy = { gap?: 'skip' | 'shift' | undefined; repeat?: 'first' | 'last' | 'both' | undefined };

/** A slot about which there is something to say, as in the table `timing_marks` (migration 0014 says what each kind means). */
export type MarkKind = 'gap' | 'repeat_first' | 'repeat_last' | 'hourly_first' | 'hourly_last' | 'odd' | 'date';
/** `fired` false: Temporal's own calendars do not bring it, so that the clock carries it as a dated extra. */
export type Mark = { slot: Date; kind: MarkKind; fired: boolean };

type Walker = (afterS: number) => number | null;

/** The first slot strictly after a moment; null when there is none within about 40 years. */
export function nextSlot(timing: Timing, after: Date): Date | null {
  return dateOrNull(walkerOf(timing)(floorS(after)));
}

/**
 * The slots with `fromExclusive < slot <= toInclusive`, ascending.
 * @param limit at most so many are returned, the earliest ones.
 */
export function slotsBetween(timing: Timing, fromExclusive: Date, toInclusive: Date, limit: number): Date[] {
  const walk = walkerOf(timing);
  const slots: Date[] = [];
  const end = floorS(toInclusive);
  for (let at = walk(floorS(fromExclusive)); at !== null && at <= end && slots.length < limit; at = walk(at))
    slots.push(new Date(at * 1_000));
  return slots;
}

/** True when this moment, to the millisecond, is a slot. */
export function isSlot(timing: Timing, at: Date): boolean {
  const ms = at.getTime();
  return ms % 1_000 === 0 && walkerOf(timing)(ms / 1_000 - 1) === ms / 1_000;
}

/** True when a slot lies in the job's window. */
export function isInWindow(slot: Date, { startAt, endAt }: Window): boolean {
  return (!startAt || slot >= startAt) && (!endAt || slot <= endAt);
}

/** The next `count` slots strictly after a moment that lie in the job's window and run under its policy for days when clocks change. */
export function nextSlots(timing: Timing, after: Date, count: number, window: Window = {}, policy: DstPolicy = {}): Date[] {
  const { startAt, endAt } = window;
  // One millisecond before, so that a slot exactly at startAt counts.
  const from = startAt && startAt > after ? new Date(startAt.getTime() - 1) : after;
  const walk = walkerOf(timing);
  const slots: Date[] = [];
  const end = endAt ? floorS(endAt) : END_S;
  for (let at = walk(floorS(from)); at !== null && at <= end && slots.length < count; at = walk(at)) {
    const slot = new Date(at * 1_000);
    if (runsUnder(timing, slot, policy) === null) slots.push(slot);
  }
  return slots;
}

/** Why a slot does not run under a job's policy for days when clocks change; null: it runs. */
export function runsUnder(timing: Timing, slot: Date, policy: DstPolicy): null | 'dst_gap' | 'dst_repeat' {
  const [mark] = marksOf(timing, new Date(slot.getTime() - 1), slot);
  return mark === undefined ? null : verdictOf(mark.kind, policy);
}

/** What admit says of a slot with this mark, in the words of SQL's `skipped` rows. */
export function verdictOf(kind: MarkKind, { gap, repeat }: DstPolicy): null | 'dst_gap' | 'dst_repeat' {
  if (kind === 'odd' || (kind === 'gap' && gap === 'skip')) return 'dst_gap';
  if (kind === 'repeat_last' && (repeat ?? 'first') === 'first') return 'dst_repeat';
  if (kind === 'hourly_last' && repeat === 'first') return 'dst_repeat';
  if ((kind === 'repeat_first' || kind === 'hourly_first') && repeat === 'last') return 'dst_repeat';
  return null;
}

/** The marks with `fromExclusive < slot <= toInclusive`, ascending. */
export function marksOf(_timing: Timing, _fromExclusive: Date, _toInclusive: Date): Mark[] {
  return [];
}

/** The last slot strictly before a moment; null when there is none within about 40 years, or since 1970. */
export function previousSlot(timing: Timing, before: Date): Date | null {
  const walk = walkerOf(timing);
  const end = Math.ceil(before.getTime() / 1_000);
  const isBefore = (slot: number | null): slot is number => slot !== null && slot < end;
  let distance = 60;
  while (!isBefore(walk(end - distance))) {
    if (distance > HORIZON_S || end - distance < -1) return null;
    distance *= 4;
  }
  // The slot after `low` is before the end, the slot after `high` is not.
  let low = end - distance;
  let high = end;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    const slot = walk(middle);
    if (isBefore(slot)) low = slot;
    else high = middle;
    // From the last slot on there is none before the end.
    if (isBefore(slot) && !isBefore(walk(slot))) return new Date(slot * 1_000);
  }
  return dateOrNull(walk(low));
}

const walkers = new WeakMap<Timing, Walker>();
/** Rows bring a new object each time; the same timing in other objects shares what was compiled. */
const walkersByText = new Map<string, Walker>();
const MOST_WALKERS = 2_000;

function walkerOf(timing: Timing): Walker {
  let walker = walkers.get(timing);
  if (walker) return walker;
  const text = JSON.stringify(timing);
  walker = walkersByText.get(text);
  if (!walker) {
    const zone = zoneOf(timing.timezone);
    walker = onePath(createWalker(timing.calendars.map(compileCalendar), timing.intervals, zone), zone);
    const oldest = walkersByText.size >= MOST_WALKERS ? walkersByText.keys().next().value : undefined;
    if (oldest !== undefined) walkersByText.delete(oldest);
    walkersByText.set(text, walker);
  }
  walkers.set(timing, walker);
  return walker;
}

const HOUR_S = 3_600;

/** Answers from the path that comes from before a change, wherever the question starts. Remembers how far it got, so that questions in order cost one step each. */
function onePath(walk: Walker, zone: Zone): Walker {
  let reached = { change: Number.NaN, at: 0 };
  return (afterS) => {
    // From four hours before a change to the end of its day the starting point matters.
    if (zone.isSteady(afterS - 26 * HOUR_S, afterS + 4 * HOUR_S)) return walk(afterS);
    const change = zone.changes(afterS - 26 * HOUR_S, afterS + 4 * HOUR_S)[0]?.at ?? afterS;
    let at = reached.change === change && reached.at <= afterS ? reached.at : change - 6 * HOUR_S;
    let next = walk(at);
    while (next !== null && next <= afterS) {
      at = next;
      next = walk(at);
    }
    reached = { change, at };
    return next;
  };
}

/** The union of calendars and intervals, in any zone. Exported for the comparison with undisturbed wall time (`dst.ts`). */
export function createWalker(calendars: CompiledCalendar[], intervals: readonly Interval[], zone: Zone): Walker {
  const nexts = calendars.map((calendar) => createCalendarWalker(calendar, zone));
  return (afterS) => {
    const from = Math.max(afterS, -1);
    let next = Number.POSITIVE_INFINITY;
    for (const nextOf of nexts) next = Math.min(next, nextOf(from));
    for (const interval of intervals) next = Math.min(next, nextOfInterval(interval, from));
    return next < END_S && next - from <= HORIZON_S ? next : null;
  };
}

const STEADY_S = 2 * 86_400;

/**
 * One calendar, which remembers its last answer: a union of fifty crons asks each of them again for every slot of any of them. From a later start the answer is the same
 * unless the zone's offset changes within two days of it: away from changes the walk leaves the start's day at midnight in the same state.
 */
function createCalendarWalker(calendar: CompiledCalendar, zone: Zone): (afterS: number) => number {
  let from = Number.POSITIVE_INFINITY;
  let next = Number.POSITIVE_INFINITY;
  return (afterS) => {
    if (afterS >= from && afterS < next && (afterS === from || zone.isSteady(afterS - STEADY_S, afterS + STEADY_S))) return next;
    from = afterS;
    next = strictlyNext(calendar, zone, afterS) ?? Number.POSITIVE_INFINITY;
    return next;
  };
}

/**
 * When a zone leaves out a whole day (Samoa, 30 December 2011) the server's walk can answer with a moment that is not after the one asked about, and would stay
 * there for ever. Ours looks on from a little later.
 */
function strictlyNext(calendar: CompiledCalendar, zone: Zone, afterS: number): number | null {
  let slot = nextOfCalendar(calendar, zone, afterS);
  for (let from = afterS; slot !== null && slot <= afterS; slot = nextOfCalendar(calendar, zone, from)) from += 900;
  return slot;
}

/** Intervals count from the epoch; the division truncates, as the server's does before an interval's first time. */
function nextOfInterval({ everyS, offsetS }: Interval, afterS: number): number {
  return (Math.trunc((afterS - offsetS) / everyS) + 1) * everyS + offsetS;
}

const floorS = (moment: Date) => Math.floor(moment.getTime() / 1_000);
const dateOrNull = (epochS: number | null) => (epochS === null ? null : new Date(epochS * 1_000));
