/** The spread of jobs that are due together: a fixed distance per job, so that next-run times can show it. */
import { createHash } from 'node:crypto';
import { durationMs } from './duration.ts';
import type { Schedule } from './schedule-document.ts';

/** How far the jobs of a schedule are spread, milliseconds; 0: not at all. */
export const spreadMs = ({ jitter, spread }: Pick<Schedule, 'jitter' | 'spread'>): number => durationMs(jitter ?? spread ?? '0s');

/**
 * How many whole seconds after its slots a job starts.
 * @param jobId stable id; the same job always gets the same offset for the same jitter.
 * @param jitterMs whole seconds in milliseconds, or 0.
 * @returns 0 to `jitterMs / 1000`, both included, evenly spread over job ids.
 */
export function jitterOffsetS(jobId: string, jitterMs: number): number {
  const choices = Math.floor(Math.max(0, jitterMs) / 1_000) + 1;
  if (choices === 1) return 0;
  return createHash('sha256').update(jobId).digest().readUIntBE(0, 6) % choices;
}
