/** Rows for tests that look at one statement: a job as the use cases would leave it, without going through them. */

import { newJobId } from '../../src/jobs/ids.ts';
import { durationMs } from '../../src/jobs/time/duration.ts';
import type { Pool } from '../../src/postgres.ts';

export type SeededJob = { id: string; team: string; clock: string; hash: string };

const DOCUMENT = {
  name: 'seeded',
  input: null,
  target: { type: 'handler', name: 'none' },
  timeout: '10s',
  retry: { maxAttempts: 3, initialInterval: '1s', backoffCoefficient: 2, maxInterval: '1m', nonRetryable: ['4xx'] },
};

/** An active job on a dedicated clock that fires every `everyS` seconds, member since `validFrom`. */
export async function seedJob(
  pool: Pool,
  {
    overlap = 'skip',
    catchUp = 'last',
    windowMs = 3_600_000,
    everyS = 60,
    validFrom = new Date(Date.now() - 86_400_000),
    validTo = null as Date | null,
    maxAttempts = 3,
    pauseAfterFailures = null as number | null,
    offsetS = 0,
    timeoutMs = undefined as number | null | undefined,
    document: changed = {} as object,
  } = {},
): Promise<SeededJob> {
  const id = newJobId();
  const team = 'default';
  const hash = `every-${everyS}`;
  const whole = { ...DOCUMENT, name: id, ...changed };
  const document = JSON.stringify(whole);
  // null is what was written before this was kept
  const measuredMs = timeoutMs === undefined ? durationMs(whole.timeout) : timeoutMs;
  await pool.query(
    `WITH job AS (
       INSERT INTO jobs (id, team, name, priority, state, generation, document, clock_id, created_by, created_at, updated_at)
       VALUES ($1, $2, $1, 3, 'active', 1, $3, $1, 'test', now(), now())
     ), revision AS (
       INSERT INTO job_revisions (job_id, generation, team, document, changed_by, created_at) VALUES ($1, 1, $2, $3, 'test', now())
     ), timing AS (
       INSERT INTO timings (hash, timing) VALUES ($4, $5) ON CONFLICT DO NOTHING
     ), clock AS (
       INSERT INTO clocks (id, team, kind, timing_hash, queue, observed_generation) VALUES ($1, $2, 'dedicated', $4, 'default', 1)
     )
     INSERT INTO clock_members (job_id, clock_id, team, generation, timing_hash, valid_from, valid_to) VALUES ($1, $1, $2, 1, $4, $6, coalesce($7, 'infinity'::timestamptz))`,
    [id, team, document, hash, JSON.stringify({ calendars: [], intervals: [{ everyS, offsetS: 0 }], timezone: 'UTC' }), validFrom, validTo],
  );
  await pool.query(
    `INSERT INTO job_runtime (job_id, team, job_name, generation, priority, queue, overlap, catch_up, catch_up_window_ms, max_attempts, pause_after_failures, offset_s, next_run_at, timeout_ms)
     VALUES ($1, $2, $1, 1, 3, 'default', $3, $4, $5, $6, $7, $8, now(), $9)`,
    [id, team, overlap, catchUp, windowMs, maxAttempts, pauseAfterFailures, offsetS, measuredMs],
  );
  return { id, team, clock: id, hash };
}

/** Counters of the job's runtime row beside what its executions say: they must agree at rest. */
export async function countersOf(
  pool: Pool,
  jobId: string,
): Promise<{ active: number; waiting: number; rowsActive: number; rowsWaiting: number }> {
  const { rows } = await pool.query(
    `SELECT r.active, r.waiting,
            (SELECT count(*)::int FROM job_executions e WHERE e.job_id = r.job_id AND e.counted AND NOT e.waiting AND e.status IN ('queued', 'running')) AS "rowsActive",
            (SELECT count(*)::int FROM job_executions e WHERE e.job_id = r.job_id AND e.counted AND e.waiting AND e.status IN ('queued', 'running')) AS "rowsWaiting"
       FROM job_runtime r WHERE r.job_id = $1`,
    [jobId],
  );
  return rows[0];
}
