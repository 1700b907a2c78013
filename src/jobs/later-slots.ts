/** The slots after a late one: catch-up `last` leaves it out only when one of them is due by now and runs (semantics.md 13). */
import { slotsBetween } from './time/oracle.ts';
import type { Timing } from './time/timing.ts';

/** As `late_after()` in SQL, milliseconds; a little sooner, because Postgres' clock decides. */
const LATE_AFTER_MS = 14_000;
/** Freezes and calendars are seldom longer than so many slots; a later one that runs is looked for no further. */
const MOST_LATER = 1_000;

/** Slots behind `successor` that are due by now; none for a slot that is not late. */
export function laterSlots(timing: Timing, slot: Date, successor: Date | null, now = Date.now()): Date[] {
  if (!successor || slot.getTime() > now - LATE_AFTER_MS || successor.getTime() > now) return [];
  return slotsBetween(timing, successor, new Date(now), MOST_LATER);
}

/** All that come after, in order, as admit takes them. */
export const laterOf = ({ successor, later = [] }: { successor: Date | null; later?: readonly Date[] }): Date[] =>
  successor ? [successor, ...later] : [];
