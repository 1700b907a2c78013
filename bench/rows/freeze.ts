/**
 * `freeze`: 10,000 pooled jobs at work, 1,000 slots a second, are frozen by one request. What starts more than two seconds after its answer, whether any job of its own was
 * touched, and how long it takes after the end until every slot of that time is counted and whoever wants to catch up has done so.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Almanac, startAlmanac } from '../stack/almanac.ts';
import { until } from '../stack/processes.ts';
import type { Row } from './row.ts';

const JOBS = 10_000;
const PER_BATCH = 1_000;
/** Seconds between two slots of a job; spread over these. */
const EVERY_S = 10;
/** One job in so many catches up. */
const CATCHES_UP = 10;
const AT_WORK_MS = 120_000;
const HELD_MS = 30_000;
const OVER_MS = 300_000;
const LATE_MS = 2_000;

type Freeze = { id: string; from: string; endedAt: string; settledAt: string | null; counts: { slots: { count: number; jobs: number } } };

export const freeze: Row = async ({ servers, folder, say }) => {
  const almanac = await startAlmanac(await servers(), 'freeze', folder, ['api', 'worker', 'controller']);
  try {
    for (let from = 0; from < JOBS; from += PER_BATCH) await almanac.call('POST', '/api/v1/jobs/batch', { jobs: documents(from) });
    say(`${JOBS} jobs stored; waiting until each has run`);
    await until('all jobs at work', AT_WORK_MS, async () => (await jobsThatRan(almanac)) === JOBS);

    const asked = performance.now();
    const { id } = await almanac.call<Freeze>('POST', '/api/v1/freezes', { scope: 'global', reason: 'measured' });
    const answered = Date.now();
    const answerMs = performance.now() - asked;
    await sleep(HELD_MS);
    const held = await startsAfter(almanac, answered);
    const touched = await almanac.pool.query(`SELECT 1 FROM jobs WHERE pause IS NOT NULL OR state <> 'active'`);
    say(`held for ${HELD_MS / 1_000} s; the last start came ${held.lastMs.toFixed(0)} ms after the answer`);

    const { endedAt } = await almanac.call<Freeze>('POST', `/api/v1/freezes/${id}/end`, {});
    let settled!: Freeze;
    await until('the freeze is settled', OVER_MS, async () => {
      settled = await almanac.call<Freeze>('GET', `/api/v1/freezes/${id}`);
      return settled.settledAt !== null;
    });
    await until('all have caught up', OVER_MS, async () => (await caughtUp(almanac)) === JOBS / CATCHES_UP);
    const caughtUpMs = Date.now() - Date.parse(endedAt);
    const operations = await almanac.pool.query('SELECT 1 FROM operations');
    const unaccounted = await slotsUnaccounted(almanac, settled, endedAt);
    return {
      lines: [
        { what: `starts more than ${LATE_MS / 1_000} s after the answer`, unit: '', ours: held.late, bound: { atMost: 0 } },
        { what: 'the last start after the answer', unit: 'ms', ours: held.lastMs, bound: { atMost: LATE_MS } },
        { what: 'the answer', unit: 'ms', ours: answerMs },
        { what: 'jobs paused or changed themselves', unit: '', ours: touched.rowCount ?? 0, bound: { atMost: 0 } },
        { what: 'slots of its time that nobody tells, or two', unit: '', ours: unaccounted, bound: { atMost: 0 } },
        { what: 'settled after its end', unit: 's', ours: (Date.parse(settled.settledAt!) - Date.parse(endedAt)) / 1_000 },
      ],
      facts: {
        jobs: JOBS,
        'slots a second': JOBS / EVERY_S,
        'slots swallowed': settled.counts.slots.count,
        'jobs that caught up': JOBS / CATCHES_UP,
        'operations for it': operations.rowCount ?? 0,
        'seconds until they had run': Math.round(caughtUpMs / 100) / 10,
      },
    };
  } finally {
    await almanac.close();
  }
};

const documents = (from: number): object[] =>
  Array.from({ length: PER_BATCH }, (_, nth) => ({
    name: `frozen-${from + nth}`,
    dispatch: 'pooled',
    overlap: 'allow_all',
    schedule: { every: `${EVERY_S}s`, offset: `${(from + nth) % EVERY_S}s` },
    catchUp: { policy: (from + nth) % CATCHES_UP === 0 ? 'last' : 'none' },
    target: { type: 'handler', name: 'bench-noop' },
  }));

async function jobsThatRan({ pool }: Almanac): Promise<number> {
  const { rows } = await pool.query<{ count: number }>('SELECT count(*)::int AS count FROM job_runtime WHERE last_outcome IS NOT NULL');
  return rows[0]!.count;
}

async function startsAfter({ pool }: Almanac, answered: number): Promise<{ late: number; lastMs: number }> {
  const { rows } = await pool.query<{ late: number; last: number }>(
    `SELECT count(*) FILTER (WHERE started_at > $2)::int AS late, greatest(0, extract(epoch FROM max(started_at) - $1) * 1000)::float8 AS last
       FROM job_executions WHERE started_at > $1::timestamptz - interval '1 minute'`,
    [new Date(answered), new Date(answered + LATE_MS)],
  );
  return { late: rows[0]!.late, lastMs: rows[0]!.last };
}

async function caughtUp({ pool }: Almanac): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    `SELECT count(*)::int AS count FROM job_executions WHERE trigger = 'backfill' AND finished_at IS NOT NULL`,
  );
  return rows[0]!.count;
}

/** Slots of the freeze's time by plain arithmetic, against its stretches and rows. */
async function slotsUnaccounted({ pool }: Almanac, { id, from }: Freeze, endedAt: string): Promise<number> {
  const { rows } = await pool.query<{ wrong: number }>(
    `WITH expected AS (
       SELECT j.id AS job_id, (SELECT count(*) FROM generate_series(ceil(extract(epoch FROM $2::timestamptz))::bigint, ceil(extract(epoch FROM $3::timestamptz))::bigint - 1) s
                                WHERE s % $4 = substr(j.name, 8)::bigint % $4) AS slots
         FROM jobs j
     ), told AS (
       SELECT g.job_id, sum(g.count) AS slots FROM slot_ranges g WHERE g.freeze_id = $1 GROUP BY 1
     ), ran AS (
       SELECT e.job_id, count(*) AS slots FROM job_executions e WHERE e.trigger = 'schedule' AND e.slot >= $2 AND e.slot < $3 GROUP BY 1
     )
     SELECT coalesce(sum(abs(x.slots - coalesce(t.slots, 0) - coalesce(r.slots, 0))), 0)::float8 AS wrong
       FROM expected x LEFT JOIN told t USING (job_id) LEFT JOIN ran r USING (job_id)`,
    [id, from, endedAt, EVERY_S],
  );
  return rows[0]!.wrong;
}
