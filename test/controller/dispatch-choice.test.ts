/** Many jobs of one timing are moved to a shared clock, few are given one each again. Temporal is absent: rows are what counts. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createDispatchMoves } from '../../src/controller/dispatch-choice.ts';
import type { JobView } from '../../src/jobs/job-view.ts';
import { ASYNC, actionsOf, CALLER, clockOf, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, rows } from '../jobs/jobs-under-test.ts';
import { alone, assertOneClockAtATime, clockIdOf, observed } from '../jobs/memberships.ts';
import { silent } from './room.ts';

let it: JobsUnderTest;
before(async () => {
  it = await jobsUnderTest();
});
after(() => it.close());

const create = async (body: object): Promise<JobView> => (await it.jobs.create(CALLER, { target: HTTP_TARGET, ...body }, ASYNC)).value;
const movesWith = (config: object = {}, holdMs = 0) =>
  createDispatchMoves({
    pool: it.pool,
    log: silent,
    config: { POOL_FROM_JOBS: 20, POOL_BELOW_JOBS: 10, ...config },
    holdMs,
  });
const dispatches = async (ids: string[]) =>
  (await rows<{ n: number }>(it.pool, `SELECT count(*)::int AS n FROM jobs WHERE id = ANY ($1) AND clock_id <> id`, ids))[0]!.n;

test('a company of 19 stays as it is; of 20 it shares a clock, which Temporal has before all but one come', async () => {
  const schedule = alone();
  const ids: string[] = [];
  for (let n = 0; n < 19; n += 1) ids.push((await create({ name: `g${n}`, schedule })).id);
  const aside = await create({ name: 'g-own', schedule, dispatch: 'dedicated' });
  const long = await create({ name: 'g-long', schedule, timeout: '1m' });
  await movesWith().pass();
  assert.equal(await dispatches(ids), 0);
  ids.push((await create({ name: 'g19', schedule })).id);
  await movesWith().pass();
  assert.equal(await dispatches(ids), 1);
  const shared = (await rows<{ clock_id: string }>(it.pool, 'SELECT clock_id FROM jobs WHERE id = ANY ($1) AND clock_id <> id', ids))[0]!
    .clock_id;
  await movesWith().pass();
  assert.equal(await dispatches(ids), 1, 'Temporal does not have the shared clock yet');
  await observed(it.pool, shared);
  await movesWith().pass();
  assert.equal(await dispatches(ids), 20);
  assert.equal(await dispatches([aside.id, long.id]), 0);
  for (const id of ids) {
    await assertOneClockAtATime(it.pool, id);
    assert.ok((await clockOf(it.pool, id))?.deleted_at);
  }
  const view = await it.jobs.get(CALLER, 'g3');
  assert.deepEqual([view.generation, view.dispatchChoice.reason], [1, 'auto: many jobs have the same timing, zone and queue']);
  assert.deepEqual(await actionsOf(it.pool, view.id), ['job.created', 'job.dispatch_changed']);
});

test('a company parts below 10, unless the hour is not over, somebody asked for the shared clock, or it fires often', async () => {
  const [quiet, asked, often] = [alone(), alone(), { every: '13s' }];
  const ids: Record<string, string[]> = { quiet: [], asked: [], often: [] };
  for (let n = 0; n < 10; n += 1) {
    for (const [name, schedule] of Object.entries({ quiet, asked, often }))
      ids[name]!.push((await create({ name: `${name}${n}`, schedule, dispatch: name === 'asked' && n === 0 ? 'pooled' : 'auto' })).id);
  }
  const up = movesWith({ POOL_FROM_JOBS: 10 }, 3_600_000);
  await up.pass();
  for (const [id] of Object.values(ids)) await observed(it.pool, await clockIdOf(it.pool, id!));
  await up.pass();
  assert.equal(await dispatches(ids.quiet!), 10);
  const down = (holdMs: number) => movesWith({}, holdMs).pass();
  await down(0);
  assert.equal(await dispatches(ids.quiet!), 10, 'ten are not below ten');
  for (const name of ['quiet', 'asked', 'often']) await it.jobs.remove(CALLER, ids[name]![1]!, ASYNC);
  await down(3_600_000);
  assert.equal(await dispatches(ids.quiet!), 10);
  await down(0);
  const left = ids.quiet!.filter((_, n) => n !== 1);
  assert.equal(await dispatches(left), 0);
  assert.equal(await dispatches(ids.often!), 10);
  assert.equal(await dispatches(ids.asked!.filter((_, n) => n !== 1)), 9);
  for (const id of left) {
    await assertOneClockAtATime(it.pool, id);
    assert.equal((await clockOf(it.pool, id))?.deleted_at, null);
  }
  assert.equal((await it.jobs.get(CALLER, left[0]!)).dispatchChoice.reason, 'auto: a schedule and workflows of its own');
  // a newcomer of a group that has parted has its own as well
  assert.equal((await create({ name: 'quiet-late', schedule: quiet })).dispatchChoice.dispatch, 'dedicated');
});

test('a company goes on moving within the hour where a pass was cut off', async () => {
  const schedule = alone();
  const ids: string[] = [];
  for (let n = 0; n < 20; n += 1) ids.push((await create({ name: `h${n}`, schedule })).id);
  const moves = movesWith({}, 3_600_000);
  await moves.pass();
  assert.equal(await dispatches(ids), 1);
  for (const id of ids) await observed(it.pool, await clockIdOf(it.pool, id));
  await moves.pass();
  assert.equal(await dispatches(ids), 20);
});
