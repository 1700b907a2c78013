/** The health of intervals: what is measured, what is projected, and how often somebody hears of it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { paceOf } from '../../../src/jobs/health/interval.ts';
import { createRollUp } from '../../../src/jobs/health/roll-up.ts';
import { compileCron } from '../../../src/jobs/time/cron.ts';
import { normaliseTiming } from '../../../src/jobs/time/timing.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { seedJob } from '../../support/seed.ts';
import { minutesAgo, slotRow } from '../ledger/ledger-rows.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

const timing = (cron: string, timezone = 'UTC') => normaliseTiming({ calendars: compileCron(cron), intervals: [], timezone });
const seen = async (job: string) =>
  (await pool.query(`SELECT * FROM job_health WHERE job_id = $1`, [job])).rows[0] as Record<string, string & number>;
const words = async (job: string) =>
  (await pool.query<{ n: number }>(`SELECT count(*)::int AS n FROM job_events WHERE job_id = $1 AND kind = 'interval_health'`, [job]))
    .rows[0]!.n;
/** A job that ran so long at each of its last slots. */
async function jobThatTakes(tookMs: number[], options: { overlap?: string } = {}) {
  const job = await seedJob(pool, options);
  for (const [n, took] of tookMs.entries()) await slotRow(pool, job.id, minutesAgo(n + 2), { tookMs: took, waitedMs: 2_000 });
  return job;
}
const rollUpAll = async () => {
  const rollUp = createRollUp({ pool });
  for (let after: string | null = ''; after !== null; ) after = (await rollUp(after, 2)).next;
};

describe('the pace of a timing', () => {
  const from = new Date('2026-11-21T12:00:00Z');
  test('is its shortest distance and its slots in a day', () => {
    const paces = {
      interval: paceOf({ calendars: [], intervals: [{ everyS: 90, offsetS: 5 }], timezone: 'UTC' }, from),
      minutely: paceOf(timing('* * * * *'), from),
      uneven: paceOf(timing('0,10 8-17 * * *'), from),
      daily: paceOf(timing('0 2 * * *', 'Europe/Berlin'), from),
      often: paceOf(timing('* * * * * *'), from),
    };
    assert.deepEqual(paces, {
      interval: { intervalMs: 90_000, slotsPerDay: 960 },
      minutely: { intervalMs: 60_000, slotsPerDay: 1_440 },
      uneven: { intervalMs: 600_000, slotsPerDay: 20 },
      // across the days on which clocks change
      daily: { intervalMs: 86_400_000, slotsPerDay: paces.daily.slotsPerDay },
      often: { intervalMs: 1_000, slotsPerDay: 86_400 },
    });
    assert.ok(Math.abs(paces.daily.slotsPerDay - 1) < 0.02);
  });

  test('has no distance when there is one slot at most in a year', () => {
    assert.equal(paceOf(timing('0 0 29 2 *'), from).intervalMs, null);
  });
});

describe('a job', () => {
  test('is measured by its newest executions of slots: durations, waits, share of the interval', async () => {
    const job = await jobThatTakes([...Array.from({ length: 19 }, () => 6_000), 30_000]);
    await slotRow(pool, job.id, minutesAgo(30), { status: 'skipped', reason: 'missed' });
    await rollUpAll();
    const { executions, interval_ms, p50_ms, p95_ms, wait_p50_ms, share, slots_per_day, skips_per_day } = await seen(job.id);
    assert.deepEqual(
      [executions, interval_ms, p50_ms, wait_p50_ms, slots_per_day, skips_per_day].map(Number),
      [20, 60_000, 6_000, 2_000, 1_440, 0],
    );
    assert.ok(Math.abs(Number(p95_ms) - 7_200) < 5 && Math.abs(Number(share) - 0.12) < 0.001);
  });

  test('that lasts longer than its interval is projected to skip, if it skips at all', async () => {
    const [skipping, allowing, waiting] = [
      await jobThatTakes(Array.from({ length: 6 }, () => 150_000)),
      await jobThatTakes(
        Array.from({ length: 6 }, () => 150_000),
        { overlap: 'allow_all' },
      ),
      await jobThatTakes(
        Array.from({ length: 6 }, () => 150_000),
        { overlap: 'buffer_all' },
      ),
    ];
    await rollUpAll();
    // each lasts two and a half minutes: two of three slots find it running
    assert.equal(Math.round(Number((await seen(skipping.id)).skips_per_day)), 960);
    assert.equal(Number((await seen(allowing.id)).skips_per_day), 0);
    assert.equal(Number((await seen(waiting.id)).skips_per_day), 0);
    assert.deepEqual([await words(skipping.id), await words(allowing.id), await words(waiting.id)], [1, 0, 1]);
  });

  test('is told of once from 0.8 of its interval on, and again only after it had fallen below 0.7', async () => {
    const below = await jobThatTakes(Array.from({ length: 5 }, () => 47_900));
    const from = await jobThatTakes(Array.from({ length: 5 }, () => 48_000));
    const few = await jobThatTakes(Array.from({ length: 4 }, () => 59_000));
    for (let n = 0; n < 3; n += 1) await rollUpAll();
    assert.deepEqual([await words(below.id), await words(from.id), await words(few.id)], [0, 1, 0]);
    const takes = async (ms: number) => {
      await pool.query(`UPDATE job_executions SET finished_at = started_at + $2 * interval '1 millisecond' WHERE job_id = $1`, [
        from.id,
        ms,
      ]);
      await rollUpAll();
      return await words(from.id);
    };
    assert.equal(await takes(43_000), 1, 'still the same episode');
    assert.equal(await takes(55_000), 1);
    assert.equal(await takes(41_000), 1, 'over');
    assert.equal(await takes(55_000), 2);
  });

  test('that runs now counts with the time it has run so far', async () => {
    const job = await seedJob(pool);
    await slotRow(pool, job.id, minutesAgo(30), { status: 'running', tookMs: 0 });
    await rollUpAll();
    assert.ok(Number((await seen(job.id)).p50_ms) > 29 * 60_000);
  });

  test('without slots ahead is not measured', async () => {
    const job = await seedJob(pool, { validTo: minutesAgo(1) });
    await slotRow(pool, job.id, minutesAgo(2));
    await rollUpAll();
    assert.equal(await seen(job.id), undefined);
  });
});
