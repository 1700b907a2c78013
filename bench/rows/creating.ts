/** What `create` and `create-async` share: the two sides, and the look afterwards whether it is all true in Temporal. */
import type { RawCreated, RawCreates } from '../baseline/schedule-create.ts';
import { forkHelper, type HelperProcess } from '../load/helper-process.ts';
import type { HttpLoad, HttpLoadResult } from '../load/http-load.ts';
import { type Almanac, startAlmanac } from '../stack/almanac.ts';
import { onlyStatus, type RowContext } from './row.ts';
import { distantCron, jobBody } from './stored-jobs.ts';

export const CONCURRENCY = 16;
/** More than either side can make in one round. */
const MOST_PER_ROUND = 6_000;

export type CreatedJob = { id: string; sync: 'synced' | 'pending' };
export type Creating = {
  almanac: Almanac;
  /** Posts jobs in a closed loop for so long. */
  ours: (durationMs: number, more?: Record<string, string>) => Promise<{ seconds: number; jobs: CreatedJob[]; latenciesMs: number[] }>;
  raw: (durationMs: number) => Promise<RawCreated>;
  close: () => Promise<void>;
};

export async function startCreating(name: string, { servers, folder }: RowContext): Promise<Creating> {
  const almanac = await startAlmanac(await servers(), name, folder, ['api', 'worker', 'controller']);
  const load: HelperProcess<HttpLoad, HttpLoadResult> = forkHelper('load/http-load.ts');
  // A namespace of its own: raw schedules beside ours would be strangers to the controller's sweep.
  const { namespace } = await (await servers()).place(`${name}-raw`);
  const baseline: HelperProcess<RawCreates, RawCreated> = forkHelper('baseline/schedule-create.ts', {
    ...almanac.env,
    TEMPORAL_NAMESPACE: namespace,
  });
  let batch = 0;
  let stored = 0;
  return {
    almanac,
    ours: async (durationMs, more = {}) => {
      const from = stored;
      const requests = Array.from({ length: MOST_PER_ROUND }, (_, index) => ({
        method: 'POST' as const,
        path: '/api/v1/jobs',
        body: JSON.stringify(jobBody(from + index, 'create')),
      }));
      const result = await load.ask({
        origin: almanac.origin,
        headers: { ...almanac.headers, ...more },
        requests,
        connections: CONCURRENCY,
        durationMs,
        keepBodies: true,
      });
      onlyStatus('POST /api/v1/jobs', result.statuses, 201, result.bodies);
      stored += result.count;
      return {
        seconds: result.seconds,
        latenciesMs: result.latenciesMs,
        jobs: result.bodies.map((body) => JSON.parse(body) as CreatedJob),
      };
    },
    raw: async (durationMs) => {
      batch += 1;
      const crons = Array.from({ length: MOST_PER_ROUND }, (_, index) => distantCron(batch * MOST_PER_ROUND + index));
      return await baseline.ask({ prefix: `raw-${batch}`, crons, concurrency: CONCURRENCY, durationMs });
    },
    close: async () => {
      await baseline.close();
      await load.close();
      await almanac.close();
    },
  };
}

/** Clocks of which Temporal is not yet known to have the newest generation. */
export async function pendingClocks({ pool }: Almanac): Promise<number> {
  const { rows } = await pool.query<{ pending: number }>(
    'SELECT count(*)::int AS pending FROM clocks WHERE generation <> observed_generation',
  );
  return rows[0]!.pending;
}

/** How many of these jobs have a schedule in Temporal that would start them. */
export async function seenInTemporal({ client }: Almanac, jobs: readonly CreatedJob[]): Promise<number> {
  let seen = 0;
  for (const { id } of jobs) {
    const description = await client.schedule.getHandle(id).describe();
    const { action } = description;
    if (action.type === 'startWorkflow' && action.workflowId === id && description.info.nextActionTimes.length > 0) seen += 1;
  }
  return seen;
}

/** Evenly spread over all. */
export const sampleOf = <T>(items: readonly T[], count: number): T[] =>
  Array.from(
    { length: Math.min(count, items.length) },
    (_, index) => items[Math.floor((index * items.length) / Math.min(count, items.length))]!,
  );
