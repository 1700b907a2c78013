/** What a worker takes over at its start, and what it leaves alone. No Almanac worker runs here. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import type { Client, WorkflowStartOptions } from '@temporalio/client';
import { chunkOf } from '../../../src/activities/pools/chunk.ts';
import { takeOverDeadPools } from '../../../src/activities/pools/dead-pools.ts';
import { beginPool } from '../../../src/jobs/pools/pool-store.ts';
import { clientOf, openRoom, type Room, silent } from '../../controller/room.ts';
import { seedPooledTrigger } from '../../jobs/pools/pooled-jobs.ts';
import { seedJob } from '../../support/seed.ts';

let room: Room;
before(async () => {
  room = await openRoom();
});
after(() => room.close());

const ofProcess = (pid: number): string => chunkOf('1').replace(/\d+$/, String(pid));
/** Of a process of this host that is gone, and of one that lives. */
const DEAD = ofProcess(spawnSync(process.execPath, ['-e', '']).pid);
const LIVING = ofProcess(process.ppid);

/** Rows of a pool, each claimed by the process of that chunk for the run that is open. */
async function seedPool(poolId: string, chunks: readonly string[]): Promise<{ ids: string[]; runId: string }> {
  const { firstExecutionRunId: runId } = await room.temporal.workflow.start('servePool', {
    workflowId: poolId,
    taskQueue: 'nobody',
    args: [],
  });
  const ids: string[] = [];
  for (const chunk of chunks) {
    const id = await seedPooledTrigger(room.pool, await seedJob(room.pool), poolId);
    await claim(poolId, id, runId, chunk);
    ids.push(id);
  }
  return { ids, runId };
}

const claim = (poolId: string, id: string, runId: string, chunk: string) =>
  beginPool(room.pool, { team: 'default', pool: poolId, runId, chunk, priority: 3, from: id, to: id });
const rowsOf = async (poolId: string): Promise<{ run_id: string; chunk: string | null }[]> =>
  (await room.pool.query('SELECT run_id, chunk FROM job_executions WHERE workflow_id = $1 ORDER BY id', [poolId])).rows;
const runOf = async (poolId: string): Promise<string> => (await room.temporal.workflow.getHandle(poolId).describe()).runId;
const takeOver = (temporal: Client = room.temporal) => takeOverDeadPools({ pool: room.pool, temporal, log: silent, queues: ['default'] });

/** A client that tells of each start, when it was made. */
function telling(started: (poolId: string, runId: string) => Promise<unknown>): Client {
  const start = async (type: string, options: WorkflowStartOptions) => {
    const handle = await room.temporal.workflow.start(type, options);
    await started(options.workflowId, handle.firstExecutionRunId);
    return handle;
  };
  return { withDeadline: room.temporal.withDeadline.bind(room.temporal), workflow: { start } } as unknown as Client;
}

test('of two workers that start at once one takes a dead pool over, and the run that it began is not ended by the other', async () => {
  const { runId } = await seedPool('group-default-twice', [DEAD, DEAD]);
  const runs: string[] = [];
  const temporal = telling(async (_, run) => runs.push(run));
  await Promise.all([takeOver(temporal), takeOver(temporal)]);
  await takeOver(temporal);
  assert.equal(runs.length, 1);
  assert.notEqual(runs[0], runId);
  assert.equal(await runOf('group-default-twice'), runs[0]);
  assert.deepEqual(await rowsOf('group-default-twice'), [
    { run_id: runs[0], chunk: null },
    { run_id: runs[0], chunk: null },
  ]);
});

test('what the new run has begun meanwhile stays claimed', async () => {
  const { ids } = await seedPool('group-default-quick', [DEAD, DEAD]);
  let run = '';
  await takeOver(
    telling(async (poolId, runId) => {
      run = runId;
      await claim(poolId, ids[0]!, runId, LIVING);
    }),
  );
  assert.deepEqual(await rowsOf('group-default-quick'), [
    { run_id: run, chunk: LIVING },
    { run_id: run, chunk: null },
  ]);
  await room.pool.query(`UPDATE job_executions SET status = 'succeeded' WHERE workflow_id = 'group-default-quick'`);
});

test('a pool with a row that a living worker, or nobody knows who, has put back is left alone', async () => {
  for (const [poolId, chunk] of [
    ['group-default-parked', LIVING],
    ['group-default-elsewhere', '1@another host/boot/1/7'],
  ] as const) {
    const { ids, runId } = await seedPool(poolId, [DEAD, chunk]);
    await room.pool.query(`UPDATE job_executions SET status = 'queued', attempt = 0 WHERE id = $1`, [ids[1]]);
    await takeOver();
    assert.equal(await runOf(poolId), runId);
    assert.deepEqual(await rowsOf(poolId), [
      { run_id: runId, chunk: DEAD },
      { run_id: runId, chunk },
    ]);
  }
});

test('a Temporal that does not answer keeps the worker for two seconds, and the rows as they are', async () => {
  const { runId } = await seedPool('group-default-away', [DEAD]);
  const mute = createServer((socket) => socket.on('error', () => {}).unref());
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  const address = mute.address();
  assert.ok(address && typeof address === 'object');
  const temporal = clientOf(`127.0.0.1:${address.port}`, room.namespace);
  const began = performance.now();
  await takeOver(temporal);
  assert.ok(performance.now() - began < 4_000, `${performance.now() - began} ms`);
  assert.deepEqual(await rowsOf('group-default-away'), [{ run_id: runId, chunk: DEAD }]);
  await temporal.connection.close();
  mute.close();
});
