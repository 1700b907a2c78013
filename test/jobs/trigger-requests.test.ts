/** Triggers that want something otherwise than their job, backfills in great number, and what twenty at once are told. */
import assert from 'node:assert/strict';
import { after as afterAll, before, test } from 'node:test';
import { v7 } from 'uuid';
import { readConfig } from '../../src/config.ts';
import type { Caller } from '../../src/jobs/caller.ts';
import { JobError } from '../../src/jobs/errors.ts';
import { findExecutions } from '../../src/jobs/execution-queries.ts';
import { createExecutionRequests } from '../../src/jobs/execution-requests.ts';
import type { Starter } from '../../src/jobs/execution-starts.ts';
import type { IdempotencyContext } from '../../src/jobs/idempotency.ts';
import { newExecutionId, partitionAtOf } from '../../src/jobs/ids.ts';
import { admitTriggers, type TriggerQuestion } from '../../src/jobs/trigger-store.ts';
import { countersOf, type SeededJob } from '../support/seed.ts';
import { refused } from './jobs-under-test.ts';
import { ago, openStopsRoom, type StopsRoom } from './stops-room.ts';

const caller: Caller = { holder: 'key', name: 'tester', team: 'default', role: 'admin', requestId: 'request' };
let room: StopsRoom;
before(async () => {
  room = await openStopsRoom();
});
afterAll(() => room.close());

/** Requests of a process that starts nothing. */
function requests() {
  const starter: Pick<Starter, 'start' | 'startSoon' | 'startPoolAgain' | 'behind'> = {
    start: async () => 'started',
    startSoon: () => {},
    startPoolAgain: () => {},
    behind: (work) => work,
  };
  const config = readConfig({ DATABASE_URL: 'postgres://unused/unused', TEMPORAL_ADDRESS: '127.0.0.1:1' });
  return createExecutionRequests({ pool: room.pool, config, starter: starter as Starter });
}

const keyed = (key: string): IdempotencyContext => ({
  team: 'default',
  holder: 'key',
  method: 'POST',
  path: '/trigger',
  key,
  bodyHash: Buffer.from('hash'),
  keepHours: 1,
  render: (view) => ({ status: 202, location: null, body: JSON.stringify(view) }),
});

async function poolable(job: SeededJob): Promise<SeededJob> {
  await room.pool.query(`UPDATE job_runtime SET poolable = true, dispatch_wish = 'pooled' WHERE job_id = $1`, [job.id]);
  return job;
}

function backfillOf(job: SeededJob, slot: Date): TriggerQuestion {
  const id = newExecutionId(job.id, 'backfill');
  return {
    team: 'default',
    job: job.id,
    id,
    partitionAt: partitionAtOf(id)!,
    kind: 'backfill',
    slot,
    input: null,
    hasInput: false,
    requestedBy: 'tester',
    retryOf: null,
    pinnedGeneration: null,
    timeoutMs: null,
    operationId: 'op_1',
    bufferLimit: 10,
    requestId: 'request',
  };
}
const admitAll = (questions: TriggerQuestion[]) => admitTriggers(room.pool, questions, { open: {}, fresh: v7(), audit: false });

test('20 triggers at once with different keys are 20 outcomes: one runs, the others are told which, and each has a row', async () => {
  const job = await poolable(await room.job('dedicated'));
  const ask = requests();
  const answers = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) => ask.one(caller, job.id, { kind: 'manual', input: n, hasInput: true }, keyed(`key ${n}`))),
  );
  const [ran] = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  const errors = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason] : []));
  assert.equal(errors.length, 19);
  const skipped = errors.map((error) => {
    assert.ok(error instanceof JobError, String(error));
    assert.deepEqual([error.kind, error.code, error.extra?.executionId], ['refused', 'overlap', ran!.id]);
    return error.extra?.skippedId;
  });
  const { rows } = await room.pool.query('SELECT id, status, reason FROM job_executions WHERE job_id = $1', [job.id]);
  assert.deepEqual(new Set(rows.map((row) => row.id)), new Set([ran!.id, ...skipped]));
  assert.equal(rows.filter((row) => row.reason === 'skipped_overlap').length, 19);
  const events = await room.pool.query('SELECT 1 FROM audit_events WHERE subject_id = $1', [job.id]);
  assert.equal(events.rowCount, 20);
  const keys = await room.pool.query(`SELECT key FROM idempotency_keys WHERE path = '/trigger'`);
  assert.equal(keys.rowCount, 1, 'a key keeps what was accepted: a refused request may be sent again');
});

test('whoever sends the key of one that runs again is told its answer, and leaves no row', async () => {
  const job = await room.job('dedicated');
  const ask = requests();
  await ask.one(caller, job.id, { kind: 'manual', input: null, hasInput: false }, keyed('again'));
  await assert.rejects(ask.one(caller, job.id, { kind: 'manual', input: null, hasInput: false }, keyed('again')), {
    name: 'IdempotencyKeyTaken',
  });
  const { rowCount } = await room.pool.query('SELECT 1 FROM job_executions WHERE job_id = $1', [job.id]);
  assert.equal(rowCount, 1);
});

test('priority, queue, timeout, label and operation of a trigger are those of its execution, in a pool of its queue too', async () => {
  for (const job of [
    await room.job('dedicated', { overlap: 'allow_all' }),
    await poolable(await room.job('dedicated', { overlap: 'allow_all' })),
  ]) {
    const wishes = { priority: 1, queue: 'slow', timeoutMs: 2_000, label: 'before the audit' };
    const view = await requests().one(caller, job.id, { kind: 'manual', input: null, hasInput: false, ...wishes });
    assert.deepEqual([view.priority, view.queue, view.label, view.operationId, view.freeze], [1, 'slow', 'before the audit', null, null]);
    if (view.dispatch === 'pooled') assert.match(view.workflowId!, /^group-slow-/);
    const { rows } = await room.pool.query('SELECT priority, queue, label, timeout_ms, dispatch FROM job_executions WHERE id = $1', [
      view.id,
    ]);
    assert.deepEqual(rows, [{ priority: 1, queue: 'slow', label: 'before the audit', timeout_ms: '2000', dispatch: view.dispatch }]);
  }
  const job = await poolable(await room.job('dedicated', { overlap: 'allow_all' }));
  const long = await requests().one(caller, job.id, { kind: 'manual', input: null, hasInput: false, timeoutMs: 10_001 });
  assert.equal(long.dispatch, 'dedicated', 'longer than ten seconds is no call for a pool');
  const plain = await requests().one(caller, job.id, { kind: 'manual', input: null, hasInput: false });
  assert.deepEqual([plain.priority, plain.queue, plain.label], [3, 'default', null]);
});

test('10,000 backfills in one statement: the first runs, the others wait, and go on in slot order; none is skipped', async () => {
  const job = await room.job('dedicated', { overlap: 'skip' });
  const first = ago(10_000_000);
  const questions = Array.from({ length: 10_000 }, (_, n) => backfillOf(job, new Date(first.getTime() + (10_000 - n) * 1_000)));
  const began = performance.now();
  const answers = await admitAll(questions);
  const tookMs = performance.now() - began;
  assert.ok(tookMs < 15_000, `${tookMs} ms`);
  assert.deepEqual([answers[0]!.verdict, new Set(answers.slice(1).map((answer) => answer.verdict))], ['run', new Set(['wait'])]);
  const { rows } = await room.pool.query(
    `SELECT count(*)::int AS count, min(operation_id) AS operation, count(DISTINCT slot)::int AS slots FROM job_executions WHERE job_id = $1 AND trigger = 'backfill'`,
    [job.id],
  );
  assert.deepEqual(rows, [{ count: 10_000, operation: 'op_1', slots: 10_000 }]);
  const listed = async (operationId: string) => (await findExecutions(room.pool, { team: 'default', operationId, limit: 3 })).rows;
  assert.deepEqual([(await listed('op_1')).length, (await listed('op_2')).length], [3, 0]);
  await room.begin(questions[0]!.id);
  await room.record('dedicated', questions[0]!.id, 1, 'succeeded');
  assert.equal((await room.rowOf(questions.at(-1)!.id))!.waiting, false, 'the earliest slot');
  assert.deepEqual(await countersOf(room.pool, job.id), { active: 1, waiting: 9_998, rowsActive: 1, rowsWaiting: 9_998 });
});

test('backfills of a job with allow_all run at once; those of a job with terminate_other wait, and make nobody go', async () => {
  const free = await room.job('dedicated', { overlap: 'allow_all' });
  assert.deepEqual(
    (await admitAll([1, 2, 3].map((n) => backfillOf(free, ago(n * 1_000))))).map((answer) => answer.verdict),
    ['run', 'run', 'run'],
  );
  const strict = await room.job('dedicated', { overlap: 'terminate_other' });
  const { id } = await room.trigger(strict);
  assert.deepEqual(
    (await admitAll([1, 2].map((n) => backfillOf(strict, ago(n * 1_000))))).map((answer) => answer.verdict),
    ['wait', 'wait'],
  );
  assert.equal((await room.rowOf(id))!.status, 'queued');
});

test('a frozen job refuses a trigger with 409 frozen, the reason and the freeze', async () => {
  const job = await room.job('dedicated');
  const freeze = await room.freeze(job, ago(0));
  for (const context of [undefined, keyed('frozen')]) {
    const error = await refused(
      requests().one(caller, job.id, { kind: 'manual', input: null, hasInput: false }, context),
      'refused',
      'frozen',
    );
    assert.deepEqual(error.extra, { freezeId: freeze, reason: 'stocktaking', until: null });
  }
});
