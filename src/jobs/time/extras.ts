/**
 * Dated extras: slots that a clock carries because Temporal's calendars do not bring them. Each is an interval without offset whose length is the moment itself in
 * seconds since 1970: its first time is that moment, its second as long after it, and by then it is long gone. (An offset would not do: the server fires nothing before
 * an interval's offset has passed, plus one length.)
 */
import { slotWalkOf } from './slot-walk.ts';
import type { Timing } from './timing.ts';

const DAY_MS = 86_400_000;
/** A clock is renewed when its extras reach less far than this. */
export const MARKS_AHEAD_MS = 400 * DAY_MS;
/** How far they reach when they are written. */
export const MARKS_WRITTEN_MS = 460 * DAY_MS;
/** The nearest ones; more would make the schedule a burden, and what is left out is found late (semantics 9) until the clock is renewed. */
export const MOST_EXTRAS = 4_000;

/** More marks than any timing has in that time. */
const MOST_MARKS = 100_000;

/** Longer than any interval that people may ask for (10 years): an interval of this length is an extra. Seconds. */
const SHORTEST_EXTRA_S = 1_000_000_000;
export const isExtra = (everyS: number, offsetS: number): boolean => everyS >= SHORTEST_EXTRA_S && offsetS === 0;

/** The extras of a timing from a moment on, in epoch seconds, ascending. */
export function extrasOf(timing: Timing, from: Date): number[] {
  const extras: number[] = [];
  const { isCarried, marks } = slotWalkOf(timing);
  if (isCarried) return extras;
  const fromS = Math.floor(from.getTime() / 1_000);
  for (const { slot, fired } of marks(fromS, fromS + MARKS_WRITTEN_MS / 1_000, MOST_MARKS)) {
    if (!fired) extras.push(slot.getTime() / 1_000);
    if (extras.length === MOST_EXTRAS) break;
  }
  return extras;
}
