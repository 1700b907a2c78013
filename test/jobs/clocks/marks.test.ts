/** Marks in the database, and dated extras in Temporal: written with the timing, kept ahead, fired once. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createMarks } from '../../../src/jobs/clocks/marks.ts';
import { createReconciler } from '../../../src/jobs/clocks/reconcile.ts';
import { marksOf } from '../../../src/jobs/time/oracle.ts';
import { scheduleSchema } from '../../../src/jobs/time/schedule-document.ts';
import { type Timing, timingOf } from '../../../src/jobs/time/timing.ts';
import { clockState, openRoom, type Room, seedClock, setTiming, silent, until } from '../../controller/room.ts';
import { ASYNC, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest } from '../jobs-under-test.ts';

const DAY_MS = 86_400_000;
let room: Room;
let it: JobsUnderTest;
before(async () => {
  [room, it] = await Promise.all([openRoom(), jobsUnderTest()]);
});
after(async () => {
  await room.close();
  await it.close();
});

const timingFor = (schedule: unknown): Timing => timingOf(scheduleSchema.parse(schedule), new Date())!;
const textOf = ({ slot, kind, fired }: { slot: Date; kind: string; fired: boolean }) => `${slot.toISOString()} ${kind} ${fired}`;

type Kept = { until: string | null; marks: string[] };
async function kept(pool: Room['pool'], hash: string, from = new Date()): Promise<Kept> {
  const timing = await pool.query<{ until: string | null }>('SELECT marks_until::text AS until FROM timings WHERE hash = $1', [hash]);
  const marks = await pool.query<{ slot: Date; kind: string; fired: boolean }>(
    'SELECT slot, kind, fired FROM timing_marks WHERE timing_hash = $1 AND slot > $2 ORDER BY slot',
    [hash, from],
  );
  return { until: timing.rows[0]?.until ?? null, marks: marks.rows.map(textOf) };
}
const hashOf = async (jobId: string): Promise<string> =>
  (
    await it.pool.query<{ hash: string }>(`SELECT timing_hash AS hash FROM clock_members WHERE job_id = $1 AND valid_to = 'infinity'`, [
      jobId,
    ])
  ).rows[0]!.hash;
const ahead = ({ until: reached }: Kept): number => (Date.parse(reached!) - Date.now()) / DAY_MS;
const expected = (timing: Timing, now = new Date()) => marksOf(timing, now, new Date(now.getTime() + 400 * DAY_MS)).map(textOf);

let named = 0;
const job = (schedule: object, more: object = {}) => ({ name: `marked ${++named}`, target: HTTP_TARGET, schedule, ...more });

test('a job brings the marks of its timing along, alone, in a batch and by an edit', async () => {
  const schedules = [
    { cron: '30 2 * * *', timezone: 'Europe/Berlin' },
    { calendar: { at: '09:00', weekdays: 'fri', nth: 'last' }, timezone: 'America/New_York' },
    { cron: '15 * * * *', timezone: 'Europe/Rome' },
  ];
  const alone = await it.jobs.create(CALLER, job(schedules[0]!), ASYNC);
  const batch = await it.jobs.createMany(CALLER, [job(schedules[1]!), job({ every: '7m' })], 'all', ASYNC);
  const edited = await it.jobs.create(CALLER, job({ every: '1h' }), ASYNC);
  await it.schedules.replace(CALLER, edited.value.id, schedules[2], ASYNC);
  const ids = [alone.value.id, (batch.items[0] as { id: string }).id, edited.value.id];
  for (const [index, id] of ids.entries()) {
    const known = await kept(it.pool, await hashOf(id));
    assert.ok(ahead(known) > 400, `${JSON.stringify(schedules[index])}: ${known.until}`);
    const wanted = expected(timingFor(schedules[index]));
    assert.ok(wanted.length >= 2);
    assert.deepEqual(known.marks.slice(0, wanted.length), wanted);
  }
});

test('a timing that never has a mark says so, and a second job of a timing writes nothing', async () => {
  for (const schedule of [{ every: '11m' }, { cron: '31 2 * * *' }, { cron: '31 2 * * *', timezone: 'Asia/Tokyo' }]) {
    const made = await it.jobs.create(CALLER, job(schedule), ASYNC);
    assert.deepEqual(await kept(it.pool, await hashOf(made.value.id)), { until: 'infinity', marks: [] });
  }
  const first = await it.jobs.create(CALLER, job({ cron: '32 2 * * *', timezone: 'Europe/Paris' }), ASYNC);
  const hash = await hashOf(first.value.id);
  await it.pool.query(`DELETE FROM timing_marks WHERE timing_hash = $1`, [hash]);
  await it.jobs.create(CALLER, job({ cron: '32 2 * * *', timezone: 'Europe/Paris' }), ASYNC);
  assert.deepEqual((await kept(it.pool, hash)).marks, []);
});

test('marks that reach less far than 400 days are renewed, those of nobody known are worked out, and their clocks learn of new extras', async () => {
  const marks = createMarks({ pool: room.pool });
  const timing = timingFor({ cron: '30 2 * * *', timezone: 'Europe/Berlin' });
  const { id } = await seedClock(room.pool);
  const hash = (await room.pool.query<{ hash: string }>('SELECT timing_hash AS hash FROM clocks WHERE id = $1', [id])).rows[0]!.hash;
  await setTiming(room.pool, id, timing);
  const { hash: own } = (await room.pool.query<{ hash: string }>('SELECT timing_hash AS hash FROM clocks WHERE id = $1', [id])).rows[0]!;
  const before = (await clockState(room.pool, id))!.generation;

  const now = new Date();
  const done = await marks.renewDue(now, 100);
  assert.ok(done.renewed >= 2 && done.raised >= 1);
  assert.equal((await clockState(room.pool, id))!.generation, before + 1);
  assert.deepEqual((await kept(room.pool, own)).marks.slice(0, 3), expected(timing).slice(0, 3));
  assert.ok(ahead(await kept(room.pool, hash)) > 400);

  assert.deepEqual(await marks.renewDue(now, 100), { renewed: 0, raised: 0, more: false }, 'nothing is due any more');
  const inAYear = new Date(now.getTime() + 370 * DAY_MS);
  assert.ok((await marks.renewDue(inAYear, 100)).renewed >= 2, 'until their time comes');
  const reach = new Date(inAYear.getTime() + 400 * DAY_MS);
  assert.deepEqual(
    (await kept(room.pool, own, inAYear)).marks.filter((mark) => mark < reach.toISOString()),
    expected(timing, inAYear),
  );
  assert.equal((await kept(room.pool, own)).marks.length, new Set((await kept(room.pool, own)).marks).size);
});

test('a clock that somebody holds is waited for, alone', async () => {
  const { id } = await seedClock(room.pool, '31 2 * * *');
  const other = await seedClock(room.pool, '32 2 * * *');
  const holder = await room.pool.connect();
  try {
    await holder.query('BEGIN');
    await holder.query('SELECT 1 FROM clocks WHERE id = $1 FOR UPDATE', [id]);
    const renewing = createMarks({ pool: room.pool }).renewDue(new Date(), 100);
    await until('the free one', async () => (await clockState(room.pool, other.id))!.generation === 2);
    assert.equal((await clockState(room.pool, id))!.generation, 1);
    await holder.query('COMMIT');
    assert.equal((await renewing).raised, 2);
    assert.equal((await clockState(room.pool, id))!.generation, 2);
  } finally {
    holder.release();
  }
});

test('a date that no calendar of Temporal can say fires at its second, once', async () => {
  const due = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 8_000);
  const length = new Date(Date.UTC(due.getUTCFullYear(), due.getUTCMonth() + 1, 0)).getUTCDate();
  const timing = timingFor({
    calendar: { at: due.toISOString().slice(11, 19), daysOfMonth: due.getUTCDate() - length - 1 },
  });
  assert.deepEqual(timing.calendars, []);
  const { id } = await seedClock(room.pool);
  await setTiming(room.pool, id, timing);
  const reconciler = createReconciler({ pool: room.pool, temporal: room.temporal, log: silent });
  assert.equal(await reconciler.reconcileClock(id), 'synced');
  const handle = room.temporal.schedule.getHandle(id);
  const described = await handle.describe();
  assert.deepEqual(described.info.nextActionTimes[0], due);
  const [action] = await until('its first action', async () => {
    const { recentActions } = (await handle.describe()).info;
    return recentActions.length > 0 && recentActions;
  });
  assert.deepEqual(action!.scheduledAt, due);
  const next = (await handle.describe()).info.nextActionTimes[0]!;
  assert.ok(next.getTime() - due.getTime() > 27 * DAY_MS, 'then a month later');
  await reconciler.drain();
});
