/** `lateness`: 300 jobs whose crons are due in the same second; how late their calls arrive at the receiver, and how late their rows say they began. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { forkHelper } from '../load/helper-process.ts';
import type { HttpLoad, HttpLoadResult } from '../load/http-load.ts';
import { percentile, readingsOf } from '../rounds.ts';
import { type Almanac, startAlmanac } from '../stack/almanac.ts';
import { until } from '../stack/processes.ts';
import { pendingClocks } from './creating.ts';
import { onlyStatus, type Row } from './row.ts';

const JOBS = 300;
/** From asking for the jobs to their slot: enough to have all schedules made, and the server at rest again. */
const AHEAD_MS = 30_000;
const REST_MS = 5_000;
const END_MS = 90_000;

export const lateness: Row = async ({ servers, folder, rounds, say }) => {
  const almanac = await startAlmanac(await servers(), 'lateness', folder, ['api', 'worker', 'controller']);
  const arrivals = new Map<string, number>();
  const receiver = createServer((request, response) => {
    const job = request.url ?? '';
    if (!arrivals.has(job)) arrivals.set(job, performance.timeOrigin + performance.now());
    response.end('{}');
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const load = forkHelper<HttpLoad, HttpLoadResult>('load/http-load.ts');
  const seen: { received: number[]; rows: number[] }[] = [];
  try {
    const origin = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
    // One after another: there is nothing to take turns with.
    for (let round = 0; round < Math.min(rounds, 3); round += 1) {
      const due = new Date(Math.ceil((Date.now() + AHEAD_MS) / 1_000) * 1_000);
      say(`round ${round + 1}: ${JOBS} jobs due at ${due.toISOString()}`);
      arrivals.clear();
      await storeDueJobs(almanac, load, origin, due, round);
      if (Date.now() > due.getTime() - REST_MS) throw new Error(`the schedules were not made ${REST_MS} ms before their slot`);
      await until('all calls', END_MS + AHEAD_MS, async () => arrivals.size === JOBS);
      const rows = await latenessInRows(almanac, due);
      seen.push({ received: [...arrivals.values()].map((at) => at - due.getTime()), rows });
    }
  } finally {
    await load.close();
    receiver.close();
    receiver.closeAllConnections();
    await almanac.close();
  }
  const line = (what: string, share: number, of: 'received' | 'rows') => ({
    what,
    unit: 'ms',
    ours: readingsOf(seen.map((round) => percentile(round[of], share))),
  });
  return {
    lines: [
      line('worst, at the receiver', 1, 'received'),
      line('p99, at the receiver', 0.99, 'received'),
      line('p50, at the receiver', 0.5, 'received'),
      line('worst, from the rows', 1, 'rows'),
      line('p99, from the rows', 0.99, 'rows'),
    ],
    facts: { jobs: JOBS, rounds: seen.length },
  };
};

async function storeDueJobs(
  almanac: Almanac,
  load: { ask: (load: HttpLoad) => Promise<HttpLoadResult> },
  receiver: string,
  due: Date,
  round: number,
): Promise<void> {
  const cron = `${due.getUTCSeconds()} ${due.getUTCMinutes()} ${due.getUTCHours()} ${due.getUTCDate()} ${due.getUTCMonth() + 1} *`;
  const requests = Array.from({ length: JOBS }, (_, index) => ({
    method: 'POST' as const,
    path: '/api/v1/jobs',
    body: JSON.stringify({
      name: `due-${round}-${index}`,
      schedule: { cron, timezone: 'UTC' },
      target: { type: 'http', url: `${receiver}/${round}-${index}`, method: 'POST' },
    }),
  }));
  const result = await load.ask({ origin: almanac.origin, headers: almanac.headers, requests, connections: 8 });
  onlyStatus('POST /api/v1/jobs', result.statuses, 201, result.bodies);
  await until('all schedules in Temporal', AHEAD_MS, async () => (await pendingClocks(almanac)) === 0);
}

async function latenessInRows({ pool }: Almanac, due: Date): Promise<number[]> {
  let late: number[] = [];
  await until('all rows terminal', END_MS, async () => {
    const { rows } = await pool.query<{ late: number }>(
      `SELECT extract(epoch FROM started_at - due_at)::float8 * 1000 AS late FROM job_executions WHERE slot = $1 AND status = 'succeeded'`,
      [due],
    );
    late = rows.map((row) => row.late);
    return late.length === JOBS;
  });
  return late;
}
