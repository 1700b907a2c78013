/** Admit, claim and record as statements: each rule of the promise, at both of its edges. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { beginQueued } from '../../src/jobs/beginning-store.ts';
import { admitSlot, cancelExecution, claimExecution, closeExecution, recordOutcomes } from '../../src/jobs/execution-store.ts';
import { newExecutionId, partitionAtOf, slotExecutionId } from '../../src/jobs/ids.ts';
import { admitTrigger } from '../../src/jobs/trigger-store.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { countersOf, type SeededJob, seedJob } from '../support/seed.ts';
import { createTestDatabase } from '../support/stack.ts';

let pool: Pool;
let drop: () => Promise<void>;

before(async () => {
  const database = await createTestDatabase();
  drop = database.drop;
  pool = createPool(
    { DATABASE_URL: database.url, DATABASE_POOL: 20, DATABASE_CONNECT_TIMEOUT_MS: 10_000 },
    createLog('test', 'silent'),
    'test',
  );
});
after(async () => {
  await pool.end();
  await drop();
});

const MINUTE = 60_000;
/** The newest whole minute, at least one second and at most a minute ago; on time only when `agoMs` is small. */
const slotAgo = (agoMs: number): Date => new Date(Math.floor((Date.now() - agoMs) / 1000) * 1000);

const slot = (
  job: SeededJob,
  nominal: Date,
  { successor = new Date(nominal.getTime() + MINUTE), runId = 'run-1' as string | null, limit = 1_000 } = {},
) =>
  admitSlot(pool, {
    team: job.team,
    clock: job.clock,
    nominal,
    timingHash: job.hash,
    successor,
    workflowId: null,
    runId,
    bufferLimit: limit,
  }).then((rows) => {
    const row = rows[0];
    return row?.decision === 'stale' ? { decision: 'stale', id: '', reason: null } : (row ?? { decision: 'none', id: '', reason: null });
  });

async function trigger(job: SeededJob, limit = 10_000): Promise<{ id: string; verdict: string }> {
  const id = newExecutionId(job.id, 'manual');
  const { verdict } = await admitTrigger(pool, {
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
    bufferLimit: limit,
    requestId: 'request',
  });
  return { id, verdict };
}
const keyOf = (id: string) => ({ team: 'default', partitionAt: partitionAtOf(id)!, id });
const begin = (id: string, runId = 'run-1') => beginQueued(pool, { ...keyOf(id), workflowId: id, runId, bufferLimit: 10, shortMs: 0 });
const claim = (id: string, tryNumber = 1, runId = 'run-1') => claimExecution(pool, { ...keyOf(id), runId, tryNumber });
const record = async (id: string, attempt: number, status: string, final = true) =>
  (
    await recordOutcomes(pool, [
      {
        team: 'default',
        partitionAt: partitionAtOf(id)!.toISOString(),
        id,
        attempt,
        status,
        final,
        startedAt: new Date().toISOString(),
        finishedAt: new Date().toISOString(),
        error: status === 'succeeded' ? null : { type: 'network', message: 'refused', attempt },
      },
    ])
  )[0]!;
const statusOf = async (id: string): Promise<{ status: string; reason: string | null; waiting: boolean }> =>
  (await pool.query('SELECT status, reason, waiting FROM job_executions WHERE id = $1', [id])).rows[0];

async function countersAgree(job: SeededJob): Promise<void> {
  const counters = await countersOf(pool, job.id);
  assert.deepEqual({ active: counters.active, waiting: counters.waiting }, { active: counters.rowsActive, waiting: counters.rowsWaiting });
}

test('two admits of one slot by two owners give one run and one duplicate', async () => {
  const job = await seedJob(pool);
  const nominal = slotAgo(0);
  const ask = (workflowId: string) =>
    admitSlot(pool, {
      team: 'default',
      clock: job.clock,
      nominal,
      timingHash: job.hash,
      successor: null,
      workflowId,
      runId: 'r',
      bufferLimit: 10,
    });
  const [one, two] = await Promise.all([ask('one'), ask('two')]);
  assert.deepEqual([one[0]!.decision, two[0]!.decision].sort(), ['duplicate', 'run']);
});

test('1,000 raced pairs of admits of one job never double and never deadlock', async () => {
  const job = await seedJob(pool, { overlap: 'skip' });
  let runs = 0;
  for (let round = 0; round < 1_000; round++) {
    const asked = await Promise.all([trigger(job), trigger(job)]);
    const running = asked.filter((answer) => answer.verdict === 'run');
    assert.equal(running.length, 1, `round ${round}: ${asked.map((answer) => answer.verdict)}`);
    runs += running.length;
    const { id } = running[0]!;
    await begin(id);
    const claimed = await claim(id);
    await record(id, claimed.attempt, 'succeeded');
  }
  assert.equal(runs, 1_000);
  await countersAgree(job);
});

test('admitting the same slot again by the same workflow is still ours, with the new run id', async () => {
  const job = await seedJob(pool);
  const nominal = slotAgo(0);
  assert.equal((await slot(job, nominal)).decision, 'run');
  assert.equal((await slot(job, nominal, { runId: 'run-2' })).decision, 'run');
  const id = slotExecutionId(job.id, nominal);
  assert.equal((await claim(id, 1, 'run-1')).verdict, 'fenced');
  const claimed = await claim(id, 1, 'run-2');
  assert.equal(claimed.verdict, 'run');
  await record(id, claimed.attempt, 'succeeded');
  assert.equal((await slot(job, nominal, { runId: 'run-3' })).decision, 'ended');
  await countersAgree(job);
});

test('a slot before its job joined the clock, or after it left, belongs to nobody', async () => {
  const from = slotAgo(10_000);
  const to = slotAgo(5_000);
  const job = await seedJob(pool, { validFrom: from, validTo: to });
  assert.equal((await slot(job, new Date(from.getTime() - 1_000))).decision, 'none');
  assert.equal((await slot(job, from)).decision, 'run');
  assert.equal((await slot(job, to)).decision, 'none');
});

test('another timing at the nominal time answers stale with the timing that counts', async () => {
  const job = await seedJob(pool);
  const rows = await admitSlot(pool, {
    team: 'default',
    clock: job.clock,
    nominal: slotAgo(0),
    timingHash: 'another',
    successor: null,
    workflowId: null,
    runId: 'r',
    bufferLimit: 10,
  });
  assert.equal(rows[0]!.decision, 'stale');
});

test('catch-up none misses a slot 16 s late and runs one 14 s late', async () => {
  const job = await seedJob(pool, { catchUp: 'none', overlap: 'allow_all' });
  assert.deepEqual(pick(await slot(job, slotAgo(17_000))), { decision: 'skipped', reason: 'missed' });
  assert.deepEqual(pick(await slot(job, slotAgo(13_000))), { decision: 'run', reason: null });
});

test('catch-up last runs the newest late slot and misses those whose successor is due', async () => {
  const job = await seedJob(pool, { catchUp: 'last' });
  const older = slotAgo(90_000);
  const newest = slotAgo(30_000);
  assert.deepEqual(pick(await slot(job, older, { successor: newest })), { decision: 'skipped', reason: 'missed' });
  assert.deepEqual(pick(await slot(job, newest, { successor: new Date(Date.now() + MINUTE) })), { decision: 'run', reason: null });
});

test('catch-up last and all miss what is older than the window', async () => {
  for (const catchUp of ['last', 'all']) {
    const job = await seedJob(pool, { catchUp, windowMs: 60_000 });
    const future = new Date(Date.now() + MINUTE);
    const asked = { successor: future, runId: null };
    assert.deepEqual(pick(await slot(job, slotAgo(62_000), asked)), { decision: 'skipped', reason: 'missed' }, catchUp);
    assert.deepEqual(pick(await slot(job, slotAgo(50_000), asked)), { decision: 'run', reason: null }, catchUp);
  }
});

test('catch-up all runs late slots one after another in slot order, whatever overlap says', async () => {
  const job = await seedJob(pool, { catchUp: 'all', overlap: 'skip' });
  const slots = [120_000, 60_000, 90_000].map(slotAgo);
  // Workflows come in any order, so they get nothing; the controller, which runs none itself, admits in slot order.
  for (const late of slots) assert.equal((await slot(job, late)).decision, 'paused');
  assert.deepEqual(pick(await slot(job, slots[0]!, { runId: null })), { decision: 'run', reason: null });
  for (const late of [slots[1]!, slots[2]!]) assert.equal((await slot(job, late, { runId: null })).decision, 'wait');
  assert.equal((await slot(job, slots[0]!)).decision, 'run', 'what has a row is its workflow’s');
  const first = slotExecutionId(job.id, slots[0]!);
  const recorded = await record(first, (await claim(first)).attempt, 'succeeded');
  assert.equal(recorded.released?.id, slotExecutionId(job.id, slots[2]!), 'the older of the two that wait');
  await countersAgree(job);
});

test('skip, buffer_one and buffer_all decide a second and a third newcomer as they say', async () => {
  const expected = {
    skip: ['run', 'skipped_overlap', 'skipped_overlap'],
    buffer_one: ['run', 'wait', 'skipped_overlap'],
    buffer_all: ['run', 'wait', 'wait'],
    allow_all: ['run', 'run', 'run'],
  };
  for (const [overlap, verdicts] of Object.entries(expected)) {
    const job = await seedJob(pool, { overlap });
    const got = [];
    for (let n = 0; n < 3; n++) got.push((await trigger(job)).verdict);
    assert.deepEqual(got, verdicts, overlap);
    await countersAgree(job);
  }
});

test('buffer_all drops what passes its bound', async () => {
  const job = await seedJob(pool, { overlap: 'buffer_all' });
  const got = [];
  for (let n = 0; n < 4; n++) got.push((await trigger(job, 2)).verdict);
  assert.deepEqual(got, ['run', 'wait', 'wait', 'buffer_dropped']);
});

test('cancel_other asks the call in flight to stop, and the newcomer waits for it', async () => {
  const job = await seedJob(pool, { overlap: 'cancel_other' });
  const old = await trigger(job);
  await begin(old.id);
  const claimed = await claim(old.id);
  const newcomer = await trigger(job);
  assert.equal(newcomer.verdict, 'wait');
  const recorded = await record(old.id, claimed.attempt, 'cancelled');
  assert.equal(recorded.status, 'cancelled');
  assert.equal(recorded.released?.id, newcomer.id);
  await countersAgree(job);
});

test('terminate_other fences the old call off and lets the newcomer run at once', async () => {
  const job = await seedJob(pool, { overlap: 'terminate_other' });
  const old = await trigger(job);
  await begin(old.id);
  const claimed = await claim(old.id);
  assert.equal((await trigger(job)).verdict, 'run');
  assert.equal((await record(old.id, claimed.attempt, 'succeeded')).applied, false);
  assert.equal((await statusOf(old.id)).status, 'terminated');
  await countersAgree(job);
});

test('a zombie’s late failure is dropped; its late success is taken while the row is unfinished', async () => {
  const job = await seedJob(pool, { overlap: 'allow_all' });
  for (const [late, applied] of [
    ['failed', false],
    ['succeeded', true],
  ] as const) {
    const { id } = await trigger(job);
    await begin(id);
    const zombie = await claim(id);
    await begin(id, 'run-2');
    const current = await claim(id, 1, 'run-2');
    assert.equal(current.attempt, zombie.attempt + 1);
    assert.equal((await record(id, zombie.attempt, late)).applied, applied, late);
  }
  await countersAgree(job);
});

test('a try whose outcome is recorded is never called again', async () => {
  const job = await seedJob(pool);
  const { id } = await trigger(job);
  await begin(id);
  const first = await claim(id, 1);
  assert.equal((await record(id, first.attempt, 'failed', false)).status, 'running');
  assert.equal((await claim(id, 1)).verdict, 'recorded');
  assert.equal((await claim(id, 2)).verdict, 'run');
});

test('a pause between admit and claim stops a slot, not a trigger', async () => {
  const job = await seedJob(pool, { overlap: 'allow_all' });
  const nominal = slotAgo(0);
  await slot(job, nominal);
  const { id } = await trigger(job);
  await begin(id);
  await pool.query('UPDATE job_runtime SET paused_at = now() WHERE job_id = $1', [job.id]);
  assert.equal((await claim(slotExecutionId(job.id, nominal))).verdict, 'paused');
  assert.deepEqual(await statusOf(slotExecutionId(job.id, nominal)), { status: 'skipped', reason: 'paused', waiting: false });
  assert.equal((await claim(id)).verdict, 'run');
});

test('a slot inside a paused stretch makes no row; one before it, admitted while paused, is skipped with the reason', async () => {
  const job = await seedJob(pool, { overlap: 'allow_all' });
  const pausedAt = slotAgo(5_000);
  await pool.query('UPDATE job_runtime SET paused_at = $2 WHERE job_id = $1', [job.id, pausedAt]);
  await pool.query(`INSERT INTO slot_ranges (team, job_id, reason, from_at) VALUES ('default', $1, 'paused', $2)`, [job.id, pausedAt]);
  assert.equal((await slot(job, slotAgo(2_000))).decision, 'paused');
  assert.equal((await pool.query('SELECT 1 FROM job_executions WHERE job_id = $1', [job.id])).rowCount, 0);
  assert.deepEqual(pick(await slot(job, slotAgo(8_000))), { decision: 'skipped', reason: 'paused' });
});

test('cancelling ends a waiting or sleeping execution at once, and asks one in flight', async () => {
  const job = await seedJob(pool, { overlap: 'buffer_all' });
  const running = await trigger(job);
  const waiting = await trigger(job);
  await begin(running.id);
  const claimed = await claim(running.id);
  assert.equal((await cancelExecution(pool, { ...keyOf(waiting.id), by: 'me' })).verdict, 'cancelled');
  assert.equal((await cancelExecution(pool, { ...keyOf(running.id), by: 'me' })).verdict, 'requested');
  assert.equal((await record(running.id, claimed.attempt, 'failed', false)).status, 'cancelled');
  assert.equal((await cancelExecution(pool, { ...keyOf(running.id), by: 'me' })).verdict, 'finished');
  await countersAgree(job);
});

test('closing a row releases the next in order', async () => {
  const job = await seedJob(pool, { overlap: 'buffer_all' });
  const [first, second] = [await trigger(job), await trigger(job), await trigger(job)];
  const closed = await closeExecution(pool, { ...keyOf(first!.id), status: 'terminated', reason: null, error: null, by: 'me' });
  assert.equal(closed?.released?.id, second!.id);
  await countersAgree(job);
});

test('the failure that fills pauseAfterFailures pauses the job, its clock and its slots', async () => {
  const job = await seedJob(pool, { pauseAfterFailures: 2 });
  for (let n = 0; n < 2; n++) {
    const { id } = await trigger(job);
    await begin(id);
    await record(id, (await claim(id)).attempt, 'failed');
    const { rows } = await pool.query('SELECT j.state, c.paused, c.generation FROM jobs j JOIN clocks c ON c.id = j.id WHERE j.id = $1', [
      job.id,
    ]);
    assert.deepEqual(
      rows[0],
      n === 0 ? { state: 'active', paused: false, generation: '1' } : { state: 'paused', paused: true, generation: '2' },
    );
  }
});

const pick = ({ decision, reason }: { decision: string; reason: string | null }) => ({ decision, reason });
