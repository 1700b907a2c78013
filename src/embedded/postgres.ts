/** A real Postgres of our own: binaries from npm, data in a folder of ours, on loopback alone, with a random password. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, readdirSync, readFileSync, readlinkSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type PostgresPlace, postgresPlace } from './postgres-place.ts';
import { identityOf } from './process-identity.ts';
import { logTail, type Running, type ServerCommand, type Step, startServerProcess } from './server-process.ts';

export type PostgresOptions = {
  /** Folder of the instance; the data lies in it (or where `postgresPlace` says). */
  folder: string;
  port: number;
  logFile: string;
  environment: NodeJS.ProcessEnv;
  /** False for data that is thrown away: no fsync. */
  durable: boolean;
  signal?: AbortSignal;
  onStart?: ServerCommand['onStart'];
};
export type EmbeddedPostgres = Running & { url: string };

const ROLE = 'almanac';
const READY_WITHIN_MS = 60_000;
const ORPHANS_WITHIN_MS = 10_000;
/** SIGINT is the fast shutdown (clients are thrown out, data is written), SIGQUIT the one that recovers at the next start. */
export const POSTGRES_STOP: Step[] = [
  { signal: 'SIGINT', withinMs: 15_000 },
  { signal: 'SIGQUIT', withinMs: 5_000 },
];

/** Address of a database on the server with this folder. Makes the password at the first call. */
export function postgresUrl(folder: string, port: number, database = 'almanac'): string {
  return `postgres://${ROLE}:${password(folder)}@127.0.0.1:${port}/${database}`;
}

/**
 * Starts the server, making its data and the database `almanac` when there are none; resolves when it answers.
 * @throws Error with the end of its log when it does not come up.
 */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const place = postgresPlace(options.folder);
  const data = path.join(place.files, 'data');
  if (!existsSync(data)) await initialise(place, data, options);
  await forgetStrangersPid(data);
  const running = await startServerProcess({
    command: path.join(place.binaries, 'bin/postgres'),
    args: ['-D', data, ...settings(options)],
    directory: place.files,
    environment: options.environment,
    logFile: options.logFile,
    user: place.user,
    stopSteps: POSTGRES_STOP,
    onStart: options.onStart,
  });
  try {
    await answering(running, options);
  } catch (error) {
    await running.stop();
    throw error;
  }
  return { ...running, url: postgresUrl(options.folder, options.port) };
}

function password(folder: string): string {
  const file = path.join(folder, 'postgres-password');
  if (!existsSync(file)) writeFileSync(file, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600 });
  return readFileSync(file, 'utf8').trim();
}

/** Small, for one machine that does other things too; everything that keeps data safe stays on unless the data is thrown away. */
function settings({ port, durable }: PostgresOptions): string[] {
  const given: Record<string, string | number> = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: 200,
    shared_buffers: '64MB',
    // Buffered reads by the backends themselves: saves the three helper processes of the default.
    io_method: 'sync',
    wal_level: 'minimal',
    max_wal_senders: 0,
    max_wal_size: '512MB',
    max_parallel_workers_per_gather: 0,
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] %a ',
    ...(durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: 400 }),
  };
  return Object.entries(given).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** Makes the data directory beside its place and moves it there, so that one cut short is never taken for a whole one. */
async function initialise(place: PostgresPlace, data: string, options: PostgresOptions): Promise<void> {
  for (const entry of readdirSync(place.files)) {
    if (entry.startsWith('data.unfinished')) rmSync(path.join(place.files, entry), { recursive: true, force: true });
  }
  const unfinished = `${data}.unfinished`;
  const passwordFile = path.join(place.files, 'password');
  writeFileSync(passwordFile, password(options.folder), { mode: 0o600 });
  if (place.user) chownSync(passwordFile, place.user.uid, place.user.gid);
  const args = [
    `--pgdata=${unfinished}`,
    `--username=${ROLE}`,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    ...(options.durable ? [] : ['--no-sync']),
  ];
  try {
    const child = spawn(path.join(place.binaries, 'bin/initdb'), args, {
      cwd: place.files,
      env: options.environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      ...place.user,
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += chunk));
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (code !== 0) throw new Error(`Postgres' data could not be made (initdb ended with ${code}):\n${said.trim()}`);
  } finally {
    rmSync(passwordFile, { force: true });
  }
  renameSync(unfinished, data);
}

/**
 * After a kill -9 the pid in postmaster.pid may be a zombie that nobody collects (a container without an init), or belong to somebody else by now;
 * Postgres would refuse to start because of it. The file goes once nobody works in the data directory: backends outlive their postmaster by a moment.
 */
async function forgetStrangersPid(data: string): Promise<void> {
  const file = path.join(data, 'postmaster.pid');
  if (process.platform !== 'linux' || !existsSync(file)) return;
  for (const until = Date.now() + ORPHANS_WITHIN_MS; processesIn(data).length > 0; await sleep(50)) {
    if (Date.now() > until) throw new Error(`Another Postgres (process ${processesIn(data).join(', ')}) works in ${data}. Stop it first.`);
  }
  rmSync(file, { force: true });
}

/** Every process of a Postgres has the data directory as its working directory. */
function processesIn(folder: string): number[] {
  const real = realpathSync(folder);
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        return pid > 0 && readlinkSync(`/proc/${pid}/cwd`) === real && identityOf(pid) !== null;
      } catch {
        // Gone, a zombie, or another user's.
        return false;
      }
    });
}

/** Waits until the server takes statements, and makes the database. */
async function answering(running: Running, options: PostgresOptions): Promise<void> {
  let gone: string | undefined;
  void running.ended.then((how) => {
    gone = how;
  });
  let last: unknown;
  for (const until = Date.now() + READY_WITHIN_MS; Date.now() < until && gone === undefined; await sleep(50)) {
    options.signal?.throwIfAborted();
    const client = new pg.Client({
      connectionString: postgresUrl(options.folder, options.port, 'postgres'),
      connectionTimeoutMillis: 2_000,
    });
    client.on('error', () => {});
    try {
      await client.connect();
      const there = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [ROLE]);
      if (there.rowCount === 0) await client.query(`CREATE DATABASE ${ROLE}`);
      return;
    } catch (error) {
      last = error;
    } finally {
      await client.end().catch(() => {});
    }
  }
  const why = gone ? `it ended with ${gone}` : `it does not answer (${last instanceof Error ? last.message : last})`;
  throw new Error(`Postgres did not come up: ${why}. The end of ${options.logFile}:\n${await logTail(options.logFile)}`);
}
