/** One-offs that share a workflow end as those that have one of their own. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { partitionAtOf } from '../../../src/jobs/ids.ts';
import { beginPool, recordPool } from '../../../src/jobs/pools/pool-store.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { seedJob } from '../../support/seed.ts';
import { seedPooledOnce } from './pooled-jobs.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

test('a one-off that fails is finished, not paused, whatever pauseAfterFailures says', async () => {
  const job = await seedJob(pool, { pauseAfterFailures: 1, maxAttempts: 1 });
  const id = await seedPooledOnce(pool, job, 'once-failing', new Date(Date.now() - 10));
  const range = {
    team: 'default',
    pool: 'once-failing',
    runId: 'run-1',
    chunk: '1@test',
    from: '',
    to: 'zzzz',
    priority: 3,
    bufferLimit: 100,
  };
  const [call] = await beginPool(pool, range);
  const at = new Date().toISOString();
  const ended = {
    team: 'default',
    partitionAt: partitionAtOf(id)!.toISOString(),
    id,
    attempt: call!.attempt,
    status: 'failed',
    final: true,
  };
  await recordPool(pool, [{ ...ended, startedAt: at, finishedAt: at, worker: 'test' }]);
  const { rows } = await pool.query(
    `SELECT j.state, j.pause, r.paused_at, (SELECT count(*)::int FROM slot_ranges s WHERE s.job_id = j.id) AS ranges
       FROM jobs j JOIN job_runtime r ON r.job_id = j.id WHERE j.id = $1`,
    [job.id],
  );
  assert.deepEqual(rows, [{ state: 'finished', pause: null, paused_at: null, ranges: 0 }]);
});
