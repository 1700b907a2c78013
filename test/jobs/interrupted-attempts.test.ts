/** Attempts whose call was interrupted: by a newer execution, by a cancel, by the death of the worker. Each is told, and none holds up an end. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { beginQueued } from '../../src/jobs/beginning-store.ts';
import { cancelExecution, claimExecution, recordOutcomes } from '../../src/jobs/execution-store.ts';
import { newExecutionId, partitionAtOf } from '../../src/jobs/ids.ts';
import { admitTrigger } from '../../src/jobs/trigger-store.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { type SeededJob, seedJob } from '../support/seed.ts';
import { createTestDatabase } from '../support/stack.ts';

let pool: Pool;
let drop: () => Promise<void>;

before(async () => {
  const database = await createTestDatabase();
  drop = database.drop;
  const settings = { DATABASE_URL: database.url, DATABASE_POOL: 4, DATABASE_CONNECT_TIMEOUT_MS: 10_000 };
  pool = createPool(settings, createLog('test', 'silent'), 'test');
});
after(async () => {
  await pool.end();
  await drop();
});

/** A trigger that is admitted and begun by a run. */
async function begun(job: SeededJob, runId = 'run'): Promise<{ team: string; id: string; partitionAt: Date }> {
  const id = newExecutionId(job.id, 'manual');
  const key = { team: job.team, id, partitionAt: partitionAtOf(id)! };
  await admitTrigger(pool, {
    ...key,
    job: job.id,
    kind: 'manual',
    slot: null,
    input: null,
    hasInput: false,
    requestedBy: 'test',
    retryOf: null,
    pinnedGeneration: null,
    timeoutMs: null,
    bufferLimit: 10,
    requestId: 'request',
  });
  await beginQueued(pool, { ...key, workflowId: id, runId, bufferLimit: 10, shortMs: 0 });
  return key;
}

const claim = (key: { team: string; id: string; partitionAt: Date }, tryNumber = 1) =>
  claimExecution(pool, { ...key, runId: 'run', tryNumber });
const failedOnce = (key: { team: string; id: string; partitionAt: Date }, attempt: number) =>
  recordOutcomes(pool, [
    {
      ...key,
      partitionAt: key.partitionAt.toISOString(),
      attempt,
      status: 'failed',
      final: false,
      startedAt: new Date().toISOString(),
      finishedAt: new Date().toISOString(),
      worker: 'test',
    },
  ]);
async function attemptsOf({ id }: { id: string }): Promise<string[]> {
  const { rows } = await pool.query<{ told: string }>(
    `SELECT attempt || ' ' || status AS told FROM job_attempts WHERE execution_id = $1 ORDER BY attempt`,
    [id],
  );
  return rows.map((row) => row.told);
}
async function statusOf({ id }: { id: string }): Promise<string> {
  const { rows } = await pool.query<{ status: string }>('SELECT status FROM job_executions WHERE id = $1', [id]);
  return rows[0]!.status;
}

test('a call that terminate_other fences off has its attempt told, and only once', async () => {
  const job = await seedJob(pool, { overlap: 'terminate_other' });
  const first = await begun(job);
  const { attempt } = await claim(first);
  await begun(job);
  assert.deepEqual([await statusOf(first), await attemptsOf(first)], ['terminated', ['1 terminated']]);
  await failedOnce(first, attempt);
  assert.deepEqual(await attemptsOf(first), ['1 terminated']);
});

test('an execution that is ended before its first call has no attempt', async () => {
  const job = await seedJob(pool, { overlap: 'terminate_other' });
  const first = await begun(job);
  await begun(job);
  assert.deepEqual([await statusOf(first), await attemptsOf(first)], ['terminated', []]);
});

test('between two calls a cancel ends an execution at once, also when a worker of it has died before', async () => {
  const job = await seedJob(pool, { overlap: 'allow_all' });
  const key = await begun(job);
  await claim(key);
  const { attempt } = await claim(key); // the first worker is dead
  await failedOnce(key, attempt);
  assert.equal((await cancelExecution(pool, { ...key, by: 'test' })).verdict, 'cancelled');
  assert.deepEqual([await statusOf(key), await attemptsOf(key)], ['cancelled', ['1 lost', '2 failed']]);
});

test('during a call a cancel is a request; when the worker dies over it, its attempt is lost and the execution cancelled', async () => {
  const job = await seedJob(pool, { overlap: 'allow_all' });
  const key = await begun(job);
  await claim(key);
  assert.equal((await cancelExecution(pool, { ...key, by: 'test' })).verdict, 'requested');
  assert.equal(await statusOf(key), 'running');
  assert.equal((await claim(key)).verdict, 'cancelled');
  assert.deepEqual([await statusOf(key), await attemptsOf(key)], ['cancelled', ['1 lost']]);
});

test('cancel_other ends at once what is between two calls, also when a worker of it has died before', async () => {
  const job = await seedJob(pool, { overlap: 'cancel_other' });
  const first = await begun(job);
  await claim(first);
  const { attempt } = await claim(first);
  await failedOnce(first, attempt);
  await begun(job);
  assert.deepEqual([await statusOf(first), await attemptsOf(first)], ['cancelled', ['1 lost', '2 failed']]);
});
