/** The watchdog: which jobs it calls overdue, how often it says so, and that it needs nothing but Postgres. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { createController } from '../../src/controller/controller.ts';
import { watch } from '../../src/controller/watchdog.ts';
import { slotExecutionId } from '../../src/jobs/ids.ts';
import { heartbeatNewest } from '../../src/jobs/ledger/watchdog-store.ts';
import { createMetrics } from '../../src/metrics.ts';
import type { Pool } from '../../src/postgres.ts';
import { openTestPool } from '../support/pool.ts';
import { seedJob } from '../support/seed.ts';
import { clientOf, silent, until } from './room.ts';

const GRACE_MS = 60_000;
let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());
// jobs of one test are nobody's business in the next
beforeEach(() => pool.query(`UPDATE job_runtime SET next_run_at = NULL, enabled = false`));

const look = () => watch(pool, GRACE_MS);
const set = (job: string, columns: string) => pool.query(`UPDATE job_runtime SET ${columns} WHERE job_id = $1`, [job]);
const eventsOf = async (job: string) =>
  (
    await pool.query<{ kind: string; slot: Date | null; execution_id: string | null; details: Record<string, unknown> }>(
      'SELECT kind, slot, execution_id, details FROM job_events WHERE job_id = $1 ORDER BY id',
      [job],
    )
  ).rows;
const kindsOf = async (job: string) => (await eventsOf(job)).map(({ kind }) => kind);
const alarmOf = async (job: string) =>
  (await pool.query<{ alarm: string | null }>('SELECT alarm FROM job_runtime WHERE job_id = $1', [job])).rows[0]?.alarm;
const minutesAgo = (minutes: number) => new Date(Math.floor(Date.now() / 60_000) * 60_000 - minutes * 60_000);

/** A job whose next slot was this long ago, and has no row. */
async function overdueJob(seconds: number, offsetS = 0) {
  const job = await seedJob(pool, { everyS: 1, offsetS });
  await set(job.id, `next_run_at = date_trunc('second', now()) - interval '${seconds} seconds'`);
  return job;
}

async function rowOf(job: string, slot: Date, status: string, reason: string | null = null, more = '') {
  const ended = status !== 'queued' && status !== 'running';
  await pool.query(
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, reason, max_attempts, priority, queue, dispatch,
                                 created_at, finished_at)
     VALUES ($1, $2, 'default', $3, 'j', 1, 'schedule', $1, $1, $4, $5, 3, 3, 'default', 'dedicated', now(), CASE WHEN $6 THEN clock_timestamp() END)`,
    [slot, slotExecutionId(job, slot), job, status, reason, ended],
  );
  if (more) await pool.query(`UPDATE job_executions SET ${more} WHERE partition_at = $1 AND id = $2`, [slot, slotExecutionId(job, slot)]);
}
/** As whoever records a success leaves the job. */
const succeeds = (job: string) => set(job, 'last_success_at = clock_timestamp()');

describe('a slot that nothing came of', () => {
  test('makes its job late after the grace and not before, its own offset added', async () => {
    const [early, late, spread] = [await overdueJob(55), await overdueJob(65), await overdueJob(65, 30)];
    assert.deepEqual((await look()).late, [late.id]);
    assert.deepEqual(await kindsOf(early.id), []);
    assert.deepEqual(await kindsOf(spread.id), []);
    const [event] = await eventsOf(late.id);
    assert.equal(event?.kind, 'late');
    assert.equal(event?.details.kind, 'no_execution');
    assert.ok(event?.slot && Date.now() - event.slot.getTime() >= 65_000);
  });

  test('is told once until the job has succeeded, and then the recovery is', async () => {
    const job = await overdueJob(100);
    for (let n = 0; n < 3; n += 1) await look();
    assert.deepEqual(await kindsOf(job.id), ['late']);
    await set(job.id, 'next_run_at = now()');
    await succeeds(job.id);
    assert.deepEqual((await look()).recovered, [job.id]);
    await look();
    assert.deepEqual(await kindsOf(job.id), ['late', 'recovered']);
    assert.equal(await alarmOf(job.id), null);
  });

  test('is no news of a job that is paused, disabled or deleted, or was no member then', async () => {
    const jobs = [await overdueJob(100), await overdueJob(100), await overdueJob(100), await overdueJob(100)];
    await set(jobs[0]!.id, 'paused_at = now()');
    await set(jobs[1]!.id, 'enabled = false');
    await pool.query('UPDATE jobs SET deleted_at = now() WHERE id = $1', [jobs[2]!.id]);
    await pool.query('UPDATE clock_members SET valid_from = now() WHERE job_id = $1', [jobs[3]!.id]);
    assert.deepEqual((await look()).late, []);
  });

  test('is no news when a range, a freeze or a calendar has swallowed it', async () => {
    const [ranged, frozen, excluded, outside, plain] = [
      await overdueJob(100),
      await overdueJob(100),
      await overdueJob(100),
      await overdueJob(100),
      await overdueJob(100),
    ];
    await pool.query(
      `INSERT INTO slot_ranges (team, job_id, reason, from_at) VALUES ('default', $1, 'paused', now() - interval '1 hour')`,
      [ranged.id],
    );
    await pool.query(
      `INSERT INTO freezes (id, team, scope, targets, reason, from_at, created_by) VALUES ('frz_1', 'default', 'jobs', ARRAY[$1], 'x', now() - interval '1 hour', 't')`,
      [frozen.id],
    );
    await pool.query(
      `INSERT INTO calendar_spans (team, calendar, zone, from_at, to_at)
       VALUES ('default', 'holidays', 'UTC', now() - interval '1 hour', now() + interval '1 hour'), ('default', 'elsewhen', 'UTC', now() + interval '1 hour', now() + interval '2 hours')`,
    );
    await pool.query(
      `INSERT INTO calendar_zones (team, calendar, zone, version, spans_from, spans_until)
       SELECT 'default', name, 'UTC', 1, now() - interval '30 days', now() + interval '400 days' FROM unnest(ARRAY['holidays', 'elsewhen']) AS name`,
    );
    await set(excluded.id, `exclude_calendars = ARRAY['holidays'], calendar_zone = 'UTC'`);
    await set(outside.id, `include_calendars = ARRAY['elsewhen'], calendar_zone = 'UTC'`);
    assert.deepEqual((await look()).late, [plain.id]);
    await pool.query('DELETE FROM freezes');
  });
});

describe('an execution that does not begin', () => {
  test('makes its job late, unless it waits behind another of the job', async () => {
    const [stuck, waiting] = [await seedJob(pool), await seedJob(pool)];
    for (const { id } of [stuck, waiting]) await set(id, 'next_run_at = NULL');
    await rowOf(stuck.id, minutesAgo(3), 'queued');
    await rowOf(waiting.id, minutesAgo(3), 'queued', null, 'waiting = true');
    assert.deepEqual((await look()).late, [stuck.id]);
    const [event] = await eventsOf(stuck.id);
    assert.deepEqual([event?.execution_id, event?.details.kind], [slotExecutionId(stuck.id, minutesAgo(3)), 'not_started']);
  });
});

describe('missed slots', () => {
  test('are told once per episode, with how many there are, and take the place of late', async () => {
    const job = await overdueJob(100);
    await look();
    for (const minutes of [9, 8, 7]) await rowOf(job.id, minutesAgo(minutes), 'skipped', 'missed');
    assert.deepEqual((await look()).missed, [job.id]);
    await rowOf(job.id, minutesAgo(6), 'skipped', 'missed');
    assert.deepEqual((await look()).missed, []);
    const [, missed] = await eventsOf(job.id);
    assert.deepEqual(await kindsOf(job.id), ['late', 'missed']);
    assert.deepEqual([missed?.details.count, missed?.slot?.getTime()], [3, minutesAgo(9).getTime()]);
  });

  test('of a job that has succeeded since are told together with the recovery', async () => {
    const job = await seedJob(pool);
    await set(job.id, 'next_run_at = NULL');
    await rowOf(job.id, minutesAgo(5), 'skipped', 'missed');
    await succeeds(job.id);
    await look();
    assert.deepEqual(await kindsOf(job.id), ['missed', 'recovered']);
    await look();
    assert.deepEqual(await kindsOf(job.id), ['missed', 'recovered']);
  });

  test('that were decided while no watchdog was there are told by the next one', async () => {
    const job = await seedJob(pool);
    await set(job.id, 'next_run_at = NULL');
    await rowOf(job.id, minutesAgo(120), 'skipped', 'missed', `finished_at = now() - interval '2 hours'`);
    await pool.query(`UPDATE ledger_positions SET at = now() - interval '3 hours' WHERE name = 'missed'`);
    assert.deepEqual((await look()).missed, [job.id]);
    const { rows } = await pool.query<{ near: boolean }>(`SELECT at > now() - interval '1 minute' AS near FROM ledger_positions`);
    assert.deepEqual(rows, [{ near: true }]);
  });

  test('with other reasons are nobody’s alarm', async () => {
    const job = await seedJob(pool);
    await set(job.id, 'next_run_at = NULL');
    await rowOf(job.id, minutesAgo(5), 'skipped', 'skipped_overlap');
    await look();
    assert.deepEqual(await kindsOf(job.id), []);
  });
});

describe('expect', () => {
  const expecting = async (columns: string) => {
    const job = await seedJob(pool);
    await set(job.id, `next_run_at = NULL, expect_ms = 3600000`);
    await set(job.id, columns);
    return job;
  };

  test('tells a job without success for so long, once, from its last success or its beginning on', async () => {
    const young = await expecting(`expect_since = now() - interval '59 minutes'`);
    const old = await expecting(`expect_since = now() - interval '61 minutes'`);
    const well = await expecting(`expect_since = now() - interval '5 hours', last_success_at = now() - interval '59 minutes'`);
    const ill = await expecting(`expect_since = now() - interval '5 hours', last_success_at = now() - interval '61 minutes'`);
    assert.deepEqual((await look()).expect, [old.id, ill.id].sort());
    assert.deepEqual((await look()).expect, []);
    for (const { id } of [young, well]) assert.deepEqual(await kindsOf(id), []);
    const [event] = await eventsOf(ill.id);
    assert.deepEqual([event?.kind, event?.details.kind], ['missed', 'expect']);
    await succeeds(ill.id);
    assert.deepEqual((await look()).recovered, [ill.id]);
  });

  test('counts anew when the job is switched on or resumed, and rests while it is off, paused or frozen', async () => {
    const since = `expect_since = now() - interval '2 hours'`;
    const [on, resumed, off, paused, frozen, thawed] = [
      await expecting(since),
      await expecting(since),
      await expecting(since),
      await expecting(since),
      await expecting(since),
      await expecting(since),
    ];
    await set(on.id, 'enabled = false');
    await set(on.id, 'enabled = true');
    await set(resumed.id, 'paused_at = now()');
    await set(resumed.id, 'paused_at = NULL');
    await set(off.id, 'enabled = false');
    await set(paused.id, 'paused_at = now()');
    await pool.query(
      `INSERT INTO freezes (id, team, scope, targets, reason, from_at, to_at, ended_at, created_by)
       VALUES ('frz_2', 'default', 'jobs', ARRAY[$1], 'x', now() - interval '3 hours', NULL, NULL, 't'),
              ('frz_3', 'default', 'jobs', ARRAY[$2], 'x', now() - interval '3 hours', now() + interval '1 hour', now() - interval '10 minutes', 't')`,
      [frozen.id, thawed.id],
    );
    assert.deepEqual((await look()).expect, []);
    await pool.query('DELETE FROM freezes');
    assert.deepEqual((await look()).expect, [frozen.id, thawed.id].sort());
  });
});

test('two watchdogs at once tell once', async () => {
  const job = await overdueJob(100);
  const told = await Promise.all([look(), look(), look(), look()]);
  assert.equal(told.flatMap(({ late }) => late).length, 1);
  assert.deepEqual(await kindsOf(job.id), ['late']);
});

test('a controller that has never reached Temporal tells what is late, and that it has looked', async () => {
  const job = await seedJob(pool);
  await set(job.id, 'next_run_at = NULL');
  await rowOf(job.id, minutesAgo(3), 'queued');
  const metrics = createMetrics('controller');
  const temporal = clientOf('127.0.0.1:1', 'default');
  const controller = createController({
    pool,
    temporal,
    log: silent,
    metrics,
    config: {
      RECONCILE_CONCURRENCY: 8,
      SWEEP_INTERVAL_S: 60,
      BUFFER_LIMIT_SLOTS: 1_000,
      POOL_FROM_JOBS: 20,
      POOL_BELOW_JOBS: 10,
      WATCHDOG_GRACE_S: 60,
    },
  });
  controller.start();
  await until('the alarm', async () => (await alarmOf(job.id)) === 'late');
  await until('the heartbeat', async () => (await heartbeatNewest(pool, 60_000))?.silent === false);
  await controller.stop();
  await temporal.connection.close();
  assert.match(
    await metrics.registry.metrics(),
    /watchdog_last_look_timestamp_seconds\{[^}]*\} 1\.\d+e\+?9|watchdog_last_look_timestamp_seconds\{[^}]*\} \d{9}/,
  );
  assert.match(await metrics.registry.metrics(), /job_alarms\{[^}]*kind="late"[^}]*\} [1-9]/);
  await pool.query(`UPDATE watchdog_heartbeats SET at = now() - interval '61 seconds'`);
  assert.equal((await heartbeatNewest(pool, 60_000))?.silent, true);
});
