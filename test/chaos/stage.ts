/** Everything that can be killed: Postgres, Temporal and copies of our own processes, each restartable on the same port and data. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../src/embedded/ports.ts';
import { postgresUrl, startPostgres } from '../../src/embedded/postgres.ts';
import { removePostgresPlace } from '../../src/embedded/postgres-place.ts';
import { run } from '../../src/embedded/run.ts';
import { findTemporal } from '../../src/embedded/temporal-binary.ts';
import { startTemporal } from '../../src/embedded/temporal-server.ts';
import { createLog } from '../../src/log.ts';
import { migrate } from '../../src/migrate.ts';
import { type LogLine, startProcess } from '../support/processes.ts';

export const ADMIN_KEY = 'the-admin-key-of-the-chaos-0123456789';
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** One thing that can be killed and started again. */
export type Player = {
  name: string;
  kill: () => Promise<void>;
  start: () => Promise<void>;
  stop: () => Promise<void>;
  /** Log lines of all its lives. */
  lines: () => LogLine[];
};
export type Kind = 'api' | 'worker' | 'controller' | 'temporal' | 'postgres';
export type Stage = {
  players: Record<Kind, Player[]>;
  apiUrls: string[];
  databaseUrl: string;
  temporalAddress: string;
  folder: string;
  close: () => Promise<void>;
};

/** A started server of any kind, as far as killing it goes. */
type Life = { pid: number; stop: () => Promise<unknown>; ended: Promise<unknown>; lines: LogLine[] };

const alive = new Set<number>();
process.on('exit', () => {
  for (const pid of alive) killQuietly(pid);
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has gone.
  }
}

function createPlayer(name: string, live: () => Promise<Life>): Player {
  let life: Life | undefined;
  const past: LogLine[] = [];
  const end = async (how: (life: Life) => unknown) => {
    if (!life) return;
    const ending = life;
    life = undefined;
    await how(ending);
    await ending.ended;
    alive.delete(ending.pid);
    past.push(...ending.lines);
  };
  return {
    name,
    kill: () => end(({ pid }) => killQuietly(pid)),
    stop: () => end(({ stop }) => stop()),
    async start() {
      life = await live();
      alive.add(life.pid);
    },
    lines: () => [...past, ...(life?.lines ?? [])],
  };
}

/** Starts all of it: two copies of each of our processes on one Postgres (durable) and one Temporal (database file). */
export async function openStage(environment: NodeJS.ProcessEnv, copies = 2): Promise<Stage> {
  const folder = mkdtempSync(path.join(tmpdir(), 'almanac-chaos-'));
  chmodSync(folder, 0o711); // Postgres' own user has to pass through
  const [postgresPort, temporalPort] = [await freePort(), await freePort()];
  const command = await findTemporal({ environment, progress: (sentence) => console.error(sentence) });
  const workflowBundle = path.join(folder, 'workflows.js');
  const bundling = run(process.execPath, [path.join(ROOT, 'scripts/bundle-workflows.ts'), workflowBundle], {
    environment,
    withinMs: 120_000,
  });

  const postgres = createPlayer('postgres', async () => {
    const logFile = path.join(folder, 'postgres.log');
    const running = await startPostgres({ folder, port: postgresPort, logFile, environment, durable: true });
    return { pid: running.identity.pid, stop: running.stop, ended: running.ended, lines: [] };
  });
  const temporal = createPlayer('temporal', async () => {
    const running = await startTemporal({
      command,
      port: temporalPort,
      databaseFile: path.join(folder, 'temporal.db'),
      namespace: 'default',
      folder,
      logFile: path.join(folder, 'temporal.log'),
      environment,
    });
    return { pid: running.identity.pid, stop: running.stop, ended: running.ended, lines: [] };
  });
  await Promise.all([postgres.start(), temporal.start(), bundling]);
  const databaseUrl = postgresUrl(folder, postgresPort);
  await migrate(databaseUrl, createLog('chaos', 'warn'));

  const temporalAddress = `127.0.0.1:${temporalPort}`;
  const settings = {
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: temporalAddress,
    ALMANAC_BOOTSTRAP_KEY: ADMIN_KEY,
    ALMANAC_TARGET_ALLOW: '127.0.0.0/8',
    RATE_LIMIT_PER_SECOND: '0',
    WORKFLOW_BUNDLE: workflowBundle,
    SWEEP_INTERVAL_S: '10',
  };
  const ours = (entry: string, extra: Record<string, string> = {}, name = entry) =>
    createPlayer(name, () => startProcess(entry, { ...settings, ...extra }));
  const numbers = Array.from({ length: copies }, (_, index) => index + 1);
  const ports = await Promise.all(numbers.map(() => freePort()));
  const players = {
    api: numbers.map((n) => ours('api', { PORT: String(ports[n - 1]) }, `api ${n}`)),
    worker: numbers.map((n) => ours('worker', {}, `worker ${n}`)),
    controller: numbers.map((n) => ours('controller', {}, `controller ${n}`)),
    temporal: [temporal],
    postgres: [postgres],
  };
  const all = [...players.api, ...players.worker, ...players.controller];
  await Promise.all(all.map((player) => player.start()));
  return {
    players,
    apiUrls: ports.map((port) => `http://127.0.0.1:${port}`),
    databaseUrl,
    temporalAddress,
    folder,
    async close() {
      await Promise.all(all.map((player) => player.stop()));
      await Promise.all([postgres.stop(), temporal.stop()]);
      removePostgresPlace(folder);
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}
