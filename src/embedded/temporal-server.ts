/** Temporal's development server as ours: a database file, on loopback alone, its log in a file. */
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from './run.ts';
import { logTail, type Running, type ServerCommand, type Step, startServerProcess } from './server-process.ts';

export type TemporalOptions = {
  /** The `temporal` command. */
  command: string;
  port: number;
  /** Port of the Web UI; absent means none. */
  uiPort?: number;
  /** SQLite file that keeps everything; absent means memory alone. */
  databaseFile?: string;
  namespace: string;
  /** Folder it runs in. */
  folder: string;
  logFile: string;
  environment: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  onStart?: ServerCommand['onStart'];
};

export const TEMPORAL_STOP: Step[] = [{ signal: 'SIGTERM', withinMs: 8_000 }];
const READY_WITHIN_MS = 60_000;
/** How long Temporal keeps closed workflows. Our rows are kept longer; this is how long live detail can be seen. */
const RETENTION = '7d';

/** The same values as deploy/temporal/dynamicconfig.yaml: the defaults allow 30 scheduled starts and 10 list calls a second, strand tasks of a burst for seconds, and read the search attributes at every call. */
const DYNAMIC_CONFIG: Record<string, unknown> = {
  'worker.schedulerNamespaceStartWorkflowRPS': 500,
  'worker.perNamespaceWorkerCount': 2,
  'worker.perNamespaceWorkerOptions': { MaxConcurrentWorkflowTaskPollers: 10, MaxConcurrentActivityTaskPollers: 4 },
  'frontend.namespaceRPS.visibility': 100,
  'worker.persistenceMaxQPS': 3000,
  'matching.numTaskqueueWritePartitions': 1,
  'matching.numTaskqueueReadPartitions': 1,
  'system.enableActivityEagerExecution': true,
  'system.forceSearchAttributesCacheRefreshOnRead': false,
};

/**
 * Starts it; resolves when the namespace answers and keeps its workflows for seven days.
 * @throws Error with the end of its log when it does not come up.
 */
export async function startTemporal(options: TemporalOptions): Promise<Running> {
  const running = await startServerProcess({
    command: options.command,
    args: serverArguments(options),
    directory: options.folder,
    // no GOMEMLIMIT of ours: every schedule is about 100 kB of its heap, and near a limit it does little but collect garbage
    environment: options.environment,
    logFile: options.logFile,
    stopSteps: TEMPORAL_STOP,
    onStart: options.onStart,
  });
  try {
    await answering(running, options);
  } catch (error) {
    await running.stop();
    throw error;
  }
  return running;
}

/** What the `temporal` command is given. */
export function serverArguments(options: Pick<TemporalOptions, 'port' | 'uiPort' | 'databaseFile' | 'namespace'>): string[] {
  return [
    ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(options.port)],
    ...(options.uiPort === undefined ? ['--headless'] : ['--ui-ip', '127.0.0.1', '--ui-port', String(options.uiPort)]),
    ...(options.namespace === 'default' ? [] : ['--namespace', options.namespace]),
    ...(options.databaseFile
      ? ['--db-filename', options.databaseFile, '--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL']
      : []),
    ...['--log-level', 'warn', '--log-format', 'json'],
    ...Object.entries(DYNAMIC_CONFIG).flatMap(([key, value]) => ['--dynamic-config-value', `${key}=${JSON.stringify(value)}`]),
  ];
}

async function answering(running: Running, options: TemporalOptions): Promise<void> {
  let gone: string | undefined;
  void running.ended.then((how) => {
    gone = how;
  });
  // No answer of the machine's own settings for the command (an address, TLS, a profile) may lead it to another server.
  const environment = Object.fromEntries(Object.entries(options.environment).filter(([name]) => !name.startsWith('TEMPORAL_')));
  const args = [
    'operator',
    'namespace',
    'update',
    '--address',
    `127.0.0.1:${options.port}`,
    '-n',
    options.namespace,
    '--retention',
    RETENTION,
  ];
  let last = '';
  for (const until = Date.now() + READY_WITHIN_MS; Date.now() < until && gone === undefined; await sleep(50)) {
    options.signal?.throwIfAborted();
    try {
      await run(options.command, args, { environment, withinMs: 10_000 });
      return;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
  }
  throw new Error(
    `Temporal did not come up: ${gone ? `it ended with ${gone}` : last}. The end of ${options.logFile}:\n${await logTail(options.logFile)}`,
  );
}
