/** Which job shares a clock, how it gets there and away. Temporal is absent: memberships and clock rows are what counts. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { clockRest, clocksForNobody, endClock, jobsPurge } from '../../src/controller/ending-store.ts';
import { clocksToCheckOnce } from '../../src/jobs/clocks/late-slot-store.ts';
import { createLateSlots } from '../../src/jobs/clocks/late-slots.ts';
import type { JobView } from '../../src/jobs/job-view.ts';
import { ASYNC, actionsOf, CALLER, clockOf, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, refused, rows } from './jobs-under-test.ts';
import { alone, assertOneClockAtATime, clockIdOf, observed, stretchesOf } from './memberships.ts';

let it: JobsUnderTest;
before(async () => {
  it = await jobsUnderTest({ CATEGORY_QUEUES: 'batch=slow' });
});
after(() => it.close());

const create = async (body: object): Promise<JobView> => (await it.jobs.create(CALLER, { target: HTTP_TARGET, ...body }, ASYNC)).value;
const patch = async (idOrName: string, body: object): Promise<JobView> => (await it.jobs.patch(CALLER, idOrName, body, ASYNC)).value;

describe('a shared clock', () => {
  test('is one row and one generation for three jobs that ask for it; who joins has nothing to tell Temporal', async () => {
    const schedule = alone();
    const first = await create({ name: 'a1', dispatch: 'pooled', schedule });
    const clock = await clockIdOf(it.pool, first.id);
    assert.match(clock, /^clock_[0-9a-f]{32}$/);
    assert.deepEqual([first.sync, first.dispatchChoice], ['pending', { dispatch: 'pooled', reason: 'asked for' }]);
    await observed(it.pool, clock);
    const others = [await create({ name: 'a2', dispatch: 'pooled', schedule }), await create({ name: 'a3', dispatch: 'pooled', schedule })];
    assert.deepEqual(
      others.map((job) => job.sync),
      ['synced', 'synced'],
    );
    for (const { id } of [first, ...others]) {
      assert.equal(await clockIdOf(it.pool, id), clock);
      assert.equal(await clockOf(it.pool, id), undefined);
      assert.deepEqual(
        (await stretchesOf(it.pool, id)).map((one) => one.clock_id),
        [clock],
      );
    }
    const found = await rows(it.pool, 'SELECT kind, generation, paused FROM clocks WHERE id = $1', clock);
    assert.deepEqual(found, [{ kind: 'pooled', generation: '1', paused: false }]);
    // a read adds whether a freeze holds it now
    assert.deepEqual(await it.jobs.get(CALLER, 'a2'), { ...others[0], frozen: null });
  });

  test('rests when all its members are paused, and wakes with the first that is resumed', async () => {
    const schedule = alone();
    const first = await create({ name: 'r1', dispatch: 'pooled', schedule });
    const second = await create({ name: 'r2', dispatch: 'pooled', schedule });
    const clock = await clockIdOf(it.pool, first.id);
    await observed(it.pool, clock);
    const shown = async () => (await rows<{ paused: boolean }>(it.pool, 'SELECT paused FROM clocks WHERE id = $1', clock))[0]!.paused;
    await it.schedules.pause(CALLER, first.id, {}, ASYNC);
    assert.ok(!(await clocksForNobody(it.pool, 1_000)).includes(clock));
    assert.equal(await clockRest(it.pool, clock), false, 'somebody still fires');
    await it.schedules.pause(CALLER, second.id, {}, ASYNC);
    assert.ok((await clocksForNobody(it.pool, 1_000)).includes(clock));
    assert.deepEqual([await clockRest(it.pool, clock), await shown()], [true, true]);
    await observed(it.pool, clock);
    const resumed = await it.schedules.resume(CALLER, second.id, {}, ASYNC);
    assert.deepEqual([resumed.value.sync, await shown()], ['pending', false]);
    await observed(it.pool, clock);
    assert.equal((await it.schedules.resume(CALLER, first.id, {}, ASYNC)).value.sync, 'synced', 'it is awake already');
  });

  test('that rests wakes for a job that joins it', async () => {
    const schedule = alone();
    const first = await create({ name: 'r3', dispatch: 'pooled', schedule });
    const clock = await clockIdOf(it.pool, first.id);
    await it.schedules.pause(CALLER, first.id, {}, ASYNC);
    assert.equal(await clockRest(it.pool, clock), true);
    assert.equal((await create({ name: 'r4', dispatch: 'pooled', schedule })).sync, 'pending');
    assert.equal((await rows<{ paused: boolean }>(it.pool, 'SELECT paused FROM clocks WHERE id = $1', clock))[0]!.paused, false);
  });

  test('is not that of another queue', async () => {
    const schedule = alone();
    const one = await create({ name: 'q1', dispatch: 'pooled', schedule });
    const other = await create({ name: 'q2', dispatch: 'pooled', schedule, category: 'batch' });
    assert.notEqual(await clockIdOf(it.pool, one.id), await clockIdOf(it.pool, other.id));
    await patch(other.id, { category: null });
    assert.equal(await clockIdOf(it.pool, one.id), await clockIdOf(it.pool, other.id));
    await assertOneClockAtATime(it.pool, other.id);
  });

  for (const [what, body, dispatch, reason] of [
    ['every 59 s', { schedule: { every: '59s' } }, 'pooled', 'auto: it fires more often than once a minute'],
    ['every 60 s', { schedule: { every: '60s' } }, 'dedicated', 'auto: a schedule and workflows of its own'],
    ['two seconds of an hour', { schedule: { cron: '0,30 0 4 * * *' } }, 'pooled', 'auto: it fires more often than once a minute'],
    [
      'every 5 s with calls of 11 s',
      { schedule: { every: '5s' }, timeout: '11s' },
      'dedicated',
      'auto: a schedule and workflows of its own',
    ],
    ['every 5 s, asked for its own', { schedule: { every: '5s' }, dispatch: 'dedicated' }, 'dedicated', 'asked for'],
    ['on demand, asked for pooled', { dispatch: 'pooled' }, 'pooled', 'asked for'],
  ] as const) {
    test(`${what}: ${dispatch}, ${reason}`, async () => {
      const view = await create({ name: `choice ${what}`, ...body });
      assert.deepEqual(view.dispatchChoice, { dispatch, reason });
      assert.deepEqual((await it.jobs.get(CALLER, view.id)).dispatchChoice, view.dispatchChoice);
      const { itemsJson } = await it.jobs.list(CALLER, { sort: 'name', limit: 5, q: `choice ${what}` });
      const listed = itemsJson.map((item) => JSON.parse(item) as JobView).find((item) => item.id === view.id);
      assert.deepEqual(listed?.dispatchChoice, view.dispatchChoice);
    });
  }

  test('takes a newcomer that leaves the choice to us only while it has members', async () => {
    const schedule = alone();
    const before = await create({ name: 'c0', schedule });
    const asked = await create({ name: 'c1', dispatch: 'pooled', schedule });
    const joins = await create({ name: 'c2', schedule });
    assert.deepEqual(joins.dispatchChoice, { dispatch: 'pooled', reason: 'auto: many jobs have the same timing, zone and queue' });
    assert.equal(await clockIdOf(it.pool, joins.id), await clockIdOf(it.pool, asked.id));
    assert.equal((await create({ name: 'c3', schedule, timeout: '20s' })).dispatchChoice.dispatch, 'dedicated');
    // whoever was there stays where it is
    assert.equal((await patch(before.id, { priority: 1 })).dispatchChoice.dispatch, 'dedicated');
    await it.jobs.remove(CALLER, asked.id, ASYNC);
    await it.jobs.remove(CALLER, joins.id, ASYNC);
    assert.equal((await create({ name: 'c4', schedule })).dispatchChoice.dispatch, 'dedicated');
  });

  test('knows nothing of the pause of a member, nor does Temporal', async () => {
    const schedule = alone();
    const { id } = await create({ name: 'p1', dispatch: 'pooled', schedule });
    const clock = await clockIdOf(it.pool, id);
    await observed(it.pool, clock);
    const before = await clockOf(it.pool, clock);
    const paused = (await it.schedules.pause(CALLER, id, {}, ASYNC)).value;
    assert.deepEqual([paused.state, paused.sync, paused.nextRunAt], ['paused', 'synced', null]);
    assert.deepEqual(await clockOf(it.pool, clock), before);
    const resumed = (await it.schedules.resume(CALLER, id, {}, ASYNC)).value;
    assert.deepEqual([resumed.state, resumed.sync], ['active', 'synced']);
    assert.deepEqual(await clockOf(it.pool, clock), before);
    await patch(id, { name: 'p1 renamed' });
    assert.deepEqual(await clockOf(it.pool, clock), before);
  });

  test('outlives members that are deleted or disabled, and is emptied after the last', async () => {
    const schedule = alone();
    const [gone, off] = [
      await create({ name: 'e1', dispatch: 'pooled', schedule }),
      await create({ name: 'e2', dispatch: 'pooled', schedule }),
    ];
    const clock = await clockIdOf(it.pool, gone.id);
    await observed(it.pool, clock);
    const { value } = await it.jobs.remove(CALLER, gone.id, ASYNC);
    assert.deepEqual([value.state, value.sync], ['deleting', 'synced']);
    assert.equal(await endClock(it.pool, clock), false);
    const disabled = await patch(off.id, { enabled: false });
    assert.deepEqual([disabled.state, disabled.sync], ['disabled', 'synced']);
    assert.deepEqual([(await clockOf(it.pool, clock))?.generation, (await clockOf(it.pool, clock))?.empty_since], ['1', null]);

    await it.pool.query('UPDATE clocks SET next_check_at = now() WHERE id = $1', [clock]);
    const checked = await createLateSlots({ pool: it.pool, bufferLimit: 10 }).check(await clocksToCheckOnce(it.pool, [clock]));
    assert.deepEqual(checked.memberless, [clock]);
    assert.equal(await endClock(it.pool, clock), true);
    assert.ok((await clockOf(it.pool, clock))?.empty_since);

    const on = await patch(off.id, { enabled: true });
    assert.deepEqual([on.state, on.sync], ['active', 'pending']);
    const back = await clockOf(it.pool, clock);
    assert.deepEqual([back?.empty_since, back?.paused, back?.generation], [null, false, '3']);
  });

  test('lets a deleted member be purged once it is checked to the end of its membership', async () => {
    const schedule = alone();
    const { id } = await create({ name: 'u1', dispatch: 'pooled', schedule });
    await create({ name: 'u2', dispatch: 'pooled', schedule });
    const clock = await clockIdOf(it.pool, id);
    await it.jobs.remove(CALLER, id, ASYNC);
    const there = async () => (await rows(it.pool, 'SELECT 1 FROM jobs WHERE id = $1', id)).length;
    await it.pool.query(`UPDATE clocks SET checked_until = now() - interval '1 minute' WHERE id = $1`, [clock]);
    await jobsPurge(it.pool, 100);
    assert.equal(await there(), 1);
    await it.pool.query('UPDATE clocks SET checked_until = now() WHERE id = $1', [clock]);
    await jobsPurge(it.pool, 100);
    assert.equal(await there(), 0);
    assert.deepEqual(await stretchesOf(it.pool, id), []);
  });

  test('finishes a member whose endAt has passed, and only that one', async () => {
    const schedule = alone();
    const ends = await create({ name: 'f1', dispatch: 'pooled', schedule: { ...schedule, endAt: '2090-01-01T00:00:00Z' } });
    const stays = await create({ name: 'f2', dispatch: 'pooled', schedule });
    const clock = await clockIdOf(it.pool, ends.id);
    await it.pool.query(`UPDATE clock_members SET valid_from = now() - interval '1 minute', valid_to = now() WHERE job_id = $1`, [ends.id]);
    await it.pool.query(`UPDATE clocks SET checked_until = now() - interval '1 minute' WHERE id = $1`, [clock]);
    const lateSlots = createLateSlots({ pool: it.pool, bufferLimit: 10 });
    for (let twice = 0; twice < 2; twice += 1) await lateSlots.check(await clocksToCheckOnce(it.pool, [clock]));
    assert.deepEqual(await actionsOf(it.pool, ends.id), ['job.created', 'job.finished']);
    assert.deepEqual([(await it.jobs.get(CALLER, ends.id)).state, (await it.jobs.get(CALLER, stays.id)).state], ['finished', 'active']);
    const again = await patch(ends.id, { schedule: { endAt: null } });
    assert.equal(again.state, 'active');
    assert.equal((await stretchesOf(it.pool, ends.id)).length, 2);
  });
});

describe('switching by hand', () => {
  test('leaves the own clock as a tombstone, and takes it back', async () => {
    const { id } = await create({ name: 's1', schedule: alone() });
    const pooled = await patch(id, { dispatch: 'pooled' });
    assert.deepEqual([pooled.dispatchChoice, pooled.sync], [{ dispatch: 'pooled', reason: 'asked for' }, 'pending']);
    assert.ok((await clockOf(it.pool, id))?.deleted_at);
    const shared = await clockIdOf(it.pool, id);
    await observed(it.pool, shared);
    assert.equal((await it.jobs.get(CALLER, id)).sync, 'pending', 'its own schedule is still to go');
    await observed(it.pool, id);
    assert.equal((await it.jobs.get(CALLER, id)).sync, 'synced');
    const dedicated = await patch(id, { dispatch: 'dedicated' });
    assert.equal(dedicated.dispatchChoice.dispatch, 'dedicated');
    const own = await clockOf(it.pool, id);
    assert.deepEqual([own?.deleted_at, own?.paused, own?.generation], [null, false, '3']);
    assert.equal((await clockOf(it.pool, shared))?.generation, '1');
  });

  test('is what longer calls do to a job that shared one, under auto', async () => {
    const { id } = await create({ name: 's2', schedule: { every: '7s' } });
    assert.notEqual(await clockIdOf(it.pool, id), id);
    assert.equal((await patch(id, { timeout: '20s' })).dispatchChoice.dispatch, 'dedicated');
    assert.equal((await patch(id, { timeout: '10s' })).dispatchChoice.dispatch, 'pooled');
    await refused(patch(id, { dispatch: 'pooled', timeout: '20s' }), 'invalid', 'invalid_job');
    await assertOneClockAtATime(it.pool, id);
  });

  test('in the second of a slot, back and forth, leaves each moment to one clock', async () => {
    const { id } = await create({ name: 's3', dispatch: 'dedicated', schedule: { every: '1s' } });
    const until = Date.now() + 2_500;
    let switches = 0;
    // as fast as they go, so that many fall on both sides of each slot
    for (; Date.now() < until; switches += 1) await patch(id, { dispatch: switches % 2 === 0 ? 'pooled' : 'dedicated' });
    const stretches = await assertOneClockAtATime(it.pool, id);
    assert.ok(switches > 20 && stretches.length > 20, `${switches} switches, ${stretches.length} memberships`);
    const shared = new Set(stretches.map((one) => one.clock_id));
    assert.equal(shared.size, 2);
    const first = Math.ceil(+stretches[0]!.valid_from / 1000) * 1000;
    for (let slot = first; slot < Date.now(); slot += 1000) {
      const owners = await rows(
        it.pool,
        'SELECT clock_id FROM clock_members WHERE job_id = $1 AND valid_from <= $2 AND $2 < valid_to',
        id,
        new Date(slot),
      );
      assert.equal(owners.length, 1, new Date(slot).toISOString());
    }
  });

  test('of many jobs at once keeps the shared clock whole', async () => {
    const schedule = { every: '11s' };
    const jobs = await Promise.all(Array.from({ length: 12 }, (_, n) => create({ name: `m${n}`, schedule })));
    const clock = await clockIdOf(it.pool, jobs[0]!.id);
    await Promise.all(
      jobs.map(async ({ id }, n) => {
        for (const dispatch of ['dedicated', 'auto', 'dedicated', 'pooled'].slice(0, 1 + (n % 4))) await patch(id, { dispatch });
      }),
    );
    for (const { id } of jobs) await assertOneClockAtATime(it.pool, id);
    const [row] = await rows(it.pool, 'SELECT deleted_at, empty_since, paused FROM clocks WHERE id = $1', clock);
    assert.deepEqual(row, { deleted_at: null, empty_since: null, paused: false });
  });
});
