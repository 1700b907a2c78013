/** Rows that nobody moves: started, released or closed by the controller's loops. No Almanac worker runs here. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { createCloses } from '../../src/controller/closes.ts';
import type { Loop } from '../../src/controller/loop.ts';
import { createServers } from '../../src/controller/servers.ts';
import { createStartOne } from '../../src/controller/start-one.ts';
import { createStarts } from '../../src/controller/starts.ts';
import { beginQueued } from '../../src/jobs/beginning-store.ts';
import { createStarter } from '../../src/jobs/execution-starts.ts';
import { admitSlot, claimExecution } from '../../src/jobs/execution-store.ts';
import { newExecutionId, partitionAtOf, slotExecutionId } from '../../src/jobs/ids.ts';
import { admitTrigger } from '../../src/jobs/trigger-store.ts';
import { countersOf, type SeededJob, seedJob } from '../support/seed.ts';
import { openRoom, type Room, silent, until } from './room.ts';

let room: Room;
let loops: Loop[];
let stop: () => Promise<void>;
before(async () => {
  room = await openRoom();
  const { pool, temporal } = room;
  const servers = createServers({ pool, temporal, log: silent, onBack: () => {} });
  const starter = createStarter({ pool, temporal, log: silent });
  const shared = { pool, temporal, servers, log: silent };
  loops = [createStarts({ ...shared, startOne: createStartOne({ pool, temporal, starter }) }), createCloses({ ...shared, starter })];
  for (const loop of loops) loop.start();
  stop = async () => {
    await Promise.all(loops.map((loop) => loop.stop()));
    await servers.stop();
    await starter.drain();
  };
});
after(async () => {
  await stop();
  await room.close();
});

type Row = {
  status: string;
  reason: string | null;
  waiting: boolean;
  run_id: string | null;
  workflow_id: string;
  error: { message: string } | null;
};
async function rowOf(id: string): Promise<Row> {
  const { rows } = await room.pool.query<Row>(
    'SELECT status, reason, waiting, run_id, workflow_id, error FROM job_executions WHERE partition_at = $1 AND id = $2',
    [partitionAtOf(id), id],
  );
  return rows[0] ?? assert.fail(`no row ${id}`);
}

/** A committed trigger whose process died before it started the workflow. */
async function trigger(job: SeededJob): Promise<string> {
  const id = newExecutionId(job.id, 'manual');
  const { verdict } = await admitTrigger(room.pool, {
    team: job.team,
    job: job.id,
    id,
    partitionAt: partitionAtOf(id)!,
    kind: 'manual',
    slot: null,
    input: null,
    hasInput: false,
    requestedBy: 'test',
    retryOf: null,
    pinnedGeneration: null,
    timeoutMs: null,
    bufferLimit: 100,
    requestId: 'test',
  });
  assert.ok(verdict === 'run' || verdict === 'wait', verdict);
  return id;
}

const started = (id: string) => until(`a start of ${id}`, async () => ((await rowOf(id)).run_id ? rowOf(id) : null));
const ended = (id: string, withinMs = 15_000) =>
  until(`an end of ${id}`, async () => (['queued', 'running'].includes((await rowOf(id)).status) ? null : rowOf(id)), withinMs);
const handleOf = (id: string) => room.temporal.workflow.getHandle(id);
/** Takes the run's part: its admit and its claim, as the worker would make them. */
async function run(id: string): Promise<void> {
  const { run_id: runId } = await started(id);
  const row = { team: 'default', partitionAt: partitionAtOf(id)!, id, runId: runId! };
  await beginQueued(room.pool, { ...row, workflowId: id, bufferLimit: 100, shortMs: 0 });
  const claimed = await claimExecution(room.pool, { ...row, tryNumber: 1 });
  assert.equal(claimed.verdict, 'run');
}

test('a trigger whose start was lost is started within seconds, under its own id', async () => {
  const id = await trigger(await seedJob(room.pool));
  const row = await started(id);
  const described = await handleOf(id).describe();
  assert.equal(described.runId, row.run_id);
  assert.equal(described.type, 'executeJob');
});

test('a slot whose workflow is open already is not started twice; the row learns of its run', async () => {
  const job = await seedJob(room.pool, { everyS: 60 });
  const slot = new Date(Math.floor(Date.now() / 60_000) * 60_000);
  const id = slotExecutionId(job.id, slot);
  const handle = await room.temporal.workflow.start('executeJob', {
    workflowId: id,
    taskQueue: 'almanac-default',
    args: [{ team: 'default', clock: job.id }],
  });
  await admitSlot(room.pool, {
    team: 'default',
    clock: job.id,
    nominal: slot,
    timingHash: job.hash,
    successor: null,
    workflowId: null,
    runId: null,
    bufferLimit: 10,
  });
  assert.equal((await started(id)).run_id, handle.firstExecutionRunId);
});

test('a waiting row that waits for nothing is released within five seconds', async () => {
  const job = await seedJob(room.pool, { overlap: 'buffer_all' });
  const [first, second] = [await trigger(job), await trigger(job)];
  assert.equal((await rowOf(second)).waiting, true);
  // the row that was active ended, and whoever ended it died before the release
  await room.pool.query(`UPDATE job_executions SET status = 'succeeded', counted = false WHERE id = $1`, [first]);
  await room.pool.query('UPDATE job_runtime SET active = 0 WHERE job_id = $1', [job.id]);
  const row = await until(
    'a release',
    async () => (!(await rowOf(second)).waiting && (await rowOf(second)).run_id ? rowOf(second) : null),
    6_000,
  );
  assert.equal(row.status, 'queued');
  assert.deepEqual(await countersOf(room.pool, job.id), { active: 1, waiting: 0, rowsActive: 1, rowsWaiting: 0 });
});

test('a workflow terminated in Temporal ends its row as terminated, and the next one starts', async () => {
  const job = await seedJob(room.pool, { overlap: 'buffer_all' });
  const [first, second] = [await trigger(job), await trigger(job)];
  await run(first);
  await handleOf(first).terminate('an operator');
  const row = await ended(first);
  assert.deepEqual([row.status, row.reason], ['terminated', 'workflow_terminated']);
  await started(second);
  assert.deepEqual(await countersOf(room.pool, job.id), { active: 1, waiting: 0, rowsActive: 1, rowsWaiting: 0 });
});

test('a workflow that timed out in Temporal ends its row as timed out', async () => {
  const id = await trigger(await seedJob(room.pool));
  const handle = await room.temporal.workflow.start('executeJob', {
    workflowId: id,
    taskQueue: 'nobody',
    workflowExecutionTimeout: '1s',
    args: [],
  });
  await room.pool.query('UPDATE job_executions SET run_id = $2 WHERE id = $1', [id, handle.firstExecutionRunId]);
  assert.equal((await ended(id)).status, 'timed_out');
});

test('a workflow that Temporal does not know any more is started again under the same id', async () => {
  const id = await trigger(await seedJob(room.pool));
  await room.pool.query(`UPDATE job_executions SET run_id = 'lost-with-the-server' WHERE id = $1`, [id]);
  await until('a new start', async () => {
    const { run_id: runId } = await rowOf(id);
    return runId !== null && runId !== 'lost-with-the-server';
  });
  assert.equal((await handleOf(id).describe()).status.name, 'RUNNING');
});

test('cancel_other: what has not gone 30 s after it was asked is terminated, row and workflow', async () => {
  const job = await seedJob(room.pool, { overlap: 'cancel_other' });
  const first = await trigger(job);
  await run(first);
  const second = await trigger(job);
  assert.equal((await rowOf(second)).waiting, true);
  await room.pool.query(`UPDATE job_executions SET cancel_requested_at = now() - interval '29 seconds' WHERE id = $1`, [first]);
  assert.equal((await rowOf(first)).status, 'running');
  const row = await ended(first, 10_000);
  assert.deepEqual([row.status, row.reason], ['terminated', 'cancel_other']);
  await until('the end of the workflow', async () => (await handleOf(first).describe()).status.name === 'TERMINATED');
  await started(second);
});

test('the workflow of a row that was terminated is terminated too', async () => {
  const id = await trigger(await seedJob(room.pool));
  await run(id);
  await room.pool.query(
    `UPDATE job_executions SET created_at = now() - interval '10 seconds', due_at = now() - interval '10 seconds' WHERE id = $1`,
    [id],
  );
  await new Promise((resolve) => setTimeout(resolve, 2_500)); // the loop must have seen it unfinished
  await room.pool.query(`SELECT close_execution('default', $1, $2, 'terminated', NULL, NULL, 'test')`, [partitionAtOf(id), id]);
  await until('the end of the workflow', async () => (await handleOf(id).describe()).status.name === 'TERMINATED');
});

test('a workflow that keeps ending without a record is started again, and given up as lost in the end', async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const connection = await NativeConnection.connect({ address: room.address });
  const worker = await Worker.create({
    connection,
    namespace: room.namespace,
    taskQueue: 'almanac-ends',
    workflowsPath: fileURLToPath(new URL('./ending-workflows.ts', import.meta.url)),
  });
  const running = worker.run();
  const job = await seedJob(room.pool);
  await room.pool.query(`UPDATE job_runtime SET queue = 'ends' WHERE job_id = $1`, [job.id]);
  const id = await trigger(job);
  const row = await ended(id, 90_000);
  assert.deepEqual([row.status, row.reason], ['failed', 'lost']);
  assert.match(row.error?.message ?? '', /ended 6 times without an outcome/);
  worker.shutdown();
  await running;
  await connection.close();
});
