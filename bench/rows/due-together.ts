/** Jobs that are due in the same second and call a receiver of the bench: when their calls arrive, what their rows say, which workflows served them. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { forkHelper } from '../load/helper-process.ts';
import type { HttpLoad, HttpLoadResult } from '../load/http-load.ts';
import type { Almanac } from '../stack/almanac.ts';
import { until } from '../stack/processes.ts';
import { pendingClocks } from './creating.ts';
import { onlyStatus } from './row.ts';

export type DueTogether = {
  due: Date;
  /** Milliseconds after they were due: at the receiver, and as the rows say. */
  received: number[];
  rows: number[];
  /** Until the last row said that it had succeeded, milliseconds after they were due. */
  recordedMs: number;
  workflows: { workflowId: string; runId: string }[];
};
export type Company = { name: string; jobs: number; dispatch: 'dedicated' | 'pooled' };

/** From asking for the jobs to their slot: enough to have all schedules made, and the server at rest again. */
const AHEAD_MS = 30_000;
const REST_MS = 5_000;
const END_MS = 90_000;
const LOOK_EVERY_MS = 10;

export async function openDueTogether(almanac: Almanac) {
  const arrivals = new Map<string, number>();
  const receiver = createServer((request, response) => {
    const job = request.url ?? '';
    if (!arrivals.has(job)) arrivals.set(job, performance.timeOrigin + performance.now());
    response.end('{}');
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const load = forkHelper<HttpLoad, HttpLoadResult>('load/http-load.ts');
  const origin = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;

  /** Stores jobs of one timing, and waits until each has made its call and its row says so. */
  async function run(company: Company): Promise<DueTogether> {
    const due = new Date(Math.ceil((Date.now() + AHEAD_MS) / 1_000) * 1_000);
    arrivals.clear();
    const requests = documentsOf(company, due, origin).map((job) => ({
      method: 'POST' as const,
      path: '/api/v1/jobs',
      body: JSON.stringify(job),
    }));
    const stored = await load.ask({ origin: almanac.origin, headers: almanac.headers, requests, connections: 8, keepBodies: true });
    onlyStatus('POST /api/v1/jobs', stored.statuses, 201, stored.bodies);
    await until('all schedules in Temporal', AHEAD_MS, async () => (await pendingClocks(almanac)) === 0);
    if (Date.now() > due.getTime() - REST_MS) throw new Error(`the schedules were not made ${REST_MS} ms before their slot`);

    const lastMs = due.getTime() + END_MS - Date.now();
    await until('all calls', lastMs, async () => arrivals.size === company.jobs, undefined, LOOK_EVERY_MS);
    await until('all rows', END_MS, async () => (await succeeded(almanac, due)) === company.jobs, undefined, LOOK_EVERY_MS);
    const recordedMs = performance.timeOrigin + performance.now() - due.getTime();
    return { due, received: [...arrivals.values()].map((at) => at - due.getTime()), recordedMs, ...(await rowsOf(almanac, due)) };
  }

  return {
    run,
    close: async () => {
      await load.close();
      receiver.close();
      receiver.closeAllConnections();
    },
  };
}

function documentsOf({ name, jobs, dispatch }: Company, due: Date, receiver: string): object[] {
  const cron = `${due.getUTCSeconds()} ${due.getUTCMinutes()} ${due.getUTCHours()} ${due.getUTCDate()} ${due.getUTCMonth() + 1} *`;
  return Array.from({ length: jobs }, (_, index) => ({
    name: `${name}-${index}`,
    dispatch,
    schedule: { cron, timezone: 'UTC' },
    target: { type: 'http', url: `${receiver}/${name}-${index}`, method: 'POST' },
  }));
}

async function succeeded({ pool }: Almanac, due: Date): Promise<number> {
  const { rows } = await pool.query<{ count: number }>({
    name: 'succeeded-of-slot',
    text: `SELECT count(*)::int AS count FROM job_executions WHERE partition_at = $1 AND slot = $1 AND status = 'succeeded'`,
    values: [due],
  });
  return rows[0]!.count;
}

async function rowsOf({ pool }: Almanac, due: Date): Promise<Pick<DueTogether, 'rows' | 'workflows'>> {
  const { rows } = await pool.query<{ late: number; workflow_id: string; run_id: string }>(
    `SELECT extract(epoch FROM started_at - due_at)::float8 * 1000 AS late, workflow_id, run_id FROM job_executions
      WHERE partition_at = $1 AND slot = $1 AND status = 'succeeded'`,
    [due],
  );
  const workflows = new Map(rows.map(({ workflow_id, run_id }) => [run_id, { workflowId: workflow_id, runId: run_id }]));
  return { rows: rows.map(({ late }) => late), workflows: [...workflows.values()] };
}
