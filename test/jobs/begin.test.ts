/** Begin: admit and the claim of a short, due call in one round trip, by the same rules as the two apart. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { beginQueued, beginSlot } from '../../src/jobs/beginning-store.ts';
import { findExecution } from '../../src/jobs/execution-queries.ts';
import { createExecutionRequests } from '../../src/jobs/execution-requests.ts';
import { admitSlot, cancelExecution, claimExecution, recordOutcomes } from '../../src/jobs/execution-store.ts';
import { type ExecutionView, executionView } from '../../src/jobs/execution-view.ts';
import { newExecutionId, partitionAtOf, slotExecutionId } from '../../src/jobs/ids.ts';
import { admitTrigger } from '../../src/jobs/trigger-store.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { countersOf, type SeededJob, seedJob } from '../support/seed.ts';
import { createTestDatabase } from '../support/stack.ts';

const SHORT_MS = 10_000;
let pool: Pool;
let drop: () => Promise<void>;

before(async () => {
  const database = await createTestDatabase();
  drop = database.drop;
  pool = createPool(
    { DATABASE_URL: database.url, DATABASE_POOL: 10, DATABASE_CONNECT_TIMEOUT_MS: 5_000 },
    createLog('test', 'silent'),
    'test',
  );
});
after(async () => {
  await pool.end();
  await drop();
});

async function trigger(job: SeededJob, more: { timeoutMs?: number; pinned?: number } = {}): Promise<string> {
  const id = newExecutionId(job.id, 'manual');
  await admitTrigger(pool, {
    team: 'default',
    job: job.id,
    id,
    partitionAt: partitionAtOf(id)!,
    kind: 'manual',
    slot: null,
    input: { of: 'the trigger' },
    hasInput: true,
    requestedBy: 'test',
    retryOf: null,
    pinnedGeneration: more.pinned ?? null,
    timeoutMs: more.timeoutMs ?? null,
    bufferLimit: 10,
    requestId: 'request',
  });
  return id;
}
const keyOf = (id: string) => ({ team: 'default', partitionAt: partitionAtOf(id)!, id });
const begin = (id: string, runId = 'run-1') =>
  beginQueued(pool, { ...keyOf(id), workflowId: id, runId, bufferLimit: 10, shortMs: SHORT_MS });
const now = () => new Date(Math.floor(Date.now() / 1_000) * 1_000);
const slot = (job: SeededJob, nominal: Date) =>
  beginSlot(pool, {
    team: 'default',
    clock: job.clock,
    nominal,
    timingHash: job.hash,
    successor: null,
    runId: 'run-1',
    bufferLimit: 10,
    shortMs: SHORT_MS,
  });
const rowOf = async (id: string) =>
  (await pool.query('SELECT status, attempt, run_id, reason, generation::int FROM job_executions WHERE id = $1', [id])).rows[0];
const attemptsOf = async (id: string) =>
  (await pool.query('SELECT attempt, status FROM job_attempts WHERE execution_id = $1 ORDER BY attempt', [id])).rows;
const record = (id: string, attempt: number, status: string, final = true) =>
  recordOutcomes(pool, [
    {
      ...keyOf(id),
      attempt,
      status,
      final,
      startedAt: new Date().toISOString(),
      finishedAt: new Date().toISOString(),
      error: status === 'succeeded' ? null : { type: 'network', message: 'refused', attempt },
    },
  ]);

test('a short call that is due is claimed with its admission, with all that the call needs', async () => {
  const job = await seedJob(pool);
  const id = await trigger(job);
  const row = await begin(id);
  assert.equal(row?.decision, 'run');
  assert.equal(row?.attempt, 1);
  assert.ok(row && row.attempt !== null);
  assert.deepEqual(row.input, { of: 'the trigger' });
  assert.equal(row.has_input, true);
  assert.equal(row.document.name, job.id);
  assert.equal(row.max_attempts, 3);
  assert.deepEqual(await rowOf(id), { status: 'running', attempt: 1, run_id: 'run-1', reason: null, generation: 1 });
  await record(id, 1, 'succeeded');
  const counters = await countersOf(pool, job.id);
  assert.equal(counters.active, 0);
});

test('a slot is admitted and claimed in one; the second to come finds it ended', async () => {
  const job = await seedJob(pool);
  const nominal = now();
  const id = slotExecutionId(job.id, nominal);
  const row = await slot(job, nominal);
  assert.ok(row && row.decision === 'run' && row.attempt === 1);
  assert.equal(row.slot?.getTime(), nominal.getTime());
  await record(id, 1, 'succeeded');
  assert.equal((await slot(job, nominal))?.decision, 'ended');
});

for (const [what, seed, timeoutMs, attempt] of [
  ['exactly the limit', { timeoutMs: SHORT_MS }, undefined, 1],
  ['a millisecond more', { timeoutMs: SHORT_MS + 1 }, undefined, null],
  ['a definition that nobody has measured yet', { timeoutMs: null }, undefined, null],
  ['a short definition with a long trigger', {}, SHORT_MS + 1, null],
  ['a long definition with a short trigger', { timeoutMs: 60_000 }, SHORT_MS, 1],
] as const) {
  test(`${what} is ${attempt ? 'claimed at once' : 'admitted without a claim'}`, async () => {
    const id = await trigger(await seedJob(pool, seed), timeoutMs === undefined ? {} : { timeoutMs });
    const row = await begin(id);
    assert.equal(row?.decision, 'run');
    assert.equal(row?.attempt, attempt);
    assert.equal((await rowOf(id)).status, attempt ? 'running' : 'queued');
    assert.equal((await rowOf(id)).run_id, 'run-1');
  });
}

test('what is due later is admitted without a claim', async () => {
  const job = await seedJob(pool, { offsetS: 30 });
  const row = await slot(job, now());
  assert.equal(row?.decision, 'run');
  assert.ok(row?.decision === 'run' && row.attempt === null);
});

test('a pause after the admission stops the claim of a slot, not that of a trigger', async () => {
  const job = await seedJob(pool, { overlap: 'allow_all' });
  const nominal = now();
  const asked = { team: 'default', clock: job.clock, nominal, timingHash: job.hash, successor: null, workflowId: null, bufferLimit: 10 };
  await admitSlot(pool, { ...asked, runId: null });
  const byHand = await trigger(job);
  await pool.query('UPDATE job_runtime SET paused_at = now() WHERE job_id = $1', [job.id]);
  const ofSlot = slotExecutionId(job.id, nominal);
  assert.equal((await begin(byHand))?.attempt, 1);
  assert.equal((await begin(ofSlot))?.attempt, null);
  assert.equal((await claimExecution(pool, { ...keyOf(ofSlot), runId: 'run-1', tryNumber: 1 })).verdict, 'paused');
});

test('a row that was cancelled, that waits, or that belongs to another workflow is not claimed', async () => {
  const cancelled = await trigger(await seedJob(pool));
  await cancelExecution(pool, { ...keyOf(cancelled), by: 'test' });
  assert.equal((await begin(cancelled))?.decision, 'ended');

  const job = await seedJob(pool, { overlap: 'buffer_all' });
  await trigger(job);
  const waiting = await trigger(job);
  assert.equal((await begin(waiting))?.decision, 'wait');

  const other = await trigger(await seedJob(pool));
  const row = await beginQueued(pool, { ...keyOf(other), workflowId: 'another', runId: 'run-1', bufferLimit: 10, shortMs: SHORT_MS });
  assert.equal(row?.decision, 'duplicate');
  assert.equal((await rowOf(other)).attempt, 0);
});

test('a repeat after a crash takes a new claim, tells of the lost one, and fences its late outcome', async () => {
  const id = await trigger(await seedJob(pool));
  await begin(id);
  assert.equal((await begin(id, 'run-2'))?.attempt, 2);
  assert.deepEqual(await attemptsOf(id), [{ attempt: 1, status: 'lost' }]);
  await record(id, 1, 'failed');
  assert.equal((await rowOf(id)).status, 'running');
  await record(id, 2, 'failed');
  assert.equal((await rowOf(id)).status, 'failed');
  assert.equal((await begin(id, 'run-3'))?.decision, 'ended');
});

test('a call that was to be cancelled when its worker died is not made again', async () => {
  const id = await trigger(await seedJob(pool));
  await begin(id);
  assert.equal((await cancelExecution(pool, { ...keyOf(id), by: 'test' })).verdict, 'requested');
  assert.equal((await begin(id, 'run-2'))?.attempt, null);
  assert.equal((await claimExecution(pool, { ...keyOf(id), runId: 'run-2', tryNumber: 1 })).verdict, 'cancelled');
});

test('a one-off that comes due is asked for its overlap policy before it is claimed', async () => {
  const job = await seedJob(pool, { overlap: 'skip' });
  await begin(await trigger(job));
  const id = newExecutionId(job.id, 'once');
  await pool.query(
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch, workflow_id)
     VALUES ($1, $2, 'default', $3, 'once', 1, 'once', now(), now(), 'queued', 3, 3, 'default', 'dedicated', $2)`,
    [partitionAtOf(id), id, job.id],
  );
  assert.deepEqual([(await begin(id))?.decision, (await rowOf(id)).reason], ['skipped', 'skipped_overlap']);
});

test('the try that ends an execution is counted with the others', async () => {
  const id = await trigger(await seedJob(pool));
  await begin(id);
  await record(id, 1, 'succeeded');
  assert.equal((await pool.query('SELECT tries FROM job_executions WHERE id = $1', [id])).rows[0].tries, 1);
});

test('after a recorded failure nothing is claimed at once: the next try has a backoff to wait for', async () => {
  const id = await trigger(await seedJob(pool));
  await begin(id);
  await record(id, 1, 'failed', false);
  const row = await begin(id, 'run-2');
  assert.deepEqual([row?.decision, row?.attempt, row?.decision === 'run' && row.tries], ['run', null, 1]);
});

test('the newest definition is what runs, unless the execution is pinned to an older one', async () => {
  const job = await seedJob(pool);
  const [newest, pinned] = [await trigger(job), await trigger(await seedJob(pool), { pinned: 1 })];
  await pool.query('UPDATE job_runtime SET generation = 2 WHERE job_id = $1', [job.id]);
  await pool.query(
    `INSERT INTO job_revisions (job_id, generation, team, document, changed_by, created_at)
     SELECT job_id, 2, team, jsonb_set(document::jsonb, '{name}', '"second"'), changed_by, now() FROM job_revisions WHERE job_id = $1`,
    [job.id],
  );
  const row = await begin(newest);
  assert.ok(row && row.attempt !== null);
  assert.equal(row.document.name, 'second');
  assert.equal((await rowOf(newest)).generation, 2);
  // how long a pinned definition may take is not known to the statement: its claim comes apart
  assert.equal((await begin(pinned))?.attempt, null);
});

test('the answer to a trigger is the row as it is written', async () => {
  const links = { TEMPORAL_UI_URL: undefined, TEMPORAL_NAMESPACE: 'default' };
  const { all } = createExecutionRequests({
    pool,
    config: { ...links, BUFFER_LIMIT_TRIGGERS: 1 } as never,
    starter: { startSoon: () => {} } as never,
  });
  const caller = { team: 'default', name: 'test', requestId: 'request' } as never;
  const skipping = await seedJob(pool, { overlap: 'skip' });
  const buffering = await seedJob(pool, { overlap: 'buffer_all' });
  const seen: string[] = [];
  for (const job of [skipping, skipping, buffering, buffering, buffering]) {
    const asked = { kind: 'manual', input: { n: 1 }, hasInput: true, label: 'why', priority: 1 } as const;
    const [answer] = (await all(caller, job.id, [asked])) as [ExecutionView];
    assert.deepEqual(answer, executionView((await findExecution(pool, keyOf(answer.id)))!, links as never));
    seen.push(answer.reason ?? (answer.waiting ? 'waits' : answer.status));
  }
  assert.deepEqual(seen, ['queued', 'skipped_overlap', 'queued', 'waits', 'buffer_dropped']);
});
