/** Pools whose workflow ended with rows left: the controller ends or starts again all of them. No Almanac worker runs here. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createCloses } from '../../src/controller/closes.ts';
import type { Loop } from '../../src/controller/loop.ts';
import { createServers } from '../../src/controller/servers.ts';
import { createStarter } from '../../src/jobs/execution-starts.ts';
import { partitionAtOf } from '../../src/jobs/ids.ts';
import { beginPool, recordPool } from '../../src/jobs/pools/pool-store.ts';
import { seedPooledTrigger } from '../jobs/pools/pooled-jobs.ts';
import { countersOf, seedJob } from '../support/seed.ts';
import { openRoom, type Room, silent, until } from './room.ts';

let room: Room;
let loop: Loop;
let stop: () => Promise<void>;
before(async () => {
  room = await openRoom();
  const { pool, temporal } = room;
  const servers = createServers({ pool, temporal, log: silent, onBack: () => {} });
  const starter = createStarter({ pool, temporal, log: silent });
  loop = createCloses({ pool, temporal, starter, servers, log: silent });
  stop = async () => {
    await loop.stop();
    await servers.stop();
    await starter.drain();
  };
});
after(async () => {
  await stop();
  await room.close();
});

const statusOf = async (id: string): Promise<string> =>
  (await room.pool.query('SELECT status FROM job_executions WHERE partition_at = $1 AND id = $2', [partitionAtOf(id), id])).rows[0].status;

test('a pool that is terminated while it is watched ends with all its rows, also when the first of them has ended before', async () => {
  const [first, second] = [await seedJob(room.pool), await seedJob(room.pool)].sort((a, b) => (a.id < b.id ? -1 : 1));
  const poolId = 'group-default-terminated';
  const [ended, left] = [await seedPooledTrigger(room.pool, first!, poolId), await seedPooledTrigger(room.pool, second!, poolId)];
  const handle = await room.temporal.workflow.start('servePool', { workflowId: poolId, taskQueue: 'nobody', args: [] });
  const range = { team: 'default', pool: poolId, chunk: '1@test', from: '', to: 'zzzz', priority: 3, bufferLimit: 100 };
  const [call] = await beginPool(room.pool, { ...range, runId: handle.firstExecutionRunId });
  await room.pool.query(
    `UPDATE job_executions SET created_at = now() - interval '10 seconds', due_at = now() - interval '10 seconds' WHERE workflow_id = $1`,
    [poolId],
  );
  const asked = countDescribes();
  loop.start();
  await until('a look at the pool', async () => asked.count > 0);
  const now = new Date().toISOString();
  await recordPool(room.pool, [
    {
      team: 'default',
      partitionAt: partitionAtOf(ended)!.toISOString(),
      id: ended,
      attempt: call!.attempt,
      status: 'succeeded',
      final: true,
      startedAt: now,
      finishedAt: now,
      worker: 'test',
    },
  ]);
  await handle.terminate('an operator');
  await until('the end of the other row', async () => (await statusOf(left)) === 'terminated', 20_000);
  assert.equal(await statusOf(ended), 'succeeded');
  assert.deepEqual(await countersOf(room.pool, second!.id), { active: 0, waiting: 0, rowsActive: 0, rowsWaiting: 0 });
});

/** A row of a pool that was to be served by a run, ten seconds ago. */
async function seedOld(poolId: string, runId: string): Promise<string> {
  const id = await seedPooledTrigger(room.pool, await seedJob(room.pool), poolId);
  await room.pool.query(
    `UPDATE job_executions SET created_at = now() - interval '10 seconds', due_at = now() - interval '10 seconds', run_id = $2 WHERE id = $1`,
    [id, runId],
  );
  return id;
}

const runOf = async (id: string): Promise<string | null> =>
  (await room.pool.query('SELECT run_id FROM job_executions WHERE partition_at = $1 AND id = $2', [partitionAtOf(id), id])).rows[0].run_id;

/** The controller takes an unknown run from its row, so that it is started again, as often as there are tries left. */
async function loseRuns(id: string, times: number): Promise<void> {
  for (let nth = 0; nth < times; nth++) {
    await room.pool.query('UPDATE job_executions SET run_id = $2 WHERE id = $1', [id, `lost-${nth}`]);
    await until(`another start after ${nth}`, async () => (await runOf(id)) === null);
  }
}

test('a pool that was started again and came to its end has all its restarts again when it is used once more; one that did not is lost in the end', async () => {
  loop.start();
  const recovering = await seedOld('group-default-recovers', 'lost');
  await loseRuns(recovering, 5);
  await room.pool.query(`SELECT close_execution('default', $1, $2, 'succeeded', NULL, NULL, 'test')`, [
    partitionAtOf(recovering),
    recovering,
  ]);
  const lost = await seedOld('group-default-lost', 'lost');
  await loseRuns(lost, 5);
  await room.pool.query(`UPDATE job_executions SET run_id = 'lost again' WHERE id = $1`, [lost]);
  await until('the end of the one that is lost', async () => (await statusOf(lost)) === 'failed');
  await loseRuns(await seedOld('group-default-recovers', 'lost again'), 1);
});

test('a pool that ended in a later run ends with the rows that were told of an earlier one', async () => {
  loop.start();
  const handle = await room.temporal.workflow.start('servePool', { workflowId: 'group-default-continued', taskQueue: 'nobody', args: [] });
  const id = await seedOld('group-default-continued', handle.firstExecutionRunId);
  await handle.terminate('begun anew');
  const later = await room.temporal.workflow.start('servePool', {
    workflowId: handle.workflowId,
    taskQueue: 'nobody',
    args: [],
    workflowRunTimeout: '1s',
  });
  assert.notEqual(later.firstExecutionRunId, handle.firstExecutionRunId);
  await until('the end of its row', async () => (await statusOf(id)) === 'timed_out', 20_000);
});

/** Counts how often Temporal is asked about a workflow. */
function countDescribes(): { count: number } {
  const service = room.temporal.workflowService;
  const plain = service.describeWorkflowExecution.bind(service);
  const asked = { count: 0 };
  service.describeWorkflowExecution = ((...args: Parameters<typeof plain>) => {
    asked.count += 1;
    return plain(...args);
  }) as typeof service.describeWorkflowExecution;
  return asked;
}
