/** Measures jobs a batch at a time, all of them in turn. */
import type { Pool } from '../../postgres.ts';
import { timingsByHash } from '../clocks/late-slot-store.ts';
import { healthJobsAfter, healthMeasure } from './health-store.ts';
import { type Pace, paceOf } from './interval.ts';

/** A pace is worked out anew after this, milliseconds: days are not all alike. */
const KEPT_MS = 6 * 3_600_000;
const MOST_KEPT = 20_000;

export type RollUp = ReturnType<typeof createRollUp>;

export function createRollUp({ pool }: { pool: Pool }) {
  const paces = new Map<string, { pace: Pace; until: number }>();

  async function pacesOf(hashes: readonly string[]): Promise<void> {
    if (paces.size > MOST_KEPT) paces.clear();
    const now = Date.now();
    const unknown = [...new Set(hashes)].filter((hash) => (paces.get(hash)?.until ?? 0) < now);
    if (unknown.length === 0) return;
    for (const [hash, timing] of await timingsByHash(pool, unknown))
      paces.set(hash, { pace: paceOf(timing, new Date(now)), until: now + KEPT_MS });
  }

  /**
   * Measures the next jobs behind `after` in the order of their ids.
   * @returns where to go on; null: that was the last. `told`: jobs that there was a word about.
   */
  return async function rollUp(after: string, limit: number): Promise<{ next: string | null; measured: number; told: string[] }> {
    const jobs = await healthJobsAfter(pool, after, limit);
    await pacesOf(jobs.map(({ timing_hash }) => timing_hash));
    const paced = jobs.flatMap(({ job_id: jobId, timing_hash }) => {
      const pace = paces.get(timing_hash)?.pace;
      return pace?.intervalMs ? [{ jobId, intervalMs: pace.intervalMs, slotsPerDay: pace.slotsPerDay }] : [];
    });
    const told = paced.length === 0 ? [] : await healthMeasure(pool, paced);
    return { next: jobs.length === limit ? jobs.at(-1)!.job_id : null, measured: paced.length, told: told.map(({ job_id }) => job_id) };
  };
}
