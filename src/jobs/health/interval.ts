/** How close together a timing's slots are, and how many there are in a day: what durations are measured against. */
import { slotsBetween } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';

export type Pace = {
  /** Shortest distance between two slots ahead, milliseconds; null: there are no two within a year. */
  intervalMs: number | null;
  slotsPerDay: number;
};

const DAY_MS = 86_400_000;
/** Slots of a day that are worked out one by one; a denser day is measured by its beginning. */
const MOST_OF_DAY = 3_000;
/** Slots of the year that are looked at when a day has too few. */
const MOST_OF_YEAR = 60;

/** The pace from a moment on. */
export function paceOf(timing: Timing, from: Date): Pace {
  const [interval] = timing.intervals;
  if (interval && timing.intervals.length === 1 && timing.calendars.length === 0)
    return { intervalMs: interval.everyS * 1_000, slotsPerDay: 86_400 / interval.everyS };
  const ofDay = slotsBetween(timing, from, new Date(from.getTime() + DAY_MS), MOST_OF_DAY);
  if (ofDay.length === MOST_OF_DAY) {
    const span = ofDay.at(-1)!.getTime() - ofDay[0]!.getTime();
    return { intervalMs: shortest(ofDay), slotsPerDay: ((MOST_OF_DAY - 1) / span) * DAY_MS };
  }
  if (ofDay.length > 2) return { intervalMs: shortest(ofDay), slotsPerDay: ofDay.length };
  const ofYear = slotsBetween(timing, from, new Date(from.getTime() + 366 * DAY_MS), MOST_OF_YEAR);
  if (ofYear.length < 2) return { intervalMs: null, slotsPerDay: ofYear.length / 366 };
  const span = ofYear.length < MOST_OF_YEAR ? 366 * DAY_MS : ofYear.at(-1)!.getTime() - from.getTime();
  return { intervalMs: shortest(ofYear), slotsPerDay: (ofYear.length / span) * DAY_MS };
}

function shortest(slots: readonly Date[]): number {
  let least = Number.POSITIVE_INFINITY;
  for (let n = 1; n < slots.length; n += 1) least = Math.min(least, slots[n]!.getTime() - slots[n - 1]!.getTime());
  return least;
}
