/**
 * Keeps one Postgres and one Temporal for a run of tests, in a folder of its own: tells its parent their addresses, and takes everything
 * away when the parent says so, or is gone, however it went (it is a process apart, so Ctrl-C and kill -9 of the tests do not reach it).
 */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { freePort } from '../../src/embedded/ports.ts';
import { postgresUrl, startPostgres } from '../../src/embedded/postgres.ts';
import { removePostgresPlace } from '../../src/embedded/postgres-place.ts';
import { identityOf, isAlive, type ProcessIdentity } from '../../src/embedded/process-identity.ts';
import { endProcess } from '../../src/embedded/server-process.ts';
import { findTemporal } from '../../src/embedded/temporal-binary.ts';
import { startTemporal } from '../../src/embedded/temporal-server.ts';
import { createLog } from '../../src/log.ts';
import { migrate } from '../../src/migrate.ts';
import { type StackMessage, TEMPLATE } from './stack-messages.ts';

const PREFIX = 'almanac-test-';
const NOTE = 'processes.json';
const environment = { ...process.env };
const servers: ProcessIdentity[] = [];
const stopping = new AbortController();

process.on('disconnect', () => void end(0));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end(0));

removeLeftovers();
const folder = mkdtempSync(path.join(tmpdir(), PREFIX));
// Postgres' own user has to pass through; nobody may look around.
chmodSync(folder, 0o711);
note();

try {
  const [databaseUrl, temporalAddress] = await Promise.all([postgres(), temporal()]);
  tell({ kind: 'ready', databaseUrl, temporalAddress });
} catch (error) {
  tell({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
  await end(1);
}

async function postgres(): Promise<string> {
  const port = await freePort();
  const logFile = path.join(folder, 'postgres.log');
  const server = await startPostgres({ folder, port, logFile, environment, durable: false, signal: stopping.signal });
  servers.push(server.identity);
  note();
  const url = postgresUrl(folder, port, 'postgres');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`CREATE DATABASE ${TEMPLATE}`);
  await client.end();
  await migrate(postgresUrl(folder, port, TEMPLATE), createLog('test', 'warn'));
  return url;
}

async function temporal(): Promise<string> {
  const command = await findTemporal({ environment, progress: (message) => tell({ kind: 'progress', message }), signal: stopping.signal });
  const port = await freePort();
  const server = await startTemporal({
    command,
    port,
    databaseFile: path.join(folder, 'temporal.db'),
    namespace: 'default',
    folder,
    logFile: path.join(folder, 'temporal.log'),
    environment,
    signal: stopping.signal,
  });
  servers.push(server.identity);
  note();
  return `127.0.0.1:${port}`;
}

function tell(message: StackMessage): void {
  if (process.connected) process.send?.(message);
}

/** Nothing here is kept, so nothing has to end gently. */
async function end(code: number): Promise<void> {
  if (stopping.signal.aborted) return;
  stopping.abort();
  await remove(folder, servers);
  process.exit(code);
}

async function remove(of: string, processes: ProcessIdentity[]): Promise<void> {
  await Promise.all(processes.map((identity) => endProcess(identity, [{ signal: 'SIGQUIT', withinMs: 2_000 }])));
  removePostgresPlace(of);
  rmSync(of, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}

function note(): void {
  writeFileSync(path.join(folder, NOTE), JSON.stringify([identityOf(process.pid), ...servers]));
}

/** Folders whose keeper was itself killed: their servers may still run. */
function removeLeftovers(): void {
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(PREFIX)) continue;
    const left = path.join(tmpdir(), name);
    try {
      const [keeper, ...rest] = JSON.parse(readFileSync(path.join(left, NOTE), 'utf8')) as ProcessIdentity[];
      if (keeper && !isAlive(keeper)) void remove(left, rest);
    } catch {
      // Being made, being removed, or not ours.
    }
  }
}
