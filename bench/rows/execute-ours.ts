/** Almanac's side of `execute`: on-demand jobs as they come by default, each triggered through the API, ended when its row says so. */
import { forkHelper } from '../load/helper-process.ts';
import type { HttpLoad, HttpLoadResult } from '../load/http-load.ts';
import type { Almanac } from '../stack/almanac.ts';
import { until } from '../stack/processes.ts';
import { CONCURRENCY } from './execute.ts';
import type { Ended } from './execute-handwritten.ts';
import { onlyStatus } from './row.ts';

const END_MS = 120_000;
type Executed = { id: string };

/** @param most executions of one run: so many jobs, because a job runs once at a time by default. */
export async function startOurs(almanac: Almanac, most: number) {
  const load = forkHelper<HttpLoad, HttpLoadResult>('load/http-load.ts');
  const origin = { origin: almanac.origin, headers: almanac.headers };
  const created = await load.ask({
    ...origin,
    requests: Array.from({ length: most }, (_, index) => ({
      method: 'POST',
      path: '/api/v1/jobs',
      body: JSON.stringify({ name: `execute-${index}`, target: { type: 'handler', name: 'bench-noop' } }),
    })),
    connections: 4,
    keepBodies: true,
  });
  onlyStatus('POST /api/v1/jobs', created.statuses, 201, created.bodies);
  const jobs = created.bodies.map((body) => (JSON.parse(body) as { id: string }).id);
  let executed = 0;

  async function run(count: number, ratePerS?: number): Promise<Ended[]> {
    const sent = await load.ask({
      ...origin,
      requests: jobs.slice(0, count).map((id) => ({ method: 'POST', path: `/api/v1/schedule/${id}/trigger` })),
      connections: CONCURRENCY,
      keepBodies: true,
      ...(ratePerS ? { ratePerS } : {}),
    });
    onlyStatus('triggers', sent.statuses, 202, sent.bodies);
    const ids = sent.bodies.map((body) => (JSON.parse(body) as Executed).id);
    executed += ids.length;
    await until('all rows terminal', END_MS, () => noneIsUnfinished(almanac));
    const ends = await endsOf(almanac, ids);
    return ids.map((id, index) => ({ sentAt: sent.sentAt[index]!, endedAt: ends.get(id)! }));
  }

  return {
    run,
    /** Percentage of all executions whose row says that it succeeded at the first attempt, with the handler's answer. */
    share: async () => {
      const { rows } = await almanac.pool.query<{ right: number }>(
        `SELECT count(*) FILTER (WHERE status = 'succeeded' AND attempt = 1 AND result::text LIKE '%' || id || '%')::int AS right FROM job_executions`,
      );
      return (rows[0]!.right / executed) * 100;
    },
    close: () => load.close(),
  };
}

/** Asked over and over while the work goes on, so it must cost next to nothing: one look into an index of what is unfinished. */
async function noneIsUnfinished({ pool }: Almanac): Promise<boolean> {
  const { rowCount } = await pool.query({
    name: 'unfinished',
    text: `SELECT 1 FROM job_executions WHERE status IN ('queued', 'running') LIMIT 1`,
  });
  return rowCount === 0;
}

/** Ends by id, milliseconds since 1970. */
async function endsOf({ pool }: Almanac, ids: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await pool.query<{ id: string; ended: number }>({
    name: 'ends',
    text: `SELECT id, extract(epoch FROM finished_at)::float8 * 1000 AS ended FROM job_executions
            WHERE job_id = ANY ($1) AND id = ANY ($2) AND finished_at IS NOT NULL`,
    values: [ids.map((id) => id.slice(0, 40)), ids],
  });
  return new Map(rows.map(({ id, ended }) => [id, ended]));
}
