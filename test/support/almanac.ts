/** A whole Almanac for tests from the outside: its processes on real servers, a client for each API process, and direct lines to look behind. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { readConfig } from '../../src/config.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { createTemporalClient } from '../../src/temporal.ts';
import { type ApiClient, type Body, createApiClient } from './client.ts';
import { type AlmanacProcess, startProcess } from './processes.ts';
import { createTestDatabase, createTestNamespace } from './stack.ts';

export type AlmanacOptions = {
  apis?: number;
  workers?: number;
  controllers?: number;
  settings?: Record<string, string>;
  /** Servers of the test's own instead of a database and a namespace on the run's servers. */
  servers?: { databaseUrl: string; temporalAddress: string };
};
export type Almanac = {
  /** The first API process' client. */
  api: ApiClient;
  apis: ApiClient[];
  processes: { api: AlmanacProcess[]; worker: AlmanacProcess[]; controller: AlmanacProcess[] };
  pool: Pool;
  temporal: Client;
  settings: Record<string, string>;
  start: (entry: 'api' | 'worker' | 'controller', settings?: Record<string, string>) => Promise<AlmanacProcess>;
  clientOf: (process: AlmanacProcess) => ApiClient;
  /** The execution when it has ended. */
  finished: (job: string, execution: string, withinMs?: number) => Promise<Body>;
  close: () => Promise<void>;
};

const ENOUGH_MS = 30_000;

/** Starts the processes; resolves when all are ready. */
export async function startAlmanac(options: AlmanacOptions = {}): Promise<Almanac> {
  const { apis = 1, workers = 1, controllers = 1 } = options;
  const key = randomBytes(24).toString('hex');
  const database = options.servers ? null : await createTestDatabase();
  const namespace = options.servers ? null : await createTestNamespace();
  const settings: Record<string, string> = {
    DATABASE_URL: options.servers?.databaseUrl ?? database!.url,
    TEMPORAL_ADDRESS: options.servers?.temporalAddress ?? namespace!.address,
    TEMPORAL_NAMESPACE: namespace?.name ?? 'default',
    ALMANAC_BOOTSTRAP_KEY: key,
    ALMANAC_TARGET_ALLOW: '127.0.0.0/8',
    PORT: '0',
    RATE_LIMIT_PER_SECOND: '0',
    DATABASE_POOL: '10',
    ...options.settings,
  };
  const config = readConfig(settings);
  const pool = createPool({ ...config, DATABASE_POOL: 4 }, createLog('test', 'silent'), 'test');
  const temporal = createTemporalClient(config);
  const processes: Almanac['processes'] = { api: [], worker: [], controller: [] };
  const start: Almanac['start'] = async (entry, more = {}) => {
    const started = await startProcess(entry, { ...settings, ...more });
    processes[entry].push(started);
    return started;
  };
  const close = async () => {
    await Promise.all(
      Object.values(processes)
        .flat()
        .map((one) => one.stop()),
    );
    // The run's Temporal serves other files too: nothing of this one may go on firing there.
    if (namespace)
      for await (const { scheduleId } of temporal.schedule.list())
        await temporal.schedule
          .getHandle(scheduleId)
          .delete()
          .catch(() => {});
    await temporal.connection.close();
    await pool.end();
    await database?.drop();
  };
  const clientOf = (process: AlmanacProcess) => {
    const { port } = process.lines.find((line) => line.msg === 'ready')!;
    return createApiClient(`http://127.0.0.1:${port}`, key);
  };
  try {
    const copies = (entry: 'api' | 'worker' | 'controller', count: number) => Array.from({ length: count }, () => start(entry));
    // All of them, whatever becomes of one: who is not waited for could not be stopped.
    const started = await Promise.allSettled([...copies('api', apis), ...copies('worker', workers), ...copies('controller', controllers)]);
    for (const one of started) if (one.status === 'rejected') throw one.reason;
  } catch (error) {
    await close();
    throw error;
  }
  const clients = processes.api.map(clientOf);
  const finished: Almanac['finished'] = (job, execution, withinMs = ENOUGH_MS) =>
    until(
      `execution ${execution} ends`,
      async () => {
        const { body } = await clients[0]!.get(`/executions/${job}/${execution}`);
        return body?.finishedAt ? body : undefined;
      },
      withinMs,
    );
  return { api: clients[0]!, apis: clients, processes, pool, temporal, settings, start, clientOf, finished, close };
}

/** Asks until there is an answer other than undefined or false; what it waits for is said when it does not come. */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  withinMs = ENOUGH_MS,
): Promise<T> {
  for (const deadline = Date.now() + withinMs; ; await sleep(100)) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`after ${withinMs} ms still not true: ${what}`);
  }
}
