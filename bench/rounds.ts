/** Measuring two things by turns, so that what else happens on the machine happens to both. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Several readings of one thing. */
export type Readings = { median: number; min: number; max: number; values: number[] };

export function readingsOf(values: readonly number[]): Readings {
  if (values.length === 0) throw new Error('nothing was measured');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)!, values: [...values] };
}

/** The smallest value that at least `share` (0–1) of all are not above. */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!;
}

/**
 * Measures every side once per round. The order turns round each time, so that no side always runs in the other's wake.
 * @param restMs pause before each, in which what the side before has left behind comes to an end, milliseconds.
 * @returns the readings of each side, round by round.
 */
export async function alternate<Side extends string, T>(
  rounds: number,
  sides: Record<Side, (round: number) => Promise<T>>,
  restMs = 0,
): Promise<Record<Side, T[]>> {
  const names = Object.keys(sides) as Side[];
  const readings = Object.fromEntries(names.map((name) => [name, [] as T[]])) as Record<Side, T[]>;
  for (let round = 0; round < rounds; round += 1) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      await sleep(restMs);
      readings[name].push(await sides[name](round));
    }
  }
  return readings;
}

/** Ratio round by round: only figures of the same round may be compared. */
export const ratios = (ours: readonly number[], beside: readonly number[]): Readings =>
  readingsOf(ours.map((value, round) => value / beside[round]!));
