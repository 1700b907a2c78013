/** A real Temporal server for one machine: `temporal server start-dev` with a database file and the Web UI, loopback only. */
import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';

export type TemporalPlan = {
  binary: string;
  port: number;
  /** null: no Web UI. */
  uiPort: number | null;
  /** null: in memory. */
  file: string | null;
  logFile: string;
};
export type TemporalServer = { pid: number; address: string; exited: Promise<number | null> };

/**
 * The server's defaults allow 30 scheduled starts and 10 list calls a second (dynamic config of temporalio/temporal,
 * common/dynamicconfig/constants.go). The same values for production stand in deploy/temporal.
 */
const DYNAMIC_CONFIG: Record<string, unknown> = {
  'worker.schedulerNamespaceStartWorkflowRPS': 500,
  'worker.perNamespaceWorkerOptions': { MaxConcurrentWorkflowTaskPollers: 10, MaxConcurrentActivityTaskPollers: 4 },
  'frontend.namespaceRPS.visibility': 100,
  'worker.persistenceMaxQPS': 3000,
  'matching.numTaskqueueReadPartitions': 1,
  'matching.numTaskqueueWritePartitions': 1,
};

/** Starts the server; the caller waits until it answers. Its log goes to the file. */
export function startTemporal(plan: TemporalPlan): TemporalServer {
  const log = openSync(plan.logFile, 'a', 0o600);
  const child = spawn(
    plan.binary,
    [
      ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(plan.port), '--log-level', 'warn'],
      ...(plan.uiPort === null ? ['--headless'] : ['--ui-ip', '127.0.0.1', '--ui-port', String(plan.uiPort)]),
      ...(plan.file === null
        ? []
        : ['--db-filename', plan.file, '--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL']),
      ...Object.entries(DYNAMIC_CONFIG).flatMap(([key, value]) => ['--dynamic-config-value', `${key}=${JSON.stringify(value)}`]),
    ],
    { detached: true, stdio: ['ignore', log, log] },
  );
  child.on('error', () => {});
  // The server is no reason for this process to go on; whoever started it ends it.
  child.unref();
  return {
    pid: child.pid ?? 0,
    address: `127.0.0.1:${plan.port}`,
    exited: new Promise((resolve) => child.once('exit', resolve)),
  };
}
