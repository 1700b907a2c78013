/** Almanac's own processes as they are shipped (authentication, validation, limits and logs on), on a database and a namespace of the bench's own. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { freePort } from '../../src/embedded/ports.ts';
import { type Process, startProcess, until } from './processes.ts';
import type { Servers } from './servers.ts';

/** Raised so that one address may send all the load; the limiter itself stays in the way of every request. */
export const RAISED_RATE_LIMIT_PER_S = 1_000_000;
export const KEY = 'a-key-of-the-bench-with-enough-characters';
const READY_MS = 60_000;
const source = (file: string) => fileURLToPath(new URL(`../../src/${file}`, import.meta.url));

export type Role = 'api' | 'worker' | 'controller';
export type Almanac = {
  origin: string;
  headers: Record<string, string>;
  databaseUrl: string;
  namespace: string;
  temporalAddress: string;
  pool: pg.Pool;
  client: Client;
  /** What a baseline needs to know of the same servers. */
  env: Record<string, string>;
  /** Sends JSON, answers JSON. @throws for a status of 400 and above. */
  call: <T>(method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<T>;
  processes: Record<Role, Process | undefined>;
  /** Kills a process (-9) and starts it again; not waited for. */
  restart: (role: Role) => void;
  /** Of everything that works for Almanac: its processes, and the servers where they are the bench's own. */
  pids: Record<Role | 'postgres' | 'temporal', number | undefined>;
  close: () => Promise<void>;
};

/** Migrates a fresh place, starts the processes and waits until the API is ready and the worker polls. */
export async function startAlmanac(servers: Servers, name: string, folder: string, roles: readonly Role[]): Promise<Almanac> {
  const { databaseUrl, namespace } = await servers.place(name);
  const logs = join(folder, name);
  mkdirSync(logs, { recursive: true });
  const port = await freePort();
  const env = { DATABASE_URL: databaseUrl, TEMPORAL_ADDRESS: servers.temporalAddress, TEMPORAL_NAMESPACE: namespace };
  const settings: NodeJS.ProcessEnv = {
    ...unset(process.env),
    ...env,
    PORT: String(port),
    ALMANAC_BOOTSTRAP_KEY: KEY,
    ALMANAC_HANDLERS: fileURLToPath(new URL('../handlers', import.meta.url)),
    ALMANAC_TARGET_ALLOW: '127.0.0.1/32',
    RATE_LIMIT_PER_SECOND: String(RAISED_RATE_LIMIT_PER_S),
  };
  const start = (role: string) =>
    startProcess(
      `${name} ${role}`,
      process.execPath,
      [...profiling(role, logs), source(`main-${role}.ts`)],
      join(logs, `${role}.log`),
      settings,
    );

  await migrate(start('migrate'));
  const processes: Record<Role, Process | undefined> = { api: undefined, worker: undefined, controller: undefined };
  for (const role of roles) processes[role] = start(role);

  const origin = `http://127.0.0.1:${port}`;
  const headers = { authorization: `Bearer ${KEY}`, 'accept-encoding': 'gzip' };
  const connection = await Connection.connect({ address: servers.temporalAddress });
  const client = new Client({ connection, namespace });
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 4 });
  pool.on('error', () => {});
  if (processes.api) await until(`${name}: the API`, READY_MS, async () => (await fetch(`${origin}/health/ready`)).ok, processes.api);
  if (processes.worker)
    await until(`${name}: the worker`, READY_MS, () => polls(client, namespace, 'almanac-default:pools'), processes.worker);

  return {
    origin,
    headers,
    databaseUrl,
    namespace,
    temporalAddress: servers.temporalAddress,
    pool,
    client,
    env,
    processes,
    pids: {
      api: processes.api?.child.pid,
      worker: processes.worker?.child.pid,
      controller: processes.controller?.child.pid,
      postgres: servers.pids.postgres,
      temporal: servers.pids.temporal,
    },
    restart: (role) => {
      processes[role]?.expectEnd();
      processes[role]?.child.kill('SIGKILL');
      processes[role] = start(role);
    },
    call: (method, path, body, more) => call(origin, { ...headers, ...more }, method, path, body),
    close: async () => {
      for (const role of ['api', 'worker', 'controller'] as const) await processes[role]?.stop();
      await pool.end();
      await connection.close();
    },
  };
}

/** Settings of the person's own environment must not change what is measured. */
const unset = (environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => !/^(ALMANAC_|WORKER_|RATE_LIMIT_|PORT$|HOST$)/.test(name)));

/** `BENCH_PROFILE=api` (or worker, controller) writes a CPU profile of that process beside its log. */
const profiling = (role: string, folder: string): string[] =>
  process.env.BENCH_PROFILE === role ? ['--cpu-prof', '--cpu-prof-dir', folder] : [];

async function migrate(migration: Process): Promise<void> {
  migration.expectEnd();
  await until('the migrations', READY_MS, async () => !migration.alive());
  if (migration.child.exitCode !== 0) throw new Error(`the migrations failed; see ${migration.logFile}`);
}

/** True when a worker polls the queue for workflow tasks. */
export async function polls(client: Client, namespace: string, queue: string): Promise<boolean> {
  const { pollers } = await client.workflowService.describeTaskQueue({ namespace, taskQueue: { name: queue }, taskQueueType: 1 });
  return pollers.length > 0;
}

export async function call<T>(origin: string, headers: Record<string, string>, method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(`${origin}${path}`, {
    method,
    headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 500)}`);
  return (text === '' ? undefined : JSON.parse(text)) as T;
}
