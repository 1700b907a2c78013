/** A shared clock: its schedule in Temporal, and its slots that Temporal did not bring. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createOrphans } from '../../../src/controller/orphans.ts';
import { createSweep } from '../../../src/controller/sweep.ts';
import { SHARED_LABEL } from '../../../src/jobs/clocks/clock-store.ts';
import { clocksNoteChecked, clocksToCheck, clocksToCheckOnce } from '../../../src/jobs/clocks/late-slot-store.ts';
import { createLateSlots } from '../../../src/jobs/clocks/late-slots.ts';
import { createReconciler } from '../../../src/jobs/clocks/reconcile.ts';
import { createScheduleCalls } from '../../../src/jobs/clocks/schedule-calls.ts';
import { admitSlot } from '../../../src/jobs/execution-store.ts';
import { latePoolId, pooledClockId, slotText } from '../../../src/jobs/ids.ts';
import { clocksCheckFrom } from '../../../src/jobs/operations/pause-store.ts';
import { inTransaction, type Pool } from '../../../src/postgres.ts';
import { openRoom, type Room, scheduleOrNull, silent, until } from '../../controller/room.ts';
import { type SeededJob, seedJob } from '../../support/seed.ts';

const MINUTE = 60_000;
let room: Room;
before(async () => {
  room = await openRoom();
});
after(() => room.close());

/** Takes the jobs from their own clocks to one that they share; checked until `since`. */
async function share(jobs: SeededJob[], since = new Date()): Promise<string> {
  const ids = jobs.map((job) => job.id);
  const clock = pooledClockId(randomBytes(16).toString('hex'));
  await room.pool.query(
    `INSERT INTO clocks (id, team, kind, timing_hash, queue, checked_until, next_check_at, reconcile_at)
     VALUES ($1, 'default', 'pooled', $2, 'default', $3, now(), now() - interval '1 minute')`,
    [clock, jobs[0]!.hash, since],
  );
  await room.pool.query('UPDATE clock_members SET clock_id = $2 WHERE job_id = ANY ($1)', [ids, clock]);
  await room.pool.query('UPDATE jobs SET clock_id = $2 WHERE id = ANY ($1)', [ids, clock]);
  await room.pool.query('DELETE FROM clocks WHERE id = ANY ($1)', [ids]);
  return clock;
}

describe('the schedule of a shared clock', () => {
  const parts = () => {
    const calls = createScheduleCalls(room.temporal);
    const orphans = createOrphans({ pool: room.pool, calls, log: silent, graceMs: 0 });
    return {
      reconciler: createReconciler({ pool: room.pool, temporal: room.temporal, log: silent }),
      ...createSweep({ pool: room.pool, calls, orphans, log: silent }),
    };
  };

  test('starts one workflow for all, is known to the sweep, and goes when no row knows it', async () => {
    const clock = await share([await seedJob(room.pool, { everyS: 86_400 }), await seedJob(room.pool, { everyS: 86_400 })]);
    const { reconciler, sweep } = parts();
    assert.equal(await reconciler.reconcileClock(clock), 'synced');
    const made = (await scheduleOrNull(room.temporal, clock))!;
    assert.deepEqual(
      [made.action.workflowType, made.action.workflowId, made.action.args, made.action.staticSummary],
      ['serveSlot', clock, [{ team: 'default', clock }], SHARED_LABEL],
    );
    const listed = () =>
      until('the list of schedules', async () => {
        for await (const entry of room.temporal.schedule.list()) if (entry.scheduleId === clock) return true;
        return false;
      });
    await listed();
    await room.pool.query(`UPDATE clocks SET reconcile_at = now() - interval '1 minute' WHERE id = $1`, [clock]);
    const { different, orphan, schedules } = await sweep();
    assert.deepEqual({ different, orphan, schedules }, { different: 0, orphan: 0, schedules: 1 });
    await room.pool.query('DELETE FROM clocks WHERE id = $1', [clock]);
    await sweep();
    assert.equal(await scheduleOrNull(room.temporal, clock), null);
  });
});

describe('late slots of a shared clock', () => {
  let newest = 0;
  /** The newest slot that is late; no test runs while the next one is due. */
  beforeEach(async () => {
    const lateFor = () => (Date.now() - 16_000) % MINUTE;
    if (lateFor() > 38_000) await sleep(MINUTE - lateFor());
    newest = Math.floor((Date.now() - 16_000) / MINUTE) * MINUTE;
  });
  const ago = (minutes: number): Date => new Date(newest - minutes * MINUTE);
  const justBefore = (minutes: number): Date => new Date(ago(minutes).getTime() - 1_000);
  const check = async (clock: string, pool: Pool = room.pool) =>
    createLateSlots({ pool, bufferLimit: 1_000 }).check(await clocksToCheckOnce(room.pool, [clock]));
  const admit = (clock: string, job: SeededJob, slot: Date) =>
    admitSlot(room.pool, {
      team: 'default',
      clock,
      nominal: slot,
      timingHash: job.hash,
      successor: null,
      workflowId: `${clock}-${slotText(slot)}`,
      runId: 'run',
      bufferLimit: 10,
    });
  const rowsOf = async (job: SeededJob) =>
    (
      await room.pool.query<{ slot: Date; text: string; dispatch: string; workflow_id: string }>(
        `SELECT slot, status || coalesce(' ' || reason, '') || CASE WHEN waiting THEN ' waiting' ELSE '' END AS text, dispatch, workflow_id
           FROM job_executions WHERE job_id = $1 ORDER BY slot`,
        [job.id],
      )
    ).rows;
  /** Members that fire each minute, since just before a slot. */
  const members = (count: number, minutes: number, options: Parameters<typeof seedJob>[1] = {}) =>
    Promise.all(Array.from({ length: count }, () => seedJob(room.pool, { everyS: 60, validFrom: justBefore(minutes), ...options })));

  test('run as one pool with one start; those that wait are on their own', async () => {
    const [one, other, busy] = (await members(3, 0, { overlap: 'buffer_all' })) as [SeededJob, SeededJob, SeededJob];
    await room.pool.query('UPDATE job_runtime SET active = 1 WHERE job_id = $1', [busy.id]);
    const clock = await share([one, other, busy], justBefore(0));
    const checked = await check(clock);
    const pool = latePoolId(clock, ago(0));
    assert.deepEqual(
      checked.starts.map((start) => [start.workflowId, start.dispatch, start.queue]),
      [[pool, 'pooled', 'default']],
    );
    for (const job of [one, other])
      assert.deepEqual(
        (await rowsOf(job)).map((row) => [row.text, row.dispatch, row.workflow_id]),
        [['queued', 'pooled', pool]],
      );
    const [waits] = await rowsOf(busy);
    assert.deepEqual([waits?.text, waits?.dispatch, waits?.workflow_id], ['queued waiting', 'dedicated', `${busy.id}-${slotText(ago(0))}`]);
    assert.deepEqual([(await check(clock)).admitted, (await check(clock)).starts], [0, []]);
  });

  test('are those of the members of their time that have no row, and of nobody else', async () => {
    const options = { catchUp: 'all', overlap: 'allow_all' } as const;
    const [stays] = (await members(1, 3, options)) as [SeededJob];
    const [left] = (await members(1, 3, { ...options, validTo: justBefore(1) })) as [SeededJob];
    const [came] = (await members(1, 1, options)) as [SeededJob];
    const clock = await share([stays, left, came], justBefore(3));
    await admit(clock, stays, ago(2));
    const checked = await check(clock);
    const minutesOf = async (job: SeededJob) => (await rowsOf(job)).map((row) => (newest - row.slot.getTime()) / MINUTE);
    assert.deepEqual(await minutesOf(stays), [3, 2, 1, 0]);
    assert.deepEqual(await minutesOf(left), [3, 2]);
    assert.deepEqual(await minutesOf(came), [1, 0]);
    assert.equal((await rowsOf(stays))[1]?.workflow_id, `${clock}-${slotText(ago(2))}`);
    assert.deepEqual(checked.starts.map((start) => start.workflowId).sort(), [3, 1, 0].map((at) => latePoolId(clock, ago(at))).sort());
    assert.deepEqual(checked.memberless, []);
  });

  test('become one range row per member where a long stretch can only be missed', async () => {
    const jobs = await members(3, 120);
    const clock = await share(jobs, justBefore(120));
    const checked = await check(clock);
    assert.equal(checked.starts.length, 1);
    for (const job of jobs) {
      assert.deepEqual(
        (await rowsOf(job)).map((row) => row.text),
        ['queued'],
      );
      const { rows } = await room.pool.query('SELECT reason, count, from_at FROM slot_ranges WHERE job_id = $1', [job.id]);
      assert.deepEqual(rows, [{ reason: 'missed', count: 120, from_at: ago(120) }]);
    }
  });

  test('are looked for when the next one is late, or a membership ends before it', async () => {
    const nextCheck = async (clock: string): Promise<number> =>
      (await room.pool.query('SELECT next_check_at FROM clocks WHERE id = $1', [clock])).rows[0].next_check_at.getTime();
    const clock = await share(await members(2, 0), justBefore(0));
    await check(clock);
    assert.equal(await nextCheck(clock), newest + MINUTE + 15_001);
    const ends = new Date(Date.now() + 3_000);
    const ending = await share([...(await members(1, 0)), ...(await members(1, 0, { validTo: ends }))], justBefore(0));
    await check(ending);
    assert.equal(await nextCheck(ending), ends.getTime() + 1);
  });

  test('cost a few rows, however many members have theirs', async () => {
    const jobs = await members(200, 0, { overlap: 'allow_all' });
    const clock = await share(jobs, justBefore(0));
    await admit(clock, jobs[0]!, ago(0));
    let statements = 0;
    let read = 0;
    const counting = {
      query: async (...query: [string, unknown[]]) => {
        const answer = await room.pool.query(...query);
        statements += 1;
        read += answer.rows.length;
        return answer;
      },
    } as unknown as Pool;
    assert.equal((await check(clock, counting)).admitted, 0);
    assert.ok(statements <= 4 && read <= 3, `${statements} statements, ${read} rows`);
  });
});

test('of pauses that end one after another, the later one is not forgotten by a look that began between them', async () => {
  const jobs = [await seedJob(room.pool, { everyS: 60 }), await seedJob(room.pool, { everyS: 60 })];
  const clock = await share(jobs);
  const ends = (minutesAgo: number) => {
    const from = new Date(Date.now() - minutesAgo * MINUTE);
    return inTransaction(room.pool, (tx) => clocksCheckFrom(tx, 'default', [{ id: clock, from }])).then(() => from);
  };
  await ends(10);
  const [seen] = await clocksToCheckOnce(room.pool, [clock]);
  const from = await ends(20);
  await clocksNoteChecked(room.pool, [{ clock: seen!, until: new Date(), next: new Date(Date.now() + MINUTE) }]);
  const [now] = await clocksToCheckOnce(room.pool, [clock]);
  assert.deepEqual(now!.checked_until, from);
  assert.ok(
    (await clocksToCheck(room.pool, 100)).some(({ id }) => id === clock),
    'and is looked at at once',
  );
});

test('clocks are noted in the order in which everybody locks them', async () => {
  const jobs = [await seedJob(room.pool, { everyS: 60 }), await seedJob(room.pool, { everyS: 60 })];
  const [first, second] = jobs.map(({ id }) => id).sort();
  // as many as a scheduler at work has, so that each is looked up
  await room.pool.query(
    `INSERT INTO clocks (id, team, kind, timing_hash, queue, next_check_at) SELECT 'other_' || n, 'other', 'pooled', 'x', 'x', 'infinity' FROM generate_series(1, 3000) AS n`,
  );
  await room.pool.query('ANALYZE clocks');
  const seen = await clocksToCheckOnce(room.pool, [second!, first!]);
  seen.sort((a, b) => (a.id < b.id ? 1 : -1));
  const noted = await inTransaction(room.pool, async (tx) => {
    await tx.query('SELECT 1 FROM clocks WHERE id = $1 FOR UPDATE', [first]);
    const done = clocksNoteChecked(
      room.pool,
      seen.map((clock) => ({ clock, until: new Date(), next: new Date(Date.now() + MINUTE) })),
    ).then(
      () => 'noted',
      (error: unknown) => String(error),
    );
    await until('the note waits', async () => {
      const { rowCount } = await room.pool.query(
        `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%checked_until%'`,
      );
      return rowCount === 1;
    });
    await tx.query('UPDATE clocks SET paused = true WHERE id = $1', [second]);
    return { done };
  });
  assert.equal(await noted.done, 'noted');
});
