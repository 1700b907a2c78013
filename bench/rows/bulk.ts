/**
 * `bulk`: a pause of 10,000 jobs by one bulk operation, each job with a schedule of its own in Temporal: until all rows say so, which is when nothing starts any more, and until
 * Temporal shows all of them paused, although API, worker and controller are killed as soon as a third of it is done.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Almanac } from '../stack/almanac.ts';
import { startAlmanac } from '../stack/almanac.ts';
import { until } from '../stack/processes.ts';
import type { Row } from './row.ts';
import { distantCron } from './stored-jobs.ts';

const JOBS = 10_000;
const PER_BATCH = 500;
const WITHIN_S = 300;
/** Making 10,000 schedules is another row's business. */
const MADE_MS = 1_800_000;
const PAUSED_MS = 900_000;
const SAMPLE = 50;

export const bulk: Row = async ({ servers, folder, say }) => {
  const almanac = await startAlmanac(await servers(), 'bulk', folder, ['api', 'worker', 'controller']);
  try {
    for (let from = 0; from < JOBS; from += PER_BATCH)
      await almanac.call('POST', '/api/v1/jobs/batch', batch(from), { prefer: 'respond-async' });
    await until('all schedules are in Temporal', MADE_MS, async () => (await behind(almanac)) === 0, undefined, 1_000);
    say(`${JOBS} jobs with schedules of their own`);

    const body = { action: 'pause', jobs: { filter: { category: 'bulk' } }, reason: 'bench' };
    const began = performance.now();
    const { id } = await almanac.call<{ id: string }>('POST', '/api/v1/bulk-operations', body);
    const accepted = performance.now();
    await until('a third is paused', PAUSED_MS, async () => (await paused(almanac)) >= JOBS / 3, undefined, 20);
    for (const role of ['api', 'worker', 'controller'] as const) almanac.restart(role);
    await until('all rows are paused', PAUSED_MS, async () => (await paused(almanac)) === JOBS, undefined, 50);
    const rows = performance.now();
    await until('Temporal shows all of them', PAUSED_MS, async () => (await behind(almanac)) === 0, undefined, 500);
    const shown = performance.now();
    await sleep(1_000);
    const wrong = await notPaused(almanac);
    if (wrong > 0) throw new Error(`${wrong} of ${SAMPLE} schedules are not paused in Temporal`);
    const { rows: told } = await almanac.pool.query<{ result: string; count: number }>(
      'SELECT result, count(*)::int AS count FROM operation_items WHERE operation_id = $1 GROUP BY result',
      [id],
    );
    const audited = await almanac.pool.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM audit_events WHERE action = 'job.paused'`,
    );
    const seconds = (ms: number) => Math.round(ms) / 1_000;
    return {
      lines: [
        { what: `bulk pause of ${JOBS.toLocaleString('en-US')}, killed at a third: all rows`, unit: 's', ours: seconds(rows - began) },
        { what: 'the same: all schedules in Temporal', unit: 's', ours: seconds(shown - began), bound: { atMost: WITHIN_S } },
      ],
      facts: {
        accepted: `${Math.round(accepted - began)} ms`,
        results: told.map(({ result, count }) => `${result} ${count}`).join(', '),
        audited: audited.rows[0]!.count,
      },
    };
  } finally {
    await almanac.close();
  }
};

/** Jobs that are due once a year, so that nothing fires meanwhile. */
const batch = (from: number) => ({
  jobs: Array.from({ length: PER_BATCH }, (_, nth) => ({
    name: `bulk-${from + nth}`,
    category: 'bulk',
    dispatch: 'dedicated',
    schedule: { cron: distantCron(from + nth), timezone: 'Europe/Berlin' },
    target: { type: 'handler', name: 'bench-noop' },
  })),
});

const count = async ({ pool }: Almanac, text: string): Promise<number> => (await pool.query<{ count: number }>(text)).rows[0]!.count;
const behind = (almanac: Almanac) => count(almanac, 'SELECT count(*)::int AS count FROM clocks WHERE generation <> observed_generation');
const paused = (almanac: Almanac) => count(almanac, 'SELECT count(*)::int AS count FROM job_runtime WHERE paused_at IS NOT NULL');

async function notPaused({ pool, client }: Almanac): Promise<number> {
  const { rows } = await pool.query<{ id: string }>('SELECT id FROM clocks ORDER BY random() LIMIT $1', [SAMPLE]);
  const states = await Promise.all(rows.map(({ id }) => client.schedule.getHandle(id).describe()));
  return states.filter(({ state }) => !state.paused).length;
}
