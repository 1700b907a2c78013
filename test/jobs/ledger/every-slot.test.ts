/** After hours without a controller and without Temporal every slot has its row or its range, each with the reason that was true at its time, in passes that are bounded. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { clocksToCheckOnce } from '../../../src/jobs/clocks/late-slot-store.ts';
import { createLateSlots } from '../../../src/jobs/clocks/late-slots.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { type SeededJob, seedJob } from '../../support/seed.ts';
import { minutesAgo } from './ledger-rows.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

const HOURS = 3;
const BEGAN = minutesAgo(HOURS * 60);

/** A job a minute whose clock nobody has checked for hours. */
async function neglected(options: Parameters<typeof seedJob>[1] = {}): Promise<SeededJob> {
  const job = await seedJob(pool, { validFrom: BEGAN, ...options });
  await pool.query('UPDATE clocks SET checked_until = $2, next_check_at = now() WHERE id = $1', [job.id, new Date(BEGAN.getTime() - 1)]);
  await pool.query('UPDATE job_runtime SET next_run_at = $2 WHERE job_id = $1', [job.id, BEGAN]);
  return job;
}
/** The members move to one shared clock. */
async function together(clock: string, jobs: SeededJob[]): Promise<void> {
  const ids = jobs.map(({ id }) => id);
  await pool.query(
    `INSERT INTO clocks (id, team, kind, timing_hash, queue, checked_until, next_check_at) VALUES ($1, 'default', 'pooled', 'every-60', 'default', $2, now())`,
    [clock, new Date(BEGAN.getTime() - 1)],
  );
  await pool.query('UPDATE clock_members SET clock_id = $2 WHERE job_id = ANY ($1)', [ids, clock]);
  await pool.query('DELETE FROM clocks WHERE id = ANY ($1)', [ids]);
}

/** Passes until there is nothing left to check; answers how many it took. */
async function checkAll(clocks: string[]): Promise<number> {
  const lateSlots = createLateSlots({ pool, bufferLimit: 1_000 });
  for (let passes = 1; ; passes += 1) {
    const { more } = await lateSlots.check(await clocksToCheckOnce(pool, clocks));
    if (!more) return passes;
    assert.ok(passes < 100, 'it ends');
  }
}

/** What each slot of the time without a controller has become: its reason or status; more than one word when it is accounted for more than once. */
async function account(job: SeededJob): Promise<string[]> {
  const { rows } = await pool.query<{ words: string }>(
    `SELECT concat_ws(' ', (SELECT coalesce(e.reason, e.status) FROM job_executions e WHERE e.partition_at = s.slot AND e.id = $1 || '-' || slot_text(s.slot)),
                           (SELECT string_agg(g.reason, ' ') FROM slot_ranges g WHERE g.job_id = $1 AND g.from_at <= s.slot AND (g.to_at IS NULL OR s.slot < g.to_at))) AS words
       FROM generate_series($2::timestamptz, now() - interval '20 seconds', interval '1 minute') AS s (slot) ORDER BY s.slot`,
    [job.id, BEGAN],
  );
  return rows.map(({ words }) => words);
}
/** The same in short: `3 missed, 2 frozen, …`. */
function inShort(words: string[]): string {
  const runs: { word: string; count: number }[] = [];
  for (const word of words) {
    const last = runs.at(-1);
    if (last?.word === word) last.count += 1;
    else runs.push({ word, count: 1 });
  }
  return runs.map(({ word, count }) => `${count} ${word || 'LOST'}`).join(', ');
}

describe('after three hours without a controller', () => {
  test('each slot of a frozen and an excluded hour says so, all others that nobody ran are missed; with a clock of its own and with a shared one', async (t) => {
    t.after(() => pool.query('DELETE FROM freezes'));
    const options = { catchUp: 'none' };
    const [own, ...shared] = [await neglected(options), await neglected(options), await neglected(options)];
    await together('clock_frozen', shared);
    const ids = [own!, ...shared].map(({ id }) => id);
    await pool.query(
      `INSERT INTO freezes (id, team, scope, targets, reason, from_at, to_at, created_by) VALUES ('frz_past', 'default', 'jobs', $1, 'x', $2, $3, 't')`,
      [ids, minutesAgo(150), minutesAgo(90)],
    );
    await pool.query(`INSERT INTO calendar_spans (team, calendar, zone, from_at, to_at) VALUES ('default', 'lunch', 'UTC', $1, $2)`, [
      minutesAgo(60),
      minutesAgo(30),
    ]);
    await pool.query(
      `INSERT INTO calendar_zones (team, calendar, zone, version, spans_from, spans_until) VALUES ('default', 'lunch', 'UTC', 1, now() - interval '30 days', now() + interval '400 days')`,
    );
    await pool.query(`UPDATE job_runtime SET exclude_calendars = ARRAY['lunch'], calendar_zone = 'UTC' WHERE job_id = ANY ($1)`, [ids]);
    await checkAll([own!.id, 'clock_frozen']);
    for (const job of [own!, ...shared])
      assert.match(inShort(await account(job)), /^30 missed, 60 frozen, 30 missed, 30 excluded, (29|30|31) missed$/);
    // written together or slot by slot: the same stretches
    const { rows } = await pool.query<{ job_id: string; range: string }>(
      `SELECT job_id, json_build_array(reason, from_at, to_at, count, by, freeze_id, calendar)::text AS range FROM slot_ranges WHERE job_id = ANY ($1) ORDER BY from_at`,
      [ids],
    );
    const [first, ...others] = ids.map((id) => rows.filter(({ job_id }) => job_id === id).map(({ range }) => range));
    assert.equal(first?.length, 2);
    for (const other of others) assert.deepEqual(other, first);
    const { rows: next } = await pool.query<{ ahead: boolean }>(
      `SELECT next_run_at > now() - interval '1 minute' AS ahead FROM job_runtime WHERE job_id = ANY ($1)`,
      [ids],
    );
    assert.ok(next.every(({ ahead }) => ahead));
  });

  test('a pause that was over before stays one stretch, and the next run is ahead again', async () => {
    const job = await neglected({ catchUp: 'last', windowMs: 30 * 60_000 });
    await pool.query(`INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at, by) VALUES ('default', $1, 'paused', $2, $3, 'ops')`, [
      job.id,
      minutesAgo(120),
      minutesAgo(100),
    ]);
    await checkAll([job.id]);
    assert.match(inShort(await account(job)), /^60 missed, 20 paused, (9\d|100|101) missed(, 1 queued)?$/);
    const { rows } = await pool.query<{ rows: number; next: Date }>(
      `SELECT (SELECT count(*)::int FROM job_executions WHERE job_id = $1) AS rows, next_run_at AS next FROM job_runtime WHERE job_id = $1`,
      [job.id],
    );
    assert.ok(rows[0]!.next > new Date(Date.now() - 60_000), 'the next run is ahead, or due');
  });

  test('many clocks are checked in bounded passes, each slot once, and a second look finds nothing', async (t) => {
    const jobs = await Promise.all(Array.from({ length: 60 }, () => neglected({ everyS: 10, catchUp: 'none' })));
    const clocks = jobs.map(({ id }) => id);
    const began = performance.now();
    const passes = await checkAll(clocks);
    t.diagnostic(`${passes} passes, ${Math.round(performance.now() - began)} ms for ${jobs.length * HOURS * 360} slots`);
    const accounted = async () =>
      (
        await pool.query<{ slots: number; rows: number }>(
          `SELECT (SELECT sum(count)::int FROM slot_ranges WHERE job_id = ANY ($1)) AS slots, (SELECT count(*)::int FROM job_executions WHERE job_id = ANY ($1)) AS rows`,
          [clocks],
        )
      ).rows[0]!;
    const { slots, rows } = await accounted();
    const until = Math.floor((Date.now() - 15_000) / 10_000) * 10_000;
    const expected = jobs.length * ((until - BEGAN.getTime()) / 10_000 + 1);
    // the clock goes on while this is checked
    assert.ok(
      slots + rows <= expected && slots + rows >= expected - jobs.length * 12,
      `${slots} in ranges and ${rows} rows of ${expected}`,
    );
    await pool.query('UPDATE clocks SET checked_until = $2 WHERE id = ANY ($1)', [clocks, BEGAN]);
    await checkAll(clocks);
    const again = await accounted();
    assert.ok(again.slots + again.rows - slots - rows <= jobs.length * 12);
    const doubled = await pool.query(
      `SELECT 1 FROM job_executions e JOIN slot_ranges g ON g.job_id = e.job_id AND g.from_at <= e.slot AND e.slot < g.to_at WHERE e.job_id = ANY ($1)`,
      [clocks],
    );
    assert.equal(doubled.rowCount, 0, 'no slot has both a row and a range');
  });
});
