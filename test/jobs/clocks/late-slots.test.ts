/** Slots that Temporal did not bring, with memberships in the past as an outage leaves them. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { clocksToCheckOnce, membershipsAfter, writeMissedRows } from '../../../src/jobs/clocks/late-slot-store.ts';
import { createLateSlots } from '../../../src/jobs/clocks/late-slots.ts';
import { admitSlot } from '../../../src/jobs/execution-store.ts';
import { openRoom, type Room } from '../../controller/room.ts';
import { type SeededJob, seedJob } from '../../support/seed.ts';

const MINUTE = 60_000;
let room: Room;
before(async () => {
  room = await openRoom();
});
after(() => room.close());

let newest = 0;
/** The newest slot that is late; no test runs while the next one is due. */
beforeEach(async () => {
  const lateFor = () => (Date.now() - 16_000) % MINUTE;
  if (lateFor() > 38_000) await sleep(MINUTE - lateFor());
  newest = Math.floor((Date.now() - 16_000) / MINUTE) * MINUTE;
});

/** The slot `minutes` before the newest late one, of every job that fires each minute. */
const ago = (minutes: number): Date => new Date(newest - minutes * MINUTE);

/** A job that fires each minute and whose clock was last checked `minutes` ago, just before a slot. */
async function missed(minutes: number, options: Parameters<typeof seedJob>[1] = {}): Promise<SeededJob> {
  const from = new Date(ago(minutes).getTime() - 1_000);
  const job = await seedJob(room.pool, { everyS: 60, validFrom: from, ...options });
  await room.pool.query('UPDATE clocks SET checked_until = $2, next_check_at = now() WHERE id = $1', [job.id, from]);
  return job;
}

const check = async (...jobs: SeededJob[]) =>
  createLateSlots({ pool: room.pool, bufferLimit: 1_000 }).check(
    await clocksToCheckOnce(
      room.pool,
      jobs.map((job) => job.id),
    ),
  );

async function rowsOf(job: SeededJob): Promise<string[]> {
  const { rows } = await room.pool.query<{ slot: Date; text: string }>(
    `SELECT slot, status || coalesce(' ' || reason, '') || CASE WHEN waiting THEN ' waiting' ELSE '' END AS text FROM job_executions WHERE job_id = $1 ORDER BY slot`,
    [job.id],
  );
  return rows.map((row) => `${Math.round((row.slot.getTime() - ago(0).getTime()) / MINUTE)} ${row.text}`);
}

async function rangesOf(job: SeededJob): Promise<{ reason: string; from: Date; to: Date; count: number }[]> {
  const { rows } = await room.pool.query(
    'SELECT reason, from_at AS from, to_at AS to, count FROM slot_ranges WHERE job_id = $1 ORDER BY from_at',
    [job.id],
  );
  return rows;
}

test('catch-up none: every late slot is missed', async () => {
  const job = await missed(3, { catchUp: 'none' });
  const checked = await check(job);
  assert.deepEqual(await rowsOf(job), ['-3 skipped missed', '-2 skipped missed', '-1 skipped missed', '0 skipped missed']);
  assert.deepEqual(checked.starts, []);
});

test('catch-up last: only the newest late slot runs', async () => {
  const job = await missed(3, { catchUp: 'last' });
  const checked = await check(job);
  assert.deepEqual(await rowsOf(job), ['-3 skipped missed', '-2 skipped missed', '-1 skipped missed', '0 queued']);
  assert.deepEqual(
    checked.starts.map((start) => [start.workflowId, start.queue]),
    [[`${job.id}-${ago(0).toISOString().slice(0, 19)}Z`, 'default']],
  );
});

test('catch-up all: the late slots inside the window run one after another, older ones are missed', async () => {
  const job = await missed(4, { catchUp: 'all', windowMs: 3 * MINUTE - 1 });
  const checked = await check(job);
  assert.deepEqual(await rowsOf(job), ['-4 skipped missed', '-3 skipped missed', '-2 queued', '-1 queued waiting', '0 queued waiting']);
  assert.equal(checked.starts.length, 1);
});

test('catch-up all with allow_all starts all of them', async () => {
  const job = await missed(3, { catchUp: 'all', overlap: 'allow_all' });
  assert.equal((await check(job)).starts.length, 4);
});

test('slots that have a row are left alone, and a second check finds nothing', async () => {
  const job = await missed(2, { catchUp: 'all', overlap: 'allow_all' });
  const slot = ago(1);
  await admitSlot(room.pool, {
    team: job.team,
    clock: job.clock,
    nominal: slot,
    timingHash: job.hash,
    successor: null,
    workflowId: null,
    runId: 'run',
    bufferLimit: 10,
  });
  const checked = await check(job);
  assert.equal(checked.admitted, 2);
  assert.equal((await check(job)).admitted, 0);
  await room.pool.query('UPDATE clocks SET checked_until = $2 WHERE id = $1', [job.id, ago(5)]);
  assert.equal((await check(job)).admitted, 0);
});

test('two checks of the same clocks at once admit each slot once', async () => {
  const jobs = await Promise.all(Array.from({ length: 10 }, () => missed(5, { catchUp: 'all', overlap: 'allow_all' })));
  const [one, other] = await Promise.all([check(...jobs), check(...jobs)]);
  const ids = [...one.starts, ...other.starts].map((start) => start.id);
  assert.equal(new Set(ids).size, 60);
  const { rows } = await room.pool.query(
    'SELECT count(*)::int AS n, count(DISTINCT slot)::int AS slots FROM job_executions WHERE job_id = ANY ($1)',
    [jobs.map((job) => job.id)],
  );
  assert.deepEqual(rows[0], { n: 60, slots: 6 });
});

test('a slot belongs to the membership of its own time: not before it began, not when it had ended', async () => {
  const from = ago(3);
  const job = await seedJob(room.pool, { everyS: 60, validFrom: from, validTo: ago(1), catchUp: 'all', overlap: 'allow_all' });
  await room.pool.query('UPDATE clocks SET checked_until = $2 WHERE id = $1', [job.id, ago(9)]);
  const checked = await check(job);
  assert.deepEqual(await rowsOf(job), ['-3 queued', '-2 queued']);
  assert.deepEqual(checked.memberless, [job.id]);
});

test('a slot is not looked for before it is 15 s late', async () => {
  const job = await seedJob(room.pool, { everyS: 1, validFrom: new Date(Date.now() - 20_000), catchUp: 'all', overlap: 'allow_all' });
  await room.pool.query(`UPDATE clocks SET checked_until = now() - interval '20 seconds' WHERE id = $1`, [job.id]);
  await check(job);
  const { rows } = await room.pool.query(
    "SELECT max(slot) < now() - interval '15 seconds' AS old_enough, count(*)::int AS n FROM job_executions WHERE job_id = $1",
    [job.id],
  );
  assert.equal(rows[0].old_enough, true);
  assert.ok(rows[0].n >= 4 && rows[0].n <= 6, `${rows[0].n} rows`);
});

test('the stretch of a pause needs no rows, and a pause now keeps earlier slots from running', async () => {
  const paused = await missed(6, { catchUp: 'all', overlap: 'allow_all' });
  await room.pool.query(`INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at) VALUES ('default', $1, 'paused', $2, $3)`, [
    paused.id,
    ago(4),
    ago(1),
  ]);
  await check(paused);
  assert.deepEqual(await rowsOf(paused), ['-6 queued', '-5 queued', '-1 queued', '0 queued']);

  const now = await missed(2, { catchUp: 'all' });
  await room.pool.query('UPDATE job_runtime SET paused_at = now() WHERE job_id = $1', [now.id]);
  const checked = await check(now);
  assert.deepEqual(await rowsOf(now), ['-2 skipped paused', '-1 skipped paused', '0 skipped paused']);
  assert.equal(checked.starts.length, 0);
});

for (const [minutes, asRange] of [
  [100, false],
  [101, true],
] as const) {
  test(`${minutes} slots that can only be missed become ${asRange ? 'one range row' : 'a row each'}`, async () => {
    const job = await missed(minutes, { catchUp: 'last' });
    await check(job);
    const ranges = await rangesOf(job);
    const rows = await rowsOf(job);
    assert.equal(rows.at(-1), '0 queued');
    if (!asRange) {
      assert.equal(ranges.length, 0);
      assert.equal(rows.length, 101);
      return;
    }
    assert.deepEqual(rows, ['0 queued']);
    assert.deepEqual(ranges, [{ reason: 'missed', from: ago(101), to: new Date(ago(1).getTime() + 1_000), count: 101 }]);
  });
}

test('a row inside a long outage splits its range, so that no slot has both', async () => {
  const job = await missed(300, { catchUp: 'none' });
  await admitSlot(room.pool, {
    team: job.team,
    clock: job.clock,
    nominal: ago(150),
    timingHash: job.hash,
    successor: ago(149),
    workflowId: null,
    runId: null,
    bufferLimit: 10,
  });
  await check(job);
  assert.deepEqual(
    (await rangesOf(job)).map((range) => range.count),
    [150, 150],
  );
  assert.deepEqual(await rowsOf(job), ['-150 skipped missed']);
});

test('a long outage of a job of every second is decided in bounded passes, each slot once', async () => {
  const from = new Date(Date.now() - 3 * 3_600_000);
  const job = await seedJob(room.pool, { everyS: 1, validFrom: from, catchUp: 'all', windowMs: 15 * MINUTE });
  await room.pool.query('UPDATE clocks SET checked_until = $2 WHERE id = $1', [job.id, from]);
  let passes = 0;
  for (let more = true; more; passes += 1) {
    const checked = await check(job);
    assert.ok(checked.admitted <= 500);
    more = checked.more;
  }
  assert.ok(passes > 2 && passes < 12, `${passes} passes`);
  const { rows } = await room.pool.query(
    `SELECT (SELECT sum(count)::int FROM slot_ranges WHERE job_id = $1) AS ranged, (SELECT count(*)::int FROM job_executions WHERE job_id = $1) AS rows,
            floor(extract(epoch FROM checked_until - $2::timestamptz))::int AS expected FROM clocks WHERE id = $1`,
    [job.id, from],
  );
  assert.ok(Math.abs(rows[0].ranged + rows[0].rows - rows[0].expected) <= 1, JSON.stringify(rows[0]));
});

test('after a check the clock is due again when its next slot is late', async () => {
  const job = await missed(1);
  await check(job);
  const { rows } = await room.pool.query('SELECT checked_until, next_check_at FROM clocks WHERE id = $1', [job.id]);
  assert.equal(rows[0].next_check_at.getTime(), (Math.floor(rows[0].checked_until.getTime() / MINUTE) + 1) * MINUTE + 15_001);
});

test('a clock that is changed during its check is looked at again as it is then', async () => {
  const job = await missed(1);
  const read = await clocksToCheckOnce(room.pool, [job.id]);
  await room.pool.query('UPDATE clocks SET generation = generation + 1 WHERE id = $1', [job.id]);
  await createLateSlots({ pool: room.pool, bufferLimit: 10 }).check(read);
  const { rows } = await room.pool.query('SELECT next_check_at <= now() AS due FROM clocks WHERE id = $1', [job.id]);
  assert.equal(rows[0].due, true);
});

test('rows of missed slots that are written together are those that admit writes one by one', async () => {
  const together = await missed(9, { catchUp: 'last', offsetS: 3 });
  const oneByOne = await missed(9, { catchUp: 'last', offsetS: 3 });
  // a change of clocks that says nothing of these slots: admit judges each of them all the same
  await room.pool.query(`UPDATE clock_members SET timing_hash = 'marked' WHERE job_id = $1`, [oneByOne.id]);
  await room.pool.query(`UPDATE clocks SET timing_hash = 'marked' WHERE id = $1`, [oneByOne.id]);
  await room.pool.query(
    `INSERT INTO timings (hash, timing) SELECT 'marked', timing FROM timings WHERE hash = 'every-60' ON CONFLICT DO NOTHING`,
  );
  await room.pool.query(
    `INSERT INTO timing_marks (timing_hash, slot, kind, fired) VALUES ('marked', $1::timestamptz + interval '1 second', 'date', true) ON CONFLICT DO NOTHING`,
    [ago(5)],
  );
  await room.pool.query('UPDATE job_runtime SET next_run_at = $2 WHERE job_id = ANY ($1)', [[together.id, oneByOne.id], ago(9)]);
  const checked = await check(together, oneByOne);
  assert.equal(checked.calls, 1 + 10, 'the last slot of the first job, and all of the second');
  assert.deepEqual(await rowsOf(together), await rowsOf(oneByOne));
  const { rows } = await room.pool.query<{ job_id: string; row: string }>(
    `SELECT job_id, json_build_array(slot, due_at, status, reason, waiting, counted, attempt, max_attempts, priority, queue, dispatch, replace(workflow_id, job_id, ''), run_id,
                                     generation, pinned, trigger, finished_at = created_at)::text AS row FROM job_executions WHERE job_id = ANY ($1) ORDER BY slot`,
    [[together.id, oneByOne.id]],
  );
  const of = (job: string) => rows.filter(({ job_id }) => job_id === job).map(({ row }) => row);
  assert.deepEqual(of(together.id), of(oneByOne.id));
  const { rows: runtime } = await room.pool.query<{ same: boolean }>(
    'SELECT count(DISTINCT (active, waiting, next_run_at)) = 1 AND min(next_run_at) > $2 AS same FROM job_runtime WHERE job_id = ANY ($1)',
    [[together.id, oneByOne.id], ago(0)],
  );
  assert.ok(runtime[0]!.same);
});

test('missed slots are not written for a job that has changed since they were judged', async () => {
  const changes = {
    'it is paused': 'UPDATE job_runtime SET paused_at = now() WHERE job_id = $1',
    'it has another policy': `UPDATE job_runtime SET catch_up = 'all' WHERE job_id = $1`,
    'it has calendars': `UPDATE job_runtime SET calendar_zone = 'UTC' WHERE job_id = $1`,
    'it was no member then': 'UPDATE clock_members SET valid_from = now() WHERE job_id = $1',
  };
  for (const [name, text] of Object.entries({ 'nothing has changed': 'SELECT $1::text', ...changes })) {
    const job = await missed(9, { catchUp: 'none' });
    const [clock] = await clocksToCheckOnce(room.pool, [job.id]);
    const [member] = await membershipsAfter(room.pool, [{ id: job.id, since: ago(9) }]);
    await room.pool.query(text, [job.id]);
    const written = await writeMissedRows(room.pool, {
      clock: clock!,
      member: member!,
      slots: [ago(9), ago(8)],
      judged: false,
      successor: ago(7),
    });
    assert.deepEqual([written, (await rowsOf(job)).length], name in changes ? [false, 0] : [true, 2], name);
  }
});

test('a range of missed slots is told to whoever watches', async () => {
  const job = await missed(150, { catchUp: 'none' });
  await check(job);
  const { rows } = await room.pool.query<{ kind: string; details: { count: number } }>(
    'SELECT kind, details FROM job_events WHERE job_id = $1',
    [job.id],
  );
  assert.deepEqual(
    rows.map(({ kind, details }) => [kind, details.count]),
    [['missed', 151]],
  );
});
