/** What is over goes: memberships that ended, empty clocks, tombstones, deleted jobs. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  clockBuryIfEmpty,
  clockPurge,
  clocksEmpty,
  clocksGone,
  clocksToCheckLast,
  endClock,
  jobsPurge,
} from '../../src/controller/ending-store.ts';
import { clocksToCheckOnce } from '../../src/jobs/clocks/late-slot-store.ts';
import { createLateSlots } from '../../src/jobs/clocks/late-slots.ts';
import { createReconciler } from '../../src/jobs/clocks/reconcile.ts';
import { seedJob } from '../support/seed.ts';
import { change, clockState, openRoom, type Room, scheduleOrNull, seedClock, silent } from './room.ts';

let room: Room;
before(async () => {
  room = await openRoom();
});
after(() => room.close());

const stateOf = async (id: string) =>
  (await room.pool.query<{ state: string }>('SELECT state FROM jobs WHERE id = $1', [id])).rows[0]?.state;
const endMembership = (id: string) => room.pool.query('UPDATE clock_members SET valid_to = now() WHERE job_id = $1', [id]);

test('a job whose end has passed is finished, and its schedule paused', async () => {
  const { id } = await seedClock(room.pool);
  const reconciler = createReconciler({ pool: room.pool, temporal: room.temporal, log: silent });
  await reconciler.reconcileClock(id);
  await endMembership(id);
  assert.equal(await endClock(room.pool, id), true);
  assert.equal(await endClock(room.pool, id), false);
  assert.equal(await stateOf(id), 'finished');
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.equal((await scheduleOrNull(room.temporal, id))?.state.paused, true);
});

test('a clock with an open membership, now or later, is not ended', async () => {
  const { id } = await seedClock(room.pool);
  await room.pool.query(`UPDATE clock_members SET valid_from = now() + interval '1 day' WHERE job_id = $1`, [id]);
  assert.equal(await endClock(room.pool, id), false);
  assert.equal(await stateOf(id), 'active');
});

test('a disabled job stays disabled when its clock is empty', async () => {
  const { id } = await seedClock(room.pool);
  await room.pool.query(`UPDATE jobs SET state = 'disabled' WHERE id = $1`, [id]);
  await endMembership(id);
  assert.equal(await endClock(room.pool, id), true);
  assert.equal(await stateOf(id), 'disabled');
});

test('a clock is buried after ten empty minutes, not before, and not when somebody has joined', async () => {
  const { id } = await seedClock(room.pool);
  await endMembership(id);
  await endClock(room.pool, id);
  await room.pool.query(`UPDATE clocks SET empty_since = now() - interval '599 seconds' WHERE id = $1`, [id]);
  assert.ok(!(await clocksEmpty(room.pool, 600_000, 10)).includes(id));
  await room.pool.query(`UPDATE clocks SET empty_since = now() - interval '601 seconds' WHERE id = $1`, [id]);
  assert.ok((await clocksEmpty(room.pool, 600_000, 10)).includes(id));

  await room.pool.query(`UPDATE clock_members SET valid_to = 'infinity' WHERE job_id = $1`, [id]);
  assert.equal(await clockBuryIfEmpty(room.pool, id), false);
  await endMembership(id);
  assert.equal(await clockBuryIfEmpty(room.pool, id), true);
  assert.equal((await clockState(room.pool, id))?.deleted, true);
});

test('a tombstone is purged only after Temporal has confirmed it, and then its job', async () => {
  const { id } = await seedClock(room.pool);
  await endMembership(id);
  await change(room.pool, id, 'deleted_at = now()');
  await room.pool.query(`UPDATE jobs SET deleted_at = now(), state = 'deleting' WHERE id = $1`, [id]);
  assert.equal((await clocksGone(room.pool, 0, 10)).includes(id), false);
  assert.equal(await clockPurge(room.pool, id), false);
  assert.equal(await jobsPurge(room.pool, 10), 0);

  const reconciler = createReconciler({ pool: room.pool, temporal: room.temporal, log: silent });
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.equal((await clocksGone(room.pool, 60_000, 10)).includes(id), false);
  assert.equal((await clocksGone(room.pool, 0, 10)).includes(id), true);
  assert.equal(await clockPurge(room.pool, id), true);
  assert.equal(await jobsPurge(room.pool, 10), 1);
  assert.equal(await stateOf(id), undefined);
  const { rows } = await room.pool.query(
    'SELECT (SELECT count(*)::int FROM job_revisions WHERE job_id = $1) AS revisions, (SELECT count(*)::int FROM clock_members WHERE job_id = $1) AS members',
    [id],
  );
  assert.deepEqual(rows[0], { revisions: 1, members: 0 });
});

test('the last slots of a clock that was left are looked for when they are late, and once', async () => {
  const { id } = await seedClock(room.pool);
  const left = async (secondsAgo: number) => {
    await change(room.pool, id, `deleted_at = now() - interval '${secondsAgo} seconds', checked_until = now() - interval '1 minute'`);
    return (await clocksToCheckLast(room.pool, 16_000, 10)).includes(id);
  };
  assert.equal(await left(15), false);
  assert.equal(await left(17), true);
  await createLateSlots({ pool: room.pool, bufferLimit: 10 }).check(await clocksToCheckOnce(room.pool, [id]));
  assert.equal((await clocksToCheckLast(room.pool, 16_000, 10)).includes(id), false);
});

test('a deleted job with a running execution stays until that has ended', async () => {
  const job = await seedJob(room.pool);
  await room.pool.query('DELETE FROM clocks WHERE id = $1', [job.id]);
  await room.pool.query(`UPDATE jobs SET deleted_at = now(), state = 'deleting' WHERE id = $1`, [job.id]);
  await room.pool.query('UPDATE job_runtime SET active = 1 WHERE job_id = $1', [job.id]);
  assert.equal(await jobsPurge(room.pool, 10), 0);
  await room.pool.query('UPDATE job_runtime SET active = 0 WHERE job_id = $1', [job.id]);
  assert.equal(await jobsPurge(room.pool, 10), 1);
});
