/** What serving a pool writes: the same decisions as for executions of their own, in sets. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cancelExecution } from '../../../src/jobs/execution-store.ts';
import { partitionAtOf } from '../../../src/jobs/ids.ts';
import {
  type BegunCall,
  beginPool,
  beginPoolSlot,
  planPoolRows,
  planPoolSlot,
  putBack,
  recordPool,
  refusePool,
} from '../../../src/jobs/pools/pool-store.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { countersOf, type SeededJob, seedJob } from '../../support/seed.ts';
import { type Seed, seedPooledJobs, seedPooledOnce, seedPooledTrigger } from './pooled-jobs.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

const EVERYTHING = { chunk: '1@test', from: '', to: 'zzzz', priority: 3, bufferLimit: 1_000 };
/** Clocks of different periods share nothing, however many tests run on this database. */
let everyS = 1_000;
const period = () => (everyS += 1);

/** The last slot of a period before now, at most 10 s ago. */
const recent = (): Date => new Date(Math.floor(Date.now() / 1_000) * 1_000);

async function slotOf(seeds: Seed[]) {
  const every = period();
  const { clock, jobs } = await seedPooledJobs(
    pool,
    seeds.map((seed) => ({ ...seed, everyS: every })),
  );
  const nominal = recent();
  const slot = `${nominal.toISOString().slice(0, 19)}Z`;
  const poolId = `${clock}-${slot}`;
  const begin = (runId = 'run-1') =>
    beginPoolSlot(pool, {
      team: 'default',
      clock,
      nominal,
      successor: null,
      pool: poolId,
      runId,
      plannedAt: new Date().toISOString(),
      ...EVERYTHING,
    });
  return { clock, jobs, nominal, slot, poolId, begin, idOf: (job: SeededJob) => `${job.id}-${slot}` };
}

const outcome = (call: BegunCall, status = 'succeeded', more: object = {}) => ({
  team: 'default',
  partitionAt: partitionAtOf(call.id)!.toISOString(),
  id: call.id,
  attempt: call.attempt,
  status,
  final: true,
  startedAt: new Date().toISOString(),
  finishedAt: new Date().toISOString(),
  worker: 'test',
  ...more,
});

const rowOf = async (id: string) =>
  (await pool.query('SELECT * FROM job_executions WHERE partition_at = $1 AND id = $2', [partitionAtOf(id), id])).rows[0];

/** Begins a range, and says of what was refused what becomes of it. */
async function beginAll(poolId: string): Promise<BegunCall[]> {
  const range = { team: 'default', pool: poolId, runId: 'run-1', ...EVERYTHING };
  const begun = await beginPool(pool, range);
  const rows = begun.filter((row) => row.decision === 'refused').map(({ id }) => ({ partitionAt: partitionAtOf(id)!, id }));
  return [...begun.filter((row) => row.decision !== 'refused'), ...(await refusePool(pool, { ...range, rows }))];
}

test('a slot is admitted and claimed for all its members in one statement', async () => {
  const { begin, jobs, idOf, poolId } = await slotOf([{}, {}, {}]);
  const calls = await begin();
  assert.deepEqual(
    calls.map((call) => [call.decision, call.id, call.attempt, call.tries]),
    jobs.map((job) => ['run', idOf(job), 1, 0]),
  );
  const row = await rowOf(idOf(jobs[0]!));
  assert.deepEqual(
    [row.status, row.dispatch, row.workflow_id, row.run_id, row.counted, row.attempt],
    ['running', 'pooled', poolId, 'run-1', true, 1],
  );
  for (const job of jobs) assert.deepEqual(await countersOf(pool, job.id), { active: 1, waiting: 0, rowsActive: 1, rowsWaiting: 0 });
});

test('what is served again after a crash takes new claims and tells of the lost ones', async () => {
  const { begin, jobs, idOf } = await slotOf([{}, {}]);
  await begin();
  const again = await begin();
  assert.deepEqual(
    again.map((call) => call.attempt),
    [2, 2],
  );
  const { rows } = await pool.query('SELECT attempt, status FROM job_attempts WHERE execution_id = $1', [idOf(jobs[0]!)]);
  assert.deepEqual(rows, [{ attempt: 1, status: 'lost' }]);
  assert.deepEqual(await countersOf(pool, jobs[0]!.id), { active: 1, waiting: 0, rowsActive: 1, rowsWaiting: 0 });
});

test('outcomes end their rows, and what was recorded is not called again', async () => {
  const { begin, jobs, idOf, poolId } = await slotOf([{}, {}]);
  const [first] = await begin();
  const [recorded] = await recordPool(pool, [outcome(first!, 'succeeded', { result: { ok: true } })]);
  assert.deepEqual([recorded!.id, (recorded as { applied: boolean }).applied], [first!.id, true]);
  const row = await rowOf(first!.id);
  assert.deepEqual([row.status, row.tries, row.counted, row.result], ['succeeded', 1, false, { ok: true }]);
  assert.deepEqual(await countersOf(pool, jobs[0]!.id), { active: 0, waiting: 0, rowsActive: 0, rowsWaiting: 0 });
  assert.deepEqual(
    (await begin()).map((call) => call.id),
    [idOf(jobs[1]!)],
  );
  const [range] = await planPoolRows(pool, { team: 'default', pool: poolId, size: 10, leadMs: 1_000 });
  assert.deepEqual([range!.from_id, range!.to_id, range!.members, range!.ahead], [idOf(jobs[1]!), idOf(jobs[1]!), 1, false]);
});

test('a member that is paused, busy or gone late is skipped with the reason; one that may wait leaves the pool', async () => {
  const { begin, jobs, idOf } = await slotOf([{}, {}, { overlap: 'buffer_one' }, {}]);
  const [paused, busy, buffered, free] = jobs as [SeededJob, SeededJob, SeededJob, SeededJob];
  await pool.query(`UPDATE job_runtime SET overlap = 'skip' WHERE job_id = ANY ($1)`, [[paused.id, busy.id, free.id]]);
  await pool.query(`UPDATE job_runtime SET overlap = 'buffer_one' WHERE job_id = $1`, [buffered.id]);
  await pool.query('UPDATE job_runtime SET paused_at = now() WHERE job_id = $1', [paused.id]);
  await seedPooledTrigger(pool, busy, 'group-other');
  await seedPooledTrigger(pool, buffered, 'group-other');
  assert.deepEqual(
    (await begin()).map((call) => call.id),
    [idOf(free)],
  );
  const seen = await Promise.all([paused, busy, buffered].map(async (job) => rowOf(idOf(job))));
  assert.deepEqual(
    seen.map((row) => [row.status, row.reason, row.waiting, row.dispatch]),
    [
      ['skipped', 'paused', false, 'pooled'],
      ['skipped', 'skipped_overlap', false, 'pooled'],
      ['queued', null, true, 'dedicated'],
    ],
  );
  assert.equal(seen[2].workflow_id, idOf(buffered));
});

test('a slot with an offset is admitted at once and claimed when it is due', async () => {
  const { begin, jobs, idOf, poolId } = await slotOf([{ offsetS: 60 }]);
  assert.deepEqual(await begin(), []);
  assert.equal((await rowOf(idOf(jobs[0]!))).status, 'queued');
  const [ahead] = await planPoolRows(pool, { team: 'default', pool: poolId, size: 10, leadMs: 1_500 });
  assert.equal(ahead!.ahead, true);
  const range = { team: 'default', pool: poolId, runId: 'run-1', ...EVERYTHING };
  assert.deepEqual(await beginPool(pool, range), []);
  await pool.query(`UPDATE job_executions SET due_at = now() WHERE workflow_id = $1`, [poolId]);
  assert.deepEqual(
    (await beginPool(pool, range)).map((call) => [call.id, call.attempt]),
    [[idOf(jobs[0]!), 1]],
  );
});

test('ranges are cut by priority and size, and hold every member once', async () => {
  const { clock, nominal, jobs } = await slotOf(Array.from({ length: 7 }, () => ({})));
  await pool.query('UPDATE job_runtime SET priority = 1 WHERE job_id = ANY ($1)', [[jobs[6]!.id, jobs[2]!.id]]);
  const ranges = await planPoolSlot(pool, { team: 'default', clock, nominal, size: 2 });
  assert.deepEqual(
    ranges.map((range) => [range.priority, range.from_id, range.to_id, range.members]),
    [
      [1, jobs[2]!.id, jobs[6]!.id, 2],
      [3, jobs[0]!.id, jobs[1]!.id, 2],
      [3, jobs[3]!.id, jobs[4]!.id, 2],
      [3, jobs[5]!.id, jobs[5]!.id, 1],
    ],
  );
});

test('a failed try with others to follow leaves its pool with the pause it was told', async () => {
  const { begin, jobs } = await slotOf([{}, {}]);
  const [one, other] = await begin();
  const records = await recordPool(pool, [
    outcome(one!, 'failed', { final: false, retryInMs: 60_000, error: { type: 'http_status', message: 'answered 503', attempt: 1 } }),
    outcome(other!),
  ]);
  const promoted = records.find((record) => record.id === one!.id)!;
  assert.deepEqual([promoted.released?.workflowId, promoted.released?.dispatch], [one!.id, 'dedicated']);
  const row = await rowOf(one!.id);
  assert.deepEqual([row.status, row.tries, row.dispatch, row.workflow_id, row.run_id], ['running', 1, 'dedicated', one!.id, null]);
  assert.ok(row.retry_at.getTime() > Date.now() + 50_000);
  assert.deepEqual(await countersOf(pool, jobs[0]!.id), { active: 1, waiting: 0, rowsActive: 1, rowsWaiting: 0 });
  assert.equal((await rowOf(other!.id)).status, 'succeeded');
});

test('an outcome of an older claim is dropped unless it is a success', async () => {
  const { begin } = await slotOf([{}, {}]);
  const [a, b] = await begin();
  await begin();
  await recordPool(pool, [outcome(a!, 'failed'), outcome(b!, 'succeeded')]);
  assert.deepEqual([(await rowOf(a!.id)).status, (await rowOf(b!.id)).status], ['running', 'succeeded']);
});

test('failures of several executions of one job are counted in the order in which they ended', async () => {
  const job = await seedJob(pool, { overlap: 'allow_all' });
  const ids = [];
  for (let index = 0; index < 4; index += 1) ids.push(await seedPooledTrigger(pool, job, 'group-count'));
  const calls = await beginPool(pool, { team: 'default', pool: 'group-count', runId: 'run-1', ...EVERYTHING });
  const byId = new Map(calls.map((call) => [call.id, call]));
  const statuses = ['failed', 'succeeded', 'failed', 'timed_out'];
  await recordPool(
    pool,
    ids.map((id, index) => outcome(byId.get(id)!, statuses[index])),
  );
  const { rows } = await pool.query('SELECT consecutive_failures, last_outcome, active FROM job_runtime WHERE job_id = $1', [job.id]);
  assert.deepEqual(rows[0], { consecutive_failures: 2, last_outcome: 'timed_out', active: 0 });
});

test('the failure that fills pauseAfterFailures pauses the job', async () => {
  const { begin, jobs } = await slotOf([{ pauseAfterFailures: 1 }]);
  await recordPool(
    pool,
    (await begin()).map((call) => outcome(call, 'failed')),
  );
  const { rows } = await pool.query('SELECT paused_at IS NOT NULL AS paused FROM job_runtime WHERE job_id = $1', [jobs[0]!.id]);
  assert.equal(rows[0].paused, true);
});

test('the end of a pooled execution releases the one that waits for it', async () => {
  const { begin, jobs, idOf } = await slotOf([{ overlap: 'buffer_one' }]);
  await seedPooledTrigger(pool, jobs[0]!, 'group-before');
  await begin();
  const [before] = await beginPool(pool, { team: 'default', pool: 'group-before', runId: 'run-b', ...EVERYTHING });
  const records = await recordPool(pool, [outcome(before!)]);
  assert.deepEqual(
    records.flatMap((record) => record.released?.id ?? []),
    [idOf(jobs[0]!)],
  );
  assert.deepEqual(await countersOf(pool, jobs[0]!.id), { active: 1, waiting: 0, rowsActive: 1, rowsWaiting: 0 });
});

test('a claim that is put back counts for nothing', async () => {
  const { begin, poolId } = await slotOf([{}]);
  const [call] = await begin();
  await putBack(pool, 'default', EVERYTHING.chunk, [{ partitionAt: partitionAtOf(call!.id)!, id: call!.id, attempt: 1 }]);
  const row = await rowOf(call!.id);
  assert.deepEqual([row.status, row.attempt, row.started_at], ['queued', 0, null]);
  const range = { team: 'default', pool: poolId, runId: 'run-1', ...EVERYTHING };
  assert.deepEqual(
    (await beginPool(pool, { ...range, ids: [call!.id] })).map((again) => again.attempt),
    [1],
  );
  assert.deepEqual(await beginPool(pool, { ...range, ids: [call!.id] }), [], 'what runs is not claimed by its id');
});

test('what was cancelled before its call ends as cancelled', async () => {
  const job = await seedJob(pool, { overlap: 'allow_all' });
  const id = await seedPooledTrigger(pool, job, 'group-cancel');
  await pool.query('UPDATE job_executions SET cancel_requested_at = now() WHERE partition_at = $1 AND id = $2', [partitionAtOf(id), id]);
  const calls = await beginAll('group-cancel');
  assert.deepEqual(
    calls.map((call) => call.decision),
    ['stopped'],
  );
  assert.equal((await rowOf(id)).status, 'cancelled');
  const other = await seedPooledTrigger(pool, job, 'group-cancel');
  assert.equal(
    (await cancelExecution(pool, { team: 'default', partitionAt: partitionAtOf(other)!, id: other, by: 'test' })).verdict,
    'cancelled',
  );
});

test('one-offs of a bucket are admitted when they are due, each by its policy', async () => {
  const [free, busy, later] = [await seedJob(pool), await seedJob(pool), await seedJob(pool)];
  const due = new Date(Date.now() - 10);
  const ids = [
    await seedPooledOnce(pool, free, 'once-test', due),
    await seedPooledOnce(pool, busy, 'once-test', due),
    await seedPooledOnce(pool, later, 'once-test', new Date(Date.now() + 60_000)),
  ];
  await seedPooledTrigger(pool, busy, 'group-busy');
  const calls = await beginAll('once-test');
  assert.deepEqual(
    calls.filter((call) => call.decision === 'run').map((call) => call.id),
    [ids[0]],
  );
  const seen = await Promise.all(ids.map(rowOf));
  assert.deepEqual(
    seen.map((row) => [row.status, row.reason]),
    [
      ['running', null],
      ['skipped', 'skipped_overlap'],
      ['queued', null],
    ],
  );
  assert.deepEqual(await countersOf(pool, free.id), { active: 1, waiting: 0, rowsActive: 1, rowsWaiting: 0 });
  await recordPool(pool, [outcome(calls[0]!)]);
  assert.equal((await pool.query('SELECT state FROM jobs WHERE id = $1', [free.id])).rows[0].state, 'finished');
});

test('an execution began when its call did, not when it was claimed', async () => {
  const { begin } = await slotOf([{}]);
  const [call] = await begin();
  const startedAt = new Date(call!.started_at.getTime() + 20);
  while (Date.now() <= startedAt.getTime()) await new Promise((resolve) => setTimeout(resolve, 5));
  const [record] = await recordPool(pool, [outcome(call!, 'succeeded', { startedAt: startedAt.toISOString() })]);
  assert.equal((record as { started_at: Date }).started_at.getTime(), startedAt.getTime());
});
