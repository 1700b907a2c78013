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
import type { Random } from './random.ts';

export const ADMIN_KEY = 'the-admin-key-of-the-chaos-0123456789';
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export type Kind = 'api' | 'worker' | 'controller' | 'temporal' | 'postgres';
export const KINDS: readonly Kind[] = ['api', 'worker', 'controller', 'temporal', 'postgres'];
/** What may be killed: one kind of process, both servers under our living processes, everything at once, or the supervisor of `npm start`. */
export type What = Kind | 'servers' | 'everything' | 'supervisor';

/** One kill to come: whom it strikes, and how that comes back. */
export type Strike = {
  name: string;
  /** Kinds of processes that die of it. */
  kinds: readonly Kind[];
  /** True: they do not die at once, but at some time until all is back. */
  slowly: boolean;
  kill: () => Promise<unknown>;
  bringBack: () => Promise<unknown>;
};
export type Stage = {
  /** What can be killed here. */
  whats: readonly What[];
  strike: (what: What, random: Random) => Strike;
  apiUrls: string[];
  databaseUrl: string;
  temporalAddress: string;
  folder: string;
  /** What our processes logged as an error, and what they wrote past their log. */
  errors: () => string[];
  close: () => Promise<void>;
};

/** One process that can be killed and started again. */
type Player = {
  name: string;
  kill: () => Promise<void>;
  start: () => Promise<void>;
  stop: () => Promise<void>;
  /** Log lines of all its lives. */
  lines: () => LogLine[];
};

/** A started server of any kind, as far as killing it goes. */
type Life = { pid: number; stop: () => Promise<unknown>; ended: Promise<unknown>; lines: LogLine[] };

/** Pids of what must not outlive this process. */
export const alive = new Set<number>();
/** Folders that must not either. */
const folders = new Set<string>();
process.on('exit', () => {
  for (const pid of alive) killQuietly(pid);
  for (const folder of folders) removeFolder(folder);
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));

/** A folder for a stage, that Postgres' own user can pass through. */
export function makeFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'almanac-chaos-'));
  chmodSync(folder, 0o711);
  folders.add(folder);
  return folder;
}

export function removeFolder(folder: string): void {
  removePostgresPlace(folder);
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  folders.delete(folder);
}

export function killQuietly(pid: number): void {
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
  const folder = makeFolder();
  const [postgresPort, temporalPort] = [await freePort(), await freePort()];
  const command = await findTemporal({ environment, progress: (sentence) => console.error(sentence) });
  const workflowBundle = path.join(folder, 'workflows.js');
  const bundling = run(process.execPath, [path.join(ROOT, 'scripts/bundle-workflows.ts'), workflowBundle], {
    environment,
    withinMs: 120_000,
  });

  const onStart = ({ pid }: { pid: number }) => void alive.add(pid);
  const postgres = createPlayer('postgres', async () => {
    const logFile = path.join(folder, 'postgres.log');
    const running = await startPostgres({ folder, port: postgresPort, logFile, environment, durable: true, onStart });
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
      onStart,
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
  const players: Record<Kind, Player[]> = {
    api: numbers.map((n) => ours('api', { PORT: String(ports[n - 1]) }, `api ${n}`)),
    worker: numbers.map((n) => ours('worker', {}, `worker ${n}`)),
    controller: numbers.map((n) => ours('controller', {}, `controller ${n}`)),
    temporal: [temporal],
    postgres: [postgres],
  };
  const all = Object.values(players).flat();
  const own = all.filter((player) => player !== postgres && player !== temporal);
  await Promise.all(own.map((player) => player.start()));
  return {
    whats: [...KINDS, 'servers', 'everything'],
    strike(what, random) {
      if (what === 'supervisor') throw new Error('there is no supervisor here');
      const servers: Kind[] = ['temporal', 'postgres'];
      const kinds = what === 'everything' ? KINDS : what === 'servers' ? servers : [what];
      const copies = kinds.flatMap((kind) => players[kind]);
      const victims = kinds.length > 1 || random.chance(0.5) ? copies : [random.pick(copies)];
      return {
        name: what === 'everything' ? what : victims.map((player) => player.name).join(' + '),
        kinds,
        slowly: false,
        kill: () => Promise.all(victims.map((player) => player.kill())),
        bringBack: () => Promise.all(victims.map((player) => player.start())),
      };
    },
    apiUrls: ports.map((port) => `http://127.0.0.1:${port}`),
    databaseUrl,
    temporalAddress,
    folder,
    errors: () => own.flatMap((player) => errorsAmong(player.name, player.lines())),
    async close() {
      await Promise.all(own.map((player) => player.stop()));
      await Promise.all([postgres.stop(), temporal.stop()]);
      removeFolder(folder);
    },
  };
}

/** Lines of level error and above, and those past the log; the SDK's core writes its warnings there. */
export function errorsAmong(name: string, lines: LogLine[]): string[] {
  const wrong = lines.filter(
    (line) => ['error', 'fatal'].includes(String(line.level)) || (line.level === undefined && !/(WARN|INFO)/.test(String(line.msg))),
  );
  return wrong.map((line) => `${name}: ${JSON.stringify(line).slice(0, 600)}`);
}
