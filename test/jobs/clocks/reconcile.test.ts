/** One clock and its schedule, on a real Temporal server and a real Postgres. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { clockDesired } from '../../../src/jobs/clocks/clock-store.ts';
import { createReconciler, type Reconciler } from '../../../src/jobs/clocks/reconcile.ts';
import { compileCron } from '../../../src/jobs/time/cron.ts';
import { normaliseTiming } from '../../../src/jobs/time/timing.ts';
import { change, clientOf, clockState, openRoom, type Room, scheduleOrNull, seedClock, setTiming, silent } from '../../controller/room.ts';

let room: Room;
let reconciler: Reconciler;
before(async () => {
  room = await openRoom();
  reconciler = createReconciler({ pool: room.pool, temporal: room.temporal, log: silent });
});
after(() => room.close());

const schedule = async (id: string) => (await scheduleOrNull(room.temporal, id)) ?? assert.fail('there is no schedule');

test('a new clock becomes a schedule with our policies, the job as label and only ids as arguments', async () => {
  const { id } = await seedClock(room.pool);
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  const made = await schedule(id);
  assert.equal(made.policies.overlap, 'ALLOW_ALL');
  assert.equal(made.policies.catchupWindow, 60_000);
  assert.equal(made.action.workflowType, 'executeJob');
  assert.equal(made.action.workflowId, id);
  assert.equal(made.action.taskQueue, 'almanac-default');
  assert.deepEqual(made.action.args, [{ team: 'default', clock: id }]);
  assert.equal(made.action.staticSummary, id);
  assert.match(made.state.note ?? '', new RegExp(`^${id} · queue default · generation 1 · kept by Almanac [0-9a-f]{8}: `));
  assert.equal(made.spec.jitter ?? 0, 0);
  assert.deepEqual([made.spec.startAt, made.spec.endAt], [undefined, undefined]);
  assert.deepEqual(await clockState(room.pool, id), {
    generation: 1,
    observed: 1,
    failures: 0,
    last_error: null,
    paused: false,
    deleted: false,
  });
});

test('what is already as it should be is not written again', async () => {
  const { id } = await seedClock(room.pool);
  await reconciler.reconcileClock(id);
  const before = (await schedule(id)).raw.conflictToken;
  await room.pool.query('UPDATE clocks SET observed_generation = -1 WHERE id = $1', [id]);
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.deepEqual((await schedule(id)).raw.conflictToken, before);
});

test('a schedule that exists before its first create is brought to what the row says', async () => {
  const { id } = await seedClock(room.pool);
  await room.temporal.schedule.create({
    scheduleId: id,
    spec: { intervals: [{ every: '1h' }] },
    action: { type: 'startWorkflow', workflowType: 'somethingElse', taskQueue: 'elsewhere' },
  });
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  const mended = await schedule(id);
  assert.equal(mended.action.workflowType, 'executeJob');
  assert.equal(mended.action.taskQueue, 'almanac-default');
  assert.ok(!mended.spec.intervals?.some(({ every }) => every === 3_600_000), 'what it had before is gone');
  assert.equal(mended.spec.timezone, 'Europe/Berlin');
});

test('pause, queue and timing of the row are true in Temporal when the answer is synced', async () => {
  const { id } = await seedClock(room.pool);
  await reconciler.reconcileClock(id);
  await change(room.pool, id, `paused = true`);
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.equal((await schedule(id)).state.paused, true);
  await change(room.pool, id, `paused = false, queue = 'urgent'`);
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.equal((await schedule(id)).action.taskQueue, 'almanac-urgent');
  await setTiming(
    room.pool,
    id,
    normaliseTiming({ calendars: compileCron('*/10 * * * * *'), intervals: [{ everyS: 90, offsetS: 7 }], timezone: 'UTC' }),
  );
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  const now = await schedule(id);
  assert.deepEqual(now.spec.intervals, [{ every: 90_000, offset: 7_000 }]);
  assert.equal(now.state.paused, false);
  assert.equal((await clockState(room.pool, id))?.observed, 4);
});

for (const cron of [
  '*/7 3,5-9 1 jan,jun-aug mon',
  '15 0 29 2 *',
  '0 0 */2 * *',
  '59 23 31 12 0',
  '0-58/2 * * * * *',
  '5 4 * * sun',
  '0 0,12 1 */2 *',
]) {
  test(`the server's form of "${cron}" is recognised as the same`, async () => {
    const { id } = await seedClock(room.pool, cron);
    assert.equal(await reconciler.reconcileClock(id), 'synced');
    const token = (await schedule(id)).raw.conflictToken;
    await room.pool.query('UPDATE clocks SET observed_generation = -1 WHERE id = $1', [id]);
    assert.equal(await reconciler.reconcileClock(id), 'synced');
    assert.deepEqual((await schedule(id)).raw.conflictToken, token);
  });
}

test('what an operator changed in Temporal is undone when the clock is looked at again', async () => {
  const { id } = await seedClock(room.pool);
  await reconciler.reconcileClock(id);
  await room.temporal.schedule.getHandle(id).update((previous) => ({
    ...previous,
    spec: { calendars: [{ hour: 5 }] },
    policies: { ...previous.policies, overlap: 'SKIP' },
    state: { ...previous.state, paused: true, note: 'by hand' },
  }));
  await room.pool.query('UPDATE clocks SET observed_generation = -1 WHERE id = $1', [id]);
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  const mended = await schedule(id);
  assert.equal(mended.policies.overlap, 'ALLOW_ALL');
  assert.equal(mended.state.paused, false);
  assert.deepEqual(
    mended.spec.calendars?.map((calendar) => calendar.hour),
    [[{ start: 2, end: 2, step: 1 }]],
  );
});

test('a tombstone takes the schedule away, and one that is not there counts as gone', async () => {
  const { id } = await seedClock(room.pool);
  await reconciler.reconcileClock(id);
  await change(room.pool, id, 'deleted_at = now()');
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.equal(await scheduleOrNull(room.temporal, id), null);
  await change(room.pool, id, 'deleted_at = now()');
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.deepEqual(await clockState(room.pool, id), {
    generation: 3,
    observed: 3,
    failures: 0,
    last_error: null,
    paused: false,
    deleted: true,
  });
});

test('a clock that is joined again after its tombstone has a schedule again', async () => {
  const { id } = await seedClock(room.pool);
  await reconciler.reconcileClock(id);
  await change(room.pool, id, 'deleted_at = now()');
  await reconciler.reconcileClock(id);
  await change(room.pool, id, 'deleted_at = NULL');
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.equal((await schedule(id)).state.paused, false);
});

test('a stalled reconciler that wakes up with an old generation does not win', async () => {
  const { id } = await seedClock(room.pool);
  const stale = (await clockDesired(room.pool, id))!;
  await change(room.pool, id, `queue = 'second'`);
  await change(room.pool, id, `queue = 'third', paused = true`);
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  const late = createReconciler({ pool: room.pool, temporal: room.temporal, log: silent });
  assert.equal(await late.reconcileClock(id, undefined, stale), 'synced');
  const now = await schedule(id);
  assert.equal(now.action.taskQueue, 'almanac-third');
  assert.equal(now.state.paused, true);
  assert.match(now.state.note ?? '', /generation 3/);
  assert.equal((await clockState(room.pool, id))?.observed, 3);
});

test('a schedule written for a clock that is gone by then is taken away again', async () => {
  const { id } = await seedClock(room.pool);
  const stale = (await clockDesired(room.pool, id))!;
  await room.pool.query('DELETE FROM clocks WHERE id = $1', [id]);
  assert.equal(await reconciler.reconcileClock(id, undefined, stale), 'synced');
  assert.equal(await scheduleOrNull(room.temporal, id), null);
});

test('a schedule newer than its row, as after a restored backup, follows the row', async () => {
  const { id } = await seedClock(room.pool);
  await room.pool.query('UPDATE clocks SET generation = 9 WHERE id = $1', [id]);
  await reconciler.reconcileClock(id);
  await room.pool.query(`UPDATE clocks SET generation = 5, observed_generation = 4, queue = 'restored' WHERE id = $1`, [id]);
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.equal((await schedule(id)).action.taskQueue, 'almanac-restored');
});

test('many reconcilers and many edits of one clock at once end with what the row says', async () => {
  const { id } = await seedClock(room.pool);
  const others = [1, 2, 3].map(() => createReconciler({ pool: room.pool, temporal: clientOf(room.address, room.namespace), log: silent }));
  const edits = Array.from({ length: 12 }, (_, index) => index);
  await Promise.all(
    edits.map(async (index) => {
      await change(room.pool, id, `queue = 'q${index}', paused = ${index % 2 === 0}`);
      await others[index % others.length]!.reconcileClock(id);
    }),
  );
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  const row = (await clockDesired(room.pool, id))!;
  const now = await schedule(id);
  assert.equal(now.action.taskQueue, `almanac-${row.queue}`);
  assert.equal(now.state.paused, row.paused);
  assert.equal((await clockState(room.pool, id))?.observed, 13);
});

test('fifty creates at once are all synced and all noted', async () => {
  const ids = await Promise.all(Array.from({ length: 50 }, async () => (await seedClock(room.pool)).id));
  const answers = await Promise.all(ids.map(async (id) => reconciler.within(20_000, id, (await clockDesired(room.pool, id))!)));
  assert.ok(answers.every((answer) => answer === 'synced'));
  const { rows } = await room.pool.query('SELECT count(*)::int AS n FROM clocks WHERE id = ANY ($1) AND observed_generation = 1', [ids]);
  assert.equal(rows[0].n, 50);
});

test('a job name of any script and length fits into note and summary', async () => {
  const { id } = await seedClock(room.pool);
  await room.pool.query('UPDATE job_runtime SET job_name = $2 WHERE job_id = $1', [id, '夜間請求書"\\🧾'.repeat(28).slice(0, 200)]);
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  assert.match((await schedule(id)).action.staticSummary ?? '', /^夜間請求書.*…$/);
});

test('while Temporal is away the answer is pending within the budget, later ones at once, and the row says why', async () => {
  const { id } = await seedClock(room.pool);
  const nowhere = clientOf('127.0.0.1:1', room.namespace);
  const away = createReconciler({ pool: room.pool, temporal: nowhere, log: silent });
  const first = performance.now();
  assert.equal(await away.within(300, id), 'pending');
  const tookMs = performance.now() - first;
  assert.ok(tookMs > 250 && tookMs < 700, `took ${tookMs} ms`);
  const second = performance.now();
  assert.equal(await away.within(300, id), 'pending');
  assert.ok(performance.now() - second < 50);
  assert.equal(await away.reconcileClock(id, AbortSignal.timeout(200)), 'pending');
  const state = (await clockState(room.pool, id))!;
  assert.equal(state.observed, 0);
  assert.ok(state.failures >= 1 && state.last_error);
  await away.drain();
  await nowhere.connection.close();
});
