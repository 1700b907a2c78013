/** Almanac's side of `pooled`: one stored job, triggered many times, by one request or by one each; done when every row says so. */
import { forkHelper } from '../load/helper-process.ts';
import type { HttpLoad, HttpLoadResult } from '../load/http-load.ts';
import type { Almanac } from '../stack/almanac.ts';
import { until } from '../stack/processes.ts';
import { CONCURRENCY } from './execute.ts';
import { onlyStatus } from './row.ts';

const END_MS = 120_000;
/** Often enough beside the fraction of a second that a burst takes. */
const LOOK_EVERY_MS = 10;

/** Answers executions per second, from the first request until the last row was seen to be written. */
export type Burst = (count: number) => Promise<number>;

export async function startTriggered(almanac: Almanac) {
  const load = forkHelper<HttpLoad, HttpLoadResult>('load/http-load.ts');
  const wanted = new Map<string, number>();

  async function storedJob(dispatch: 'dedicated' | 'pooled'): Promise<string> {
    const { id } = await almanac.call<{ id: string }>('POST', '/api/v1/jobs', {
      name: `triggered-${dispatch}`,
      dispatch,
      overlap: 'allow_all',
      target: { type: 'handler', name: 'bench-noop' },
    });
    wanted.set(id, 0);
    return id;
  }

  /** @param bodies of the requests that together ask for `count` executions. */
  async function burst(job: string, count: number, bodies: string[]): Promise<number> {
    const path = `/api/v1/schedule/${job}/trigger`;
    const sent = await load.ask({
      origin: almanac.origin,
      headers: almanac.headers,
      requests: bodies.map((body) => ({ method: 'POST', path, body })),
      connections: CONCURRENCY,
    });
    onlyStatus('triggers', sent.statuses, 202, sent.bodies);
    wanted.set(job, wanted.get(job)! + count);
    await until('all rows terminal', END_MS, () => noneIsUnfinished(almanac), undefined, LOOK_EVERY_MS);
    return (count / (performance.timeOrigin + performance.now() - Math.min(...sent.sentAt))) * 1_000;
  }

  const jobs = { pooled: await storedJob('pooled'), dedicated: await storedJob('dedicated') };
  const oneByOne =
    (job: string): Burst =>
    (count) =>
      burst(
        job,
        count,
        Array.from({ length: count }, (_, index) => JSON.stringify({ input: { index } })),
      );
  return {
    pooled: oneByOne(jobs.pooled),
    dedicated: oneByOne(jobs.dedicated),
    /** All inputs in one request. */
    inputs: ((count) =>
      burst(jobs.pooled, count, [JSON.stringify({ inputs: Array.from({ length: count }, (_, index) => ({ index })) })])) as Burst,

    /** Percentage of all that were asked for whose row says that it succeeded at the first attempt, in the way its job says. */
    share: async () => {
      const { rows } = await almanac.pool.query<{ right: number }>(
        `SELECT count(*)::int AS right FROM job_executions
          WHERE status = 'succeeded' AND attempt = 1 AND result::text LIKE '%' || id || '%' AND dispatch = CASE job_id WHEN $1 THEN 'pooled' ELSE 'dedicated' END`,
        [jobs.pooled],
      );
      return (rows[0]!.right / [...wanted.values()].reduce((sum, count) => sum + count, 0)) * 100;
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
