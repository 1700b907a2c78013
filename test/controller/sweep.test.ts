/** The full sweep: drift found and mended, and what happens to schedules without a row, on both sides of the limit. */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { createOrphans } from '../../src/controller/orphans.ts';
import { createSweep } from '../../src/controller/sweep.ts';
import { createReconciler } from '../../src/jobs/clocks/reconcile.ts';
import { createScheduleCalls } from '../../src/jobs/clocks/schedule-calls.ts';
import { newJobId } from '../../src/jobs/ids.ts';
import { createTestNamespace } from '../support/stack.ts';
import { change, clientOf, clockState, openRoom, type Room, scheduleOrNull, seedClock, silent, until } from './room.ts';

let room: Room;
before(async () => {
  room = await openRoom();
});
after(() => room.close());
afterEach(() => temporal.connection.close());

/** A namespace for each test, since what is counted is everything in it. */
let temporal: Room['temporal'];
let namespace: string;
beforeEach(async () => {
  ({ name: namespace } = await createTestNamespace());
  temporal = clientOf(room.address, namespace);
  await room.pool.query(`DELETE FROM clocks`);
  await room.pool.query(`DELETE FROM audit_events`);
});

const OLD = `reconcile_at = now() - interval '1 minute'`;

function parts(graceMs = 0) {
  const calls = createScheduleCalls(temporal);
  const orphans = createOrphans({ pool: room.pool, calls, log: silent, graceMs });
  const reconciler = createReconciler({ pool: room.pool, temporal, log: silent });
  return { reconciler, ...createSweep({ pool: room.pool, calls, orphans, log: silent }) };
}

/** Clocks that Temporal has, long enough for its list to show them. */
async function settled(count: number): Promise<string[]> {
  const { reconciler } = parts();
  const ids: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const { id } = await seedClock(room.pool);
    assert.equal(await reconciler.reconcileClock(id), 'synced');
    ids.push(id);
  }
  await room.pool.query(`UPDATE clocks SET ${OLD}`);
  await listShows((listed) => ids.every((id) => listed.has(id)));
  return ids;
}

/** Waits until Temporal's list, which lags behind, shows what it should. */
const listShows = (fits: (listed: Map<string, { paused: boolean; note: string | undefined }>) => boolean) =>
  until('the list of schedules', async () => {
    const listed = new Map<string, { paused: boolean; note: string | undefined }>();
    for await (const entry of temporal.schedule.list())
      listed.set(entry.scheduleId, { paused: entry.state.paused, note: entry.state.note });
    return fits(listed);
  });

const forget = (ids: string[]) => room.pool.query('DELETE FROM clocks WHERE id = ANY ($1)', [ids]);
const scheduleCount = async () => {
  let count = 0;
  for await (const _ of temporal.schedule.list()) count += 1;
  return count;
};

test('a sweep of what is as it should be finds nothing', async () => {
  await settled(3);
  assert.deepEqual(await parts().sweep(), { missing: 0, different: 0, orphan: 0, schedules: 3 });
});

test('a schedule that somebody deleted is made again', async () => {
  const [id] = await settled(2);
  await temporal.schedule.getHandle(id!).delete();
  await listShows((listed) => !listed.has(id!));
  const { sweep, reconciler } = parts();
  assert.equal((await sweep()).missing, 1);
  assert.equal((await clockState(room.pool, id!))?.observed, 0);
  assert.equal(await reconciler.reconcileClock(id!), 'synced');
  assert.ok(await scheduleOrNull(temporal, id!));
});

test('a schedule that somebody paused or changed is put right', async () => {
  const [paused, changed] = await settled(3);
  await temporal.schedule.getHandle(paused!).pause('by hand');
  await temporal.schedule.getHandle(changed!).update((previous) => ({ ...previous, spec: { calendars: [{ hour: 7 }] } }));
  await listShows((listed) => listed.get(paused!)?.paused === true);
  const { sweep, reconciler } = parts();
  await until('both differences', async () => (await sweep()).different === 2 || (await clockState(room.pool, changed!))?.observed === 0);
  for (const id of [paused!, changed!]) assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.equal((await scheduleOrNull(temporal, paused!))?.state.paused, false);
  assert.deepEqual((await scheduleOrNull(temporal, changed!))?.spec.calendars?.[0]?.hour, [{ start: 2, end: 2, step: 1 }]);
});

test('a clock written a moment ago is not taken for drift', async () => {
  const [id] = await settled(1);
  await temporal.schedule.getHandle(id!).delete();
  await listShows((listed) => listed.size === 0);
  await room.pool.query('UPDATE clocks SET reconcile_at = now()');
  assert.equal((await parts().sweep()).missing, 0);
});

test('a schedule that came back after its tombstone is taken away', async () => {
  const [id] = await settled(1);
  await change(room.pool, id!, 'deleted_at = now()');
  await room.pool.query(`UPDATE clocks SET observed_generation = generation, ${OLD}`);
  const { sweep, reconciler } = parts();
  assert.equal((await sweep()).different, 1);
  assert.equal(await reconciler.reconcileClock(id!), 'synced');
  assert.equal(await scheduleOrNull(temporal, id!), null);
});

test('five orphans go, but only after they were watched for the time of grace', async () => {
  const ids = await settled(6);
  await forget(ids.slice(0, 5));
  let time = 0;
  const calls = createScheduleCalls(temporal);
  const orphans = createOrphans({ pool: room.pool, calls, log: silent, graceMs: 600_000, now: () => time });
  const { sweep } = createSweep({ pool: room.pool, calls, orphans, log: silent });
  assert.equal((await sweep()).orphan, 5);
  time = 599_999;
  await sweep();
  assert.equal(await scheduleCount(), 6);
  time = 600_000;
  await sweep();
  await listShows((listed) => listed.size === 1 && listed.has(ids[5]!));
});

test('an orphan that got a row again in the time of grace stays', async () => {
  const [id] = await settled(1);
  await forget([id!]);
  const calls = createScheduleCalls(temporal);
  let time = 0;
  const orphans = createOrphans({ pool: room.pool, calls, log: silent, now: () => time });
  await orphans.handle([id!], 1);
  time = 700_000;
  await room.pool.query(
    `INSERT INTO clocks (id, team, kind, timing_hash, queue) SELECT $1, 'default', 'dedicated', hash, 'default' FROM timings LIMIT 1`,
    [id],
  );
  assert.deepEqual(await orphans.handle([id!], 1), { deleted: 0, stopped: false });
  assert.ok(await scheduleOrNull(temporal, id!));
});

test('six orphans are too many: none goes until an operator confirms, also after a restart; then all go', async () => {
  const ids = await settled(7);
  await forget(ids.slice(0, 6));
  const { sweep } = parts();
  await sweep();
  await sweep();
  await parts().sweep();
  assert.equal(await scheduleCount(), 7);
  const { rows } = await room.pool.query(`SELECT action, after ->> 'orphans' AS orphans FROM audit_events WHERE subject_id = 'orphans'`);
  assert.deepEqual(rows, [{ action: 'orphans.stopped', orphans: '6' }]);

  // fewer than the limit by now, but it was stopped
  await temporal.schedule.getHandle(ids[0]!).delete();
  await listShows((listed) => listed.size === 6);
  await parts().sweep();
  assert.equal(await scheduleCount(), 6);

  await room.pool.query(
    `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id) VALUES ('default', 'ann', 'orphans.confirmed', 'sweep', 'orphans')`,
  );
  await parts().sweep();
  await listShows((listed) => listed.size === 1 && listed.has(ids[6]!));
});

test('one per cent is the limit where that is more than five', async () => {
  const calls = createScheduleCalls(temporal);
  const ids = Array.from({ length: 8 }, newJobId);
  // the ids exist in no list: what is asked here is only where the limit lies
  const fake = { ...calls, describe: async () => ({ schedule: {}, conflictToken: new Uint8Array() }) };
  const orphans = createOrphans({ pool: room.pool, calls: fake, log: silent, graceMs: 0 });
  assert.equal((await orphans.handle(ids.slice(0, 7), 700)).stopped, false);
  assert.equal((await orphans.handle(ids, 800)).stopped, false);
  assert.equal((await orphans.handle(ids, 799)).stopped, true);
});

test("schedules of others are nobody's business: other ids, other workflows, another Almanac's", async () => {
  const [ours] = await settled(1);
  const action = { type: 'startWorkflow' as const, workflowType: 'executeJob', taskQueue: 'theirs' };
  await temporal.schedule.create({ scheduleId: 'nightly', spec: { intervals: [{ every: '1d' }] }, action });
  await temporal.schedule.create({
    scheduleId: newJobId(),
    spec: { intervals: [{ every: '1d' }] },
    action: { ...action, workflowType: 'other' },
  });
  const foreign = newJobId();
  const note = (await scheduleOrNull(temporal, ours!))!.state.note!.replace(/Almanac [0-9a-f]{8}/, 'Almanac 00000000');
  await temporal.schedule.create({ scheduleId: foreign, spec: { intervals: [{ every: '1d' }] }, action, state: { note } });
  await listShows((listed) => listed.size === 4);
  const { sweep } = parts();
  assert.equal((await sweep()).orphan, 0);
  await sweep();
  assert.equal(await scheduleCount(), 4);
});
