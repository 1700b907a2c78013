/** What a freeze holds back that was accepted before it: claims, retries, lost calls, one-offs; and how it goes on when the freeze is over. */
import assert from 'node:assert/strict';
import { after as afterAll, before, test } from 'node:test';
import { jobsWaitingForNothing, releaseNext } from '../../src/controller/execution-watch-store.ts';
import { cancelExecution } from '../../src/jobs/execution-store.ts';
import { newExecutionId, partitionAtOf } from '../../src/jobs/ids.ts';
import { countersOf, type SeededJob } from '../support/seed.ts';
import { seedPooledOnce, seedPooledTrigger } from './pools/pooled-jobs.ts';
import { ago, openStopsRoom, type StopsRoom } from './stops-room.ts';

let room: StopsRoom;
before(async () => {
  room = await openStopsRoom();
});
afterAll(() => room.close());

async function agree(job: SeededJob): Promise<{ active: number; waiting: number }> {
  const { active, waiting, rowsActive, rowsWaiting } = await countersOf(room.pool, job.id);
  assert.deepEqual([active, waiting], [rowsActive, rowsWaiting]);
  return { active, waiting };
}
const waitsForNothing = async (job: SeededJob) => (await jobsWaitingForNothing(room.pool, 10_000)).some((one) => one.job_id === job.id);
/** What the controller's loop does with a job that waits for nothing. */
const release = (job: SeededJob) => releaseNext(room.pool, { team: job.team, job_id: job.id });
const held = async (id: string, freeze: string) => {
  const { status: _status, attempt: _attempt, ...row } = (await room.rowOf(id))!;
  assert.deepEqual(row, { reason: 'frozen', waiting: true, freeze_id: freeze, dispatch: 'dedicated', workflow_id: id, run_id: null });
};

test('an execution of its own that was accepted before a freeze waits for its end, and begins then under its own id', async () => {
  const job = await room.job('dedicated');
  const { id } = await room.trigger(job);
  const freeze = await room.freeze(job, ago(0));
  assert.equal((await room.begin(id))!.attempt, null, 'admitted, but not claimed');
  assert.equal((await room.claim(id)).verdict, 'frozen');
  await held(id, freeze);
  assert.deepEqual(await agree(job), { active: 0, waiting: 1 });
  assert.equal(await waitsForNothing(job), false);
  assert.equal(await release(job), null, 'nothing goes on while it is in force');
  assert.equal((await room.claim(id)).verdict, 'fenced');
  await room.endFreeze(freeze);
  assert.equal(await waitsForNothing(job), true);
  assert.equal((await release(job))!.workflowId, id);
  assert.deepEqual((await room.rowOf(id))!.reason, null);
  assert.equal((await room.begin(id, 'run-2'))!.attempt, 1);
  await room.record('dedicated', id, 1, 'succeeded');
  assert.deepEqual(await agree(job), { active: 0, waiting: 0 });
});

test('rows of a pool that were planned before a freeze are not called: they leave the pool and wait', async () => {
  const job = await room.job('pooled', { overlap: 'allow_all' });
  const ids = [await seedPooledTrigger(room.pool, job, 'group-held'), await seedPooledTrigger(room.pool, job, 'group-held')];
  const freeze = await room.freeze(null, ago(0), null, 'team');
  assert.deepEqual(await room.serve('group-held'), []);
  for (const id of ids) await held(id, freeze);
  assert.deepEqual(await agree(job), { active: 0, waiting: 2 });
  const { rows } = await room.pool.query(`SELECT 1 FROM plan_pool('default', 'group-held', 250, interval '1 minute')`);
  assert.equal(rows.length, 0, 'its workflow ends');
  await room.endFreeze(freeze);
  await release(job);
  assert.deepEqual(await agree(job), { active: 2, waiting: 0 }, 'with allow_all they go on together');
});

test('of a job that runs one at a time they go on one after another', async () => {
  const job = await room.job('dedicated', { overlap: 'buffer_all' });
  const [first, second] = [await room.trigger(job), await room.trigger(job)];
  await room.begin(first.id);
  const freeze = await room.freeze(job, ago(0));
  await room.record('dedicated', first.id, 1, 'succeeded');
  assert.equal((await room.rowOf(second.id))!.waiting, true, 'what waited behind another is not let go in a freeze');
  await room.endFreeze(freeze);
  assert.equal((await release(job))!.id, second.id);
  assert.deepEqual(await agree(job), { active: 1, waiting: 0 });
});

test('a retry waits for the end of a freeze, and keeps its count', async () => {
  const job = await room.job('dedicated');
  const { id } = await room.trigger(job);
  await room.begin(id);
  await room.record('dedicated', id, 1, 'failed', { final: false });
  const freeze = await room.freeze(job, ago(0));
  assert.equal((await room.claim(id, 2)).verdict, 'frozen');
  await held(id, freeze);
  await room.endFreeze(freeze);
  await release(job);
  assert.equal((await room.begin(id, 'run-2'))!.tries, 1);
  const again = await room.claim(id, 2, 'run-2');
  assert.deepEqual([again.verdict, again.attempt], ['run', 2]);
  await room.record('dedicated', id, 2, 'succeeded');
  const { rows } = await room.pool.query('SELECT attempt, status FROM job_attempts WHERE execution_id = $1 ORDER BY attempt', [id]);
  assert.deepEqual(rows, [
    { attempt: 1, status: 'failed' },
    { attempt: 2, status: 'succeeded' },
  ]);
});

test('a pooled call whose worker died is not repeated in a freeze; its attempt is told as lost, and it can be cancelled meanwhile', async () => {
  const [job, other] = [await room.job('pooled'), await room.job('pooled')];
  const [id, cancelled] = [await seedPooledTrigger(room.pool, job, 'group-lost'), await seedPooledTrigger(room.pool, other, 'group-lost')];
  assert.equal((await room.serve('group-lost')).length, 2);
  const freeze = await room.freeze(null, ago(0), null, 'team');
  assert.deepEqual(await room.serve('group-lost', 'run-2'), []);
  await held(id, freeze);
  const { rows } = await room.pool.query('SELECT attempt, status FROM job_attempts WHERE execution_id = $1', [id]);
  assert.deepEqual(rows, [{ attempt: 1, status: 'lost' }]);
  assert.equal((await cancelExecution(room.pool, { ...room.keyOf(cancelled), by: 'me' })).verdict, 'cancelled');
  assert.deepEqual(await agree(other), { active: 0, waiting: 0 });
  await room.endFreeze(freeze);
});

test('a success that arrives from a call that was taken for lost counts', async () => {
  const job = await room.job('pooled');
  const id = await seedPooledTrigger(room.pool, job, 'group-late');
  await room.serve('group-late');
  const freeze = await room.freeze(job, ago(0));
  await room.serve('group-late', 'run-2');
  await room.record('pooled', id, 1, 'succeeded');
  const { status, reason, freeze_id } = (await room.rowOf(id))!;
  assert.deepEqual([status, reason, freeze_id], ['succeeded', null, freeze], 'it has not ended because of the freeze');
  assert.deepEqual(await agree(job), { active: 0, waiting: 0 });
  await room.endFreeze(freeze);
});

test('a one-off that comes due in a freeze runs when it is over, alone or in a pool', async () => {
  for (const poolId of [null, 'once-held']) {
    const job = await room.job('dedicated', { catchUp: 'none' });
    const id = await seedPooledOnce(room.pool, job, poolId ?? 'none', ago(30_000));
    if (!poolId) await room.pool.query(`UPDATE job_executions SET workflow_id = id, dispatch = 'dedicated' WHERE id = $1`, [id]);
    const freeze = await room.freeze(job, ago(60_000));
    if (poolId) assert.deepEqual(await room.serve(poolId), []);
    else assert.equal((await room.begin(id))!.decision, 'wait');
    await held(id, freeze);
    assert.deepEqual(await agree(job), { active: 0, waiting: 1 });
    await room.endFreeze(freeze);
    assert.equal((await release(job))!.id, id);
    assert.equal((await room.begin(id, 'run-2'))!.attempt, 1);
  }
});

test('triggers, retries and backfills of a frozen job are refused with the freeze; those of others in the same statement are not', async () => {
  const [job, other] = [await room.job('dedicated'), await room.job('dedicated')];
  const freeze = await room.freeze(job, ago(0), new Date(Date.now() + 3_600_000));
  for (const kind of ['manual', 'retry', 'backfill', 'batch'] as const) {
    const answer = await room.trigger(job, { kind });
    assert.ok(answer.verdict === 'frozen');
    const { freezeId, reason, until } = answer.blocker;
    assert.deepEqual([freezeId, reason], [freeze, 'stocktaking']);
    assert.ok(Date.parse(until!) > Date.now());
    assert.equal(await room.rowOf(answer.id), undefined);
  }
  assert.equal((await room.trigger(other)).verdict, 'run');
});

test('a freeze holds by service, category, tag and tag with value, as the job is now', async () => {
  const job = await room.job('dedicated');
  await room.pool.query(`UPDATE jobs SET service = 'billing', category = 'reports', tags = '{"tier": "gold"}' WHERE id = $1`, [job.id]);
  const holds = async (scope: string, target: string): Promise<boolean> => {
    const id = await room.freeze(null, ago(0), null, scope, [target]);
    const { rows } = await room.pool.query(`SELECT (freeze_holding('default', $1, clock_timestamp())).id AS id`, [job.id]);
    await room.pool.query('DELETE FROM freezes WHERE id = $1', [id]);
    return rows[0].id === id;
  };
  for (const [scope, target, expected] of [
    ['service', 'billing', true],
    ['service', 'shipping', false],
    ['category', 'reports', true],
    ['tag', 'tier', true],
    ['tag', 'tier:gold', true],
    ['tag', 'tier:silver', false],
    ['tag', 'zone', false],
  ] as const)
    assert.equal(await holds(scope, target), expected, `${scope} ${target}`);
});

test('a freeze that was called off before it began never holds', async () => {
  const job = await room.job('dedicated');
  const id = await room.freeze(job, new Date(Date.now() + 1_000));
  await room.endFreeze(id);
  const { rows } = await room.pool.query(`SELECT (freeze_holding('default', $1, now() + interval '1 hour')).id AS id`, [job.id]);
  assert.equal(rows[0].id, null);
});

test('a release that finds a backfill and something due now lets what is due now go first', async () => {
  const job = await room.job('dedicated', { overlap: 'buffer_all' });
  const first = await room.trigger(job);
  const old = newExecutionId(job.id, 'backfill');
  const backfill = await room.trigger(job, { kind: 'backfill', id: old, partitionAt: partitionAtOf(old)!, slot: ago(86_400_000) });
  const manual = await room.trigger(job);
  assert.deepEqual([first.verdict, backfill.verdict, manual.verdict], ['run', 'wait', 'wait']);
  await room.begin(first.id);
  await room.record('dedicated', first.id, 1, 'succeeded');
  assert.deepEqual([(await room.rowOf(manual.id))!.waiting, (await room.rowOf(old))!.waiting], [false, true]);
});
