/** A claim that waits for its target's place is nobody's call: whoever cancels it does not wait for the place. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { asyncLocalStorage, type Context } from '@temporalio/activity';
import { createCallLines } from '../../../src/activities/pools/call-lines.ts';
import { createDefinitions } from '../../../src/activities/pools/definitions.ts';
import { createRangeReader } from '../../../src/activities/pools/range-reader.ts';
import { createServeRanges, type ServeRangesDeps } from '../../../src/activities/pools/serve-ranges.ts';
import type { Recorder } from '../../../src/activities/record.ts';
import { cancelExecution, type ExecutionStart } from '../../../src/jobs/execution-store.ts';
import { newExecutionId, partitionAtOf } from '../../../src/jobs/ids.ts';
import type { Pool } from '../../../src/postgres.ts';
import { seedPooledTrigger } from '../../jobs/pools/pooled-jobs.ts';
import { openTestPool } from '../../support/pool.ts';
import { countersOf, seedJob } from '../../support/seed.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

test('a claim that is cancelled in line ends while its target has no place, and lets the next one go on', { timeout: 30_000 }, async () => {
  const poolId = 'group-in-line';
  const job = await seedJob(pool, { overlap: 'buffer_one' });
  const id = await seedPooledTrigger(pool, job, poolId);
  const next = newExecutionId(job.id, 'manual');
  await pool.query(
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, due_at, status, waiting, counted, max_attempts, priority, queue, dispatch, workflow_id)
     SELECT $1, $2, team, job_id, job_name, generation, trigger, due_at, status, true, true, max_attempts, priority, queue, 'dedicated', $2 FROM job_executions WHERE id = $3`,
    [partitionAtOf(next), next, id],
  );
  await pool.query('UPDATE job_runtime SET waiting = 1 WHERE job_id = $1', [job.id]);

  const lines = createCallLines({ places: 1, perTarget: 1, slowAfterMs: 600_000 });
  lines.takeNow('another target');
  const released: ExecutionStart[] = [];
  const recorder = { startReleased: (start: ExecutionStart | null) => start && released.push(start) } as unknown as Recorder;
  const reader = createRangeReader({ pool, config: { BUFFER_LIMIT_SLOTS: 10, BUFFER_LIMIT_TRIGGERS: 10 } });
  const deps: Partial<ServeRangesDeps> = { pool, reader, definitions: createDefinitions({ pool }), lines, recorder };
  const { servePoolRanges } = createServeRanges({ ...deps, stopping: new AbortController().signal } as ServeRangesDeps);
  const info = { activityId: '1', isLocal: false, workflowExecution: { workflowId: poolId, runId: 'run-1' } };
  const context = { info, cancellationSignal: new AbortController().signal, heartbeat: () => {} };
  const range = { priority: 3, from: '', to: 'zzzz', size: 1, laterMs: 0, plannedAt: new Date(0).toISOString() };
  const served = asyncLocalStorage.run(context as unknown as Context, () => servePoolRanges({ team: 'default', ranges: [range] }));

  const statusOf = async () => (await pool.query('SELECT status FROM job_executions WHERE id = $1', [id])).rows[0].status;
  while ((await statusOf()) !== 'running') await new Promise(setImmediate);
  assert.equal((await cancelExecution(pool, { team: 'default', partitionAt: partitionAtOf(id)!, id, by: 'test' })).verdict, 'requested');
  assert.deepEqual(await served, { calls: 1, left: false });
  assert.equal(await statusOf(), 'cancelled');
  assert.deepEqual(
    released.map((start) => start.id),
    [next],
  );
  assert.deepEqual(await countersOf(pool, job.id), { active: 1, waiting: 0, rowsActive: 1, rowsWaiting: 0 });
  const { rows } = await pool.query('SELECT cancel_by, reason FROM job_executions WHERE id = $1', [id]);
  assert.deepEqual(rows, [{ cancel_by: 'test', reason: null }]);
});
