/** The load map: starts per minute as the jobs' rules say, whom to spread, and what 10,000 jobs cost. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { workOut } from '../../../src/jobs/health/load-map.ts';
import { compileCron } from '../../../src/jobs/time/cron.ts';
import { normaliseTiming } from '../../../src/jobs/time/timing.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { seedJob } from '../../support/seed.ts';

const HOUR_MS = 3_600_000;
const NOON = Date.parse('2026-11-23T12:00:20Z');
let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());
beforeEach(() => pool.query('DELETE FROM clock_members'));

const validFrom = new Date('2026-01-01T00:00:00Z');
/** A job that fires as a cron says. */
async function cronJob(cron: string, columns = '', options: { offsetS?: number; document?: object } = {}): Promise<string> {
  const { id } = await seedJob(pool, { validFrom, ...options });
  await pool.query('INSERT INTO timings (hash, timing) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
    `cron ${cron}`,
    JSON.stringify(normaliseTiming({ calendars: compileCron(cron), intervals: [], timezone: 'UTC' })),
  ]);
  await pool.query('UPDATE clock_members SET timing_hash = $2 WHERE job_id = $1', [id, `cron ${cron}`]);
  if (columns) await pool.query(`UPDATE job_runtime SET ${columns} WHERE job_id = $1`, [id]);
  return id;
}
const look = (hours = 2) => workOut(pool, 'default', NOON, hours * HOUR_MS);
const startsAt = (map: Awaited<ReturnType<typeof look>>, time: string, queue = 'default') =>
  map.queues.find((one) => one.queue === queue)?.starts[(Date.parse(time) - Date.parse(map.from)) / 60_000] ?? 0;

describe('the load map', () => {
  test('counts starts where offsets have moved them, by queue, from the full minute on', async () => {
    await cronJob('30 12 * * *');
    await cronJob('30 12 * * *', '', { offsetS: 59 });
    await cronJob('30 12 * * *', '', { offsetS: 60 });
    await cronJob('30 12 * * *', `queue = 'slow'`);
    await cronJob('59 11 * * *', '', { offsetS: 120 });
    const map = await look();
    assert.deepEqual([map.from, map.to], ['2026-11-23T12:00:00.000Z', '2026-11-23T14:00:00.000Z']);
    assert.deepEqual(
      [
        startsAt(map, '2026-11-23T12:30:00Z'),
        startsAt(map, '2026-11-23T12:31:00Z'),
        startsAt(map, '2026-11-23T12:30:00Z', 'slow'),
        startsAt(map, '2026-11-23T12:01:00Z'),
      ],
      [2, 1, 1, 1],
    );
    assert.deepEqual(map.worst[0], { minute: '2026-11-23T12:30:00.000Z', starts: 3, byQueue: { default: 2, slow: 1 } });
    assert.deepEqual([map.total, map.jobs, map.jobsLeftOut], [5, 5, 0]);
  });

  test('leaves out what does not run: paused and disabled jobs, days of calendars, memberships that end', async () => {
    await pool.query(
      `INSERT INTO calendar_spans (team, calendar, zone, from_at, to_at) VALUES ('default', 'noon', 'UTC', '2026-11-23T12:00:00Z', '2026-11-23T12:45:00Z')`,
    );
    await cronJob('30 12 * * *', 'paused_at = now()');
    await cronJob('30 12 * * *', 'enabled = false');
    await cronJob('30 * * * *', `exclude_calendars = ARRAY['noon'], calendar_zone = 'UTC'`);
    await cronJob('30 * * * *', `include_calendars = ARRAY['noon'], calendar_zone = 'UTC'`);
    const ending = await cronJob('30 * * * *');
    await pool.query(`UPDATE clock_members SET valid_to = '2026-11-23T13:00:00Z' WHERE job_id = $1`, [ending]);
    const map = await look();
    assert.deepEqual([startsAt(map, '2026-11-23T12:30:00Z'), startsAt(map, '2026-11-23T13:30:00Z'), map.total], [2, 1, 3]);
  });

  test('suggests a spread for those without one that come together, no longer than half their interval', async () => {
    const herd = [];
    for (let n = 0; n < 5; n += 1) herd.push(await cronJob('15 * * * *'));
    await cronJob('15 * * * *', '', { offsetS: 30 });
    await cronJob('15 * * * *', '', { document: { schedule: { cron: '15 * * * *', jitter: '5m' } } });
    const [suggestion] = (await look()).suggestions;
    assert.deepEqual(suggestion?.some.map(({ jobId }) => jobId).toSorted(), herd.toSorted());
    assert.deepEqual([suggestion?.jobs, suggestion?.spread], [5, '5m']);
    assert.deepEqual(suggestion?.worstMinutes, ['2026-11-23T12:15:00.000Z', '2026-11-23T13:15:00.000Z']);
  });

  test('answers for 10,000 jobs, each with a timing of its own, within seconds, and keeps nobody waiting', async (t) => {
    const id = (await seedJob(pool, { validFrom })).id;
    await pool.query(
      `WITH made AS (SELECT n, 'job_' || lpad(n::text, 36, '0') AS id, 'load-' || (n % 5000) AS hash FROM generate_series(1, 10000) n
       ), job AS (
         INSERT INTO jobs (id, team, name, priority, state, generation, document, created_by, created_at, updated_at)
         SELECT id, 'default', id, 3, 'active', 1, '{"schedule":{}}', 't', now(), now() FROM made
       ), runtime AS (
         INSERT INTO job_runtime (job_id, team, job_name, generation, priority, queue, overlap, catch_up, catch_up_window_ms, max_attempts, offset_s)
         SELECT id, 'default', id, 1, 3, 'default', 'skip', 'last', 1, 3, n % 7 FROM made
       ), member AS (
         INSERT INTO clock_members (job_id, clock_id, team, generation, timing_hash, valid_from) SELECT id, id, 'default', 1, hash, '2026-01-01' FROM made WHERE $1 <> ''
       )
       SELECT 1`,
      [id],
    );
    const timings = Array.from({ length: 5_000 }, (_, n) =>
      n % 2 === 0
        ? { calendars: [], intervals: [{ everyS: 60, offsetS: n % 60 }], timezone: 'UTC' }
        : normaliseTiming({
            calendars: compileCron(`${n % 60} ${(n >> 4) % 24} * * *`),
            intervals: [],
            timezone: n % 3 ? 'Europe/Berlin' : 'America/New_York',
          }),
    );
    await pool.query(
      `INSERT INTO timings (hash, timing) SELECT 'load-' || (nth - 1), timing FROM unnest($1::json[]) WITH ORDINALITY AS t (timing, nth)`,
      [timings.map((timing) => JSON.stringify(timing))],
    );
    let longest = 0;
    let last = performance.now();
    const watching = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 5);
    const began = performance.now();
    const map = await look(24);
    const took = performance.now() - began;
    clearInterval(watching);
    t.diagnostic(`${Math.round(took)} ms for ${map.jobs} jobs with ${map.total} starts; others waited ${Math.round(longest)} ms at most`);
    assert.deepEqual([map.jobs, map.jobsLeftOut], [10_001, 0]);
    assert.ok(Math.abs(map.total - (5_000 * 1_440 + 5_000 + 1_440)) < 100, `${map.total}`);
    assert.ok(took < 10_000, `${took} ms`);
  });
});
