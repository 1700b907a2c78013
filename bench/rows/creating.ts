/** What `create` and `create-async` share: the two sides, and the look afterwards whether it is all true in Temporal. */
import type { RawCreated, RawCreates } from '../baseline/schedule-create.ts';
import { forkHelper, type HelperProcess } from '../load/helper-process.ts';
import type { HttpLoad, HttpLoadResult } from '../load/http-load.ts';
import { type Almanac, startAlmanac } from '../stack/almanac.ts';
import { cpuLedger } from '../stack/cpu-time.ts';
import { until } from '../stack/processes.ts';
import { onlyStatus, type RowContext } from './row.ts';
import { distantCron, jobBody } from './stored-jobs.ts';

export const CONCURRENCY = 16;
/** More than either side can make in one round. */
const MOST_PER_ROUND = 6_000;
/** Temporal starts a workflow of its own for each schedule, a little after it has answered; the other side must not pay for that. */
export const REST_MS = 3_000;
const WARM = 400;
const MOST_WARM_MS = 30_000;

export type CreatedJob = { id: string; sync: 'synced' | 'pending' };
export type Creating = {
  almanac: Almanac;
  /** Makes so many on both sides, unmeasured: code that has run a few times only is no measure of anything. */
  warm: (more?: Record<string, string>) => Promise<void>;
  /** Posts jobs in a closed loop for so long. */
  ours: (durationMs: number, more?: Record<string, string>) => Promise<{ seconds: number; jobs: CreatedJob[]; latenciesMs: number[] }>;
  raw: (durationMs: number) => Promise<RawCreated>;
  /** What one job has cost on each side so far. */
  cpu: () => Record<'CPU per job, ours' | 'CPU per job, raw', string>;
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
  const cpu = {
    ours: cpuLedger({ ...almanac.pids, load: load.child.pid }),
    raw: cpuLedger({ ...almanac.pids, client: baseline.child.pid }),
  };
  let batch = 0;
  let stored = 0;

  /** @param most jobs at most. */
  async function post(durationMs: number, most: number, more: Record<string, string> = {}): Promise<HttpLoadResult> {
    const requests = Array.from({ length: most }, (_, index) => ({
      method: 'POST' as const,
      path: '/api/v1/jobs',
      body: JSON.stringify(jobBody(stored + index, 'create')),
    }));
    const headers = { ...almanac.headers, ...more };
    const result = await load.ask({ origin: almanac.origin, headers, requests, connections: CONCURRENCY, durationMs, keepBodies: true });
    onlyStatus('POST /api/v1/jobs', result.statuses, 201, result.bodies);
    stored += result.count;
    return result;
  }

  async function createRaw(durationMs: number, most: number): Promise<RawCreated> {
    batch += 1;
    const crons = Array.from({ length: most }, (_, index) => distantCron(batch * MOST_PER_ROUND + index));
    return await baseline.ask({ prefix: `raw-${batch}`, crons, concurrency: CONCURRENCY, durationMs });
  }

  return {
    almanac,
    warm: async (more) => {
      await post(MOST_WARM_MS, WARM, more);
      await createRaw(MOST_WARM_MS, WARM);
    },
    ours: async (durationMs, more) => {
      const { seconds, latenciesMs, bodies } = await cpu.ours.around(
        () => post(durationMs, MOST_PER_ROUND, more),
        ({ count }) => count,
      );
      return { seconds, latenciesMs, jobs: bodies.map((body) => JSON.parse(body) as CreatedJob) };
    },
    raw: (durationMs) =>
      cpu.raw.around(
        () => createRaw(durationMs, MOST_PER_ROUND),
        ({ count }) => count,
      ),
    cpu: () => ({ 'CPU per job, ours': cpu.ours.perPiece(), 'CPU per job, raw': cpu.raw.perPiece() }),
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

/** Told apart from a miss: after this a row gives up. */
const GIVE_UP_MS = 180_000;

/** Waits until Temporal has all of them, so that the other side does not pay for what ours has put off. Seconds. */
export async function allInTemporal(almanac: Almanac): Promise<number> {
  const from = performance.now();
  await until('all schedules in Temporal', GIVE_UP_MS, async () => (await pendingClocks(almanac)) === 0);
  return (performance.now() - from) / 1_000;
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
