/**
 * The one oracle of slots: which moments a timing means, which is what its clock fires: Temporal's own times, to the second (a property test asks the real server), and the
 * dated extras. Previews, next-run columns, admit's successors and the search for late slots all ask here.
 *
 * All moments are whole seconds. Slots of several calendars and intervals that fall in one second are one slot.
 *
 * A clock may serve jobs with different policies for days on which clocks change: it fires what any of them may want, and each job's policy leaves out what it does not.
 */
import { type DstPolicy, type Mark, type MarkKind, verdictOf } from './mark.ts';
import { END_S, HORIZON_S } from './server-walk.ts';
import { slotWalkOf } from './slot-walk.ts';
import type { Timing } from './timing.ts';

export { type DstPolicy, type Mark, type MarkKind, verdictOf } from './mark.ts';

/** A job's window: slots with `startAt <= slot <= endAt` count, both ends included, as Temporal's own do. */
export type Window = { startAt?: Date | null; endAt?: Date | null };

/** The first slot strictly after a moment; null when there is none within about 40 years. */
export function nextSlot(timing: Timing, after: Date): Date | null {
  return dateOrNull(slotWalkOf(timing).next(floorS(after)));
}

/**
 * The slots with `fromExclusive < slot <= toInclusive`, ascending.
 * @param limit at most so many are returned, the earliest ones.
 */
export function slotsBetween(timing: Timing, fromExclusive: Date, toInclusive: Date, limit: number): Date[] {
  const { next } = slotWalkOf(timing);
  const slots: Date[] = [];
  const end = floorS(toInclusive);
  for (let at = next(floorS(fromExclusive)); at !== null && at <= end && slots.length < limit; at = next(at))
    slots.push(new Date(at * 1_000));
  return slots;
}

/** True when this moment, to the millisecond, is a slot. */
export function isSlot(timing: Timing, at: Date): boolean {
  const ms = at.getTime();
  return ms % 1_000 === 0 && slotWalkOf(timing).next(ms / 1_000 - 1) === ms / 1_000;
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
  const { next, kindOf } = slotWalkOf(timing);
  const slots: Date[] = [];
  const end = endAt ? floorS(endAt) : END_S;
  for (let at = next(floorS(from)); at !== null && at <= end && slots.length < count; at = next(at)) {
    const kind = kindOf(at);
    if (kind === null || verdictOf(kind, policy) === null) slots.push(new Date(at * 1_000));
  }
  return slots;
}

/** Why a slot does not run under a job's policy for days when clocks change; null: it runs. */
export function runsUnder(timing: Timing, slot: Date, policy: DstPolicy): null | 'dst_gap' | 'dst_repeat' {
  const kind = markKind(timing, slot);
  return kind === null ? null : verdictOf(kind, policy);
}

/** What there is to say of a slot; null: nothing. */
export const markKind = (timing: Timing, slot: Date): MarkKind | null => slotWalkOf(timing).kindOf(slot.getTime() / 1_000);

/** The marks with `fromExclusive < slot <= toInclusive`, ascending. */
export function marksOf(timing: Timing, fromExclusive: Date, toInclusive: Date, limit = Number.POSITIVE_INFINITY): Mark[] {
  return slotWalkOf(timing).marks(floorS(fromExclusive), floorS(toInclusive), limit);
}

/** False: this timing never has a mark after this moment. */
export const hasMarksAfter = (timing: Timing, after: Date): boolean => slotWalkOf(timing).hasMarksAfter(floorS(after));

/** The last slot strictly before a moment; null when there is none within about 40 years, or since 1970. */
export function previousSlot(timing: Timing, before: Date): Date | null {
  const { next } = slotWalkOf(timing);
  const end = Math.ceil(before.getTime() / 1_000);
  const isBefore = (slot: number | null): slot is number => slot !== null && slot < end;
  let distance = 60;
  while (!isBefore(next(end - distance))) {
    if (distance > HORIZON_S || end - distance < -1) return null;
    distance *= 4;
  }
  // The slot after `low` is before the end, the slot after `high` is not.
  let low = end - distance;
  let high = end;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    const slot = next(middle);
    if (isBefore(slot)) low = slot;
    else high = middle;
    // From the last slot on there is none before the end.
    if (isBefore(slot) && !isBefore(next(slot))) return new Date(slot * 1_000);
  }
  return dateOrNull(next(low));
}

const floorS = (moment: Date) => Math.floor(moment.getTime() / 1_000);
const dateOrNull = (epochS: number | null) => (epochS === null ? null : new Date(epochS * 1_000));
