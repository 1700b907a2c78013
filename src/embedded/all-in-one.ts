/**
 * Everything in one terminal: starts Postgres and Temporal, brings the database up to date, starts API, worker and controller as processes of
 * their own, brings back whatever dies, and stops it all in reverse order. Nothing it did not start is ever stopped.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { adminKey, openHome } from './home.ts';
import { claimInstance, stopOrphans } from './instance.ts';
import { type InstancePorts, instancePorts } from './instance-ports.ts';
import { type Kept, keepRunning } from './keep-running.ts';
import { migration } from './migration.ts';
import { startNodeChild } from './node-child.ts';
import { identityOf } from './process-identity.ts';
import { postgresServer, type Server, type ServerOptions, temporalServer } from './servers.ts';
import { showSummary } from './summary.ts';
import type { Terminal } from './terminal.ts';
import { workflowBundle } from './workflow-bundle.ts';

type NodeName = 'api' | 'worker' | 'controller';
export type Entries = Record<NodeName | 'migrate', string>;

export type AllInOneOptions = {
  config: Config;
  /** The environment that every process gets, with what the supervisor decides on top. */
  environment: NodeJS.ProcessEnv;
  /** The checkout. */
  directory: string;
  terminal: Terminal;
  /** Stops the start while it is under way. */
  signal: AbortSignal;
  /** Entries by path from the checkout; tests put others there. */
  entries?: Entries;
};
export type AllInOne = { apiUrl: string; stop: () => Promise<void> };

const ENTRIES: Entries = {
  migrate: 'src/main-migrate.ts',
  api: 'src/main-api.ts',
  worker: 'src/main-worker.ts',
  controller: 'src/main-controller.ts',
};
/** Young objects get little room in the two that hold few of them; it is memory that a small machine needs elsewhere. */
const NODE_OPTIONS: Record<NodeName, string[]> = {
  api: ['--max-semi-space-size=16'],
  worker: ['--max-semi-space-size=16'],
  controller: ['--max-semi-space-size=4'],
};
const LOOK_AGAIN_MS = 8_000;
const LOOPBACK = '127.0.0.0/8,::1/128';

/**
 * Starts all of it; resolves when API, worker and controller are ready. When the start fails, whatever had started is stopped.
 * @throws InstanceRunningError, PortInUseError, TemporalMissingError, or an Error with the last lines of what did not come up.
 */
export async function startAllInOne(options: AllInOneOptions): Promise<AllInOne> {
  const { config, terminal, signal, directory, environment } = options;
  const startedAt = performance.now();
  const entries = options.entries ?? ENTRIES;
  const home = openHome(config.ALMANAC_HOME);
  const instance = await claimInstance(home, identityOf(process.pid)!, terminal.info);
  const servers: Kept[] = [];
  const processes: Kept[] = [];
  let stopped: Promise<void> | undefined;
  const stop = () => {
    stopped ??= (async () => {
      instance.noteStopping();
      // Those that use the servers drain first, at once; then the servers go, the last one first.
      await Promise.all(processes.map((kept) => kept.stop()));
      for (const kept of servers.toReversed()) await kept.stop();
    })().finally(instance.release);
    return stopped;
  };

  try {
    await stopOrphans(home, terminal.info);
    const ports = await instancePorts(config);
    const key = adminKey(home, config.ALMANAC_BOOTSTRAP_KEY);
    const apiUrl = config.PUBLIC_URL || `http://${reachable(config.HOST)}:${ports.api}`;
    instance.noteUrl(apiUrl);
    terminal.info(`Logs are in ${home.logs}`);

    const serverOptions: ServerOptions = { config, home, instance, ports, environment, terminal, signal };
    const server = async (which: (options: ServerOptions) => Promise<Server>): Promise<Server> => {
      const started = await which(serverOptions);
      if (started.kept) servers.push(started.kept);
      return started;
    };
    const [database, temporal, bundle] = await allOrError([
      server(postgresServer),
      server(temporalServer),
      config.WORKFLOW_BUNDLE || workflowBundle({ directory, cache: home.cache, environment, signal }),
    ]);

    const temporalUiUrl = temporal.kept ? `http://127.0.0.1:${ports.temporalUi}` : config.TEMPORAL_UI_URL;
    const allow = environment.ALMANAC_TARGET_ALLOW ? config.ALMANAC_TARGET_ALLOW.join(',') : LOOPBACK;
    const settings = {
      ...environment,
      DATABASE_URL: database.address,
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_UI_URL: temporalUiUrl,
      ALMANAC_BOOTSTRAP_KEY: key,
      ALMANAC_TARGET_ALLOW: allow,
      ALMANAC_TARGET_DENY: ownAddresses(config, ports, [database.address, temporal.address]).join(','),
      WORKFLOW_BUNDLE: bundle,
      PORT: String(ports.api),
    };
    const migrated = migration({ directory, entry: entries.migrate, environment: settings, noteFile: home.runFile('migrated'), signal });
    if (!migrated.wasDone) await migrated.run();

    const node = async (name: NodeName, own: NodeJS.ProcessEnv): Promise<void> => {
      const start = (until: AbortSignal) =>
        startNodeChild({
          name,
          entry: entries[name],
          nodeOptions: NODE_OPTIONS[name],
          directory,
          environment: { ...settings, ...own },
          logFile: home.logFile(name),
          onLine: (line) => terminal.line(name, line),
          onStart: (identity) => instance.note(name, identity),
          signal: until,
        });
      const kept = await keepRunning({ name: `The ${name}`, start, say: terminal, signal });
      processes.push(kept);
    };
    const ready = allOrError([
      node('api', {}),
      node('worker', { METRICS_PORT: String(ports.worker), WORKER_QUEUES: queues(config, environment) }),
      // What people are told outside must lead back here. The API itself stays relative: it may be looked at by another name.
      node('controller', { METRICS_PORT: String(ports.controller), PUBLIC_URL: apiUrl }),
    ]);
    // This very database was brought up to date by these very migrations before: looking again must not slow down the start. Should the others
    // be waiting for a migration after all, it comes in time.
    if (migrated.wasDone)
      void sooner(ready, LOOK_AGAIN_MS)
        .then(migrated.run)
        .catch((error: Error) => signal.aborted || terminal.warn(error.message));
    await ready;
    signal.throwIfAborted();
    showSummary(terminal, {
      apiUrl,
      temporalUiUrl,
      keyFile: home.keyFile,
      key,
      logs: home.logs,
      home: home.folder,
      allow,
      startedInMs: Math.round(performance.now() - startedAt),
    });
    return { apiUrl, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Resolves when the work is done or has failed, or after so many milliseconds. */
async function sooner(work: Promise<unknown>, withinMs: number): Promise<void> {
  const settled = new AbortController();
  await Promise.race([work.catch(() => {}), sleep(withinMs, undefined, { signal: settled.signal }).catch(() => {})]);
  settled.abort();
}

/** Waits for all, also when one fails: whatever came up after all must be known, to be stopped. */
async function allOrError<T extends readonly unknown[]>(work: T): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  const results = await Promise.allSettled(work);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as { -readonly [K in keyof T]: Awaited<T[K]> };
}

const reachable = (host: string): string => {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
};

/** host:port of everything that is Almanac's own, beside what the user denies. */
function ownAddresses(config: Config, ports: InstancePorts, servers: string[]): string[] {
  const own = Object.values(ports)
    .filter((port) => port > 0)
    .map((port) => `127.0.0.1:${port}`);
  const given = servers.map((address) => {
    const url = new URL(address.includes('://') ? address : `tcp://${address}`);
    return `${url.hostname}:${url.port || 5432}`;
  });
  return [...new Set([...config.ALMANAC_TARGET_DENY, ...own, ...given])];
}

/** One worker here serves every queue that a category is sent to, unless the user has chosen. */
function queues(config: Config, environment: NodeJS.ProcessEnv): string {
  if (environment.WORKER_QUEUES) return environment.WORKER_QUEUES;
  return [...new Set(['default', ...config.CATEGORY_QUEUES.map((pair) => pair.split('=')[1] ?? 'default')])].join(',');
}
