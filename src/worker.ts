/** One worker process: a Temporal worker for each queue, and everything its activities stand on, in a pair of start and stop. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, NativeConnection, Runtime, Worker, type WorkerOptions, type WorkflowBundleOption } from '@temporalio/worker';
import { createActivities } from './activities/index.ts';
import { openTargets } from './activities/open-targets.ts';
import { takeOverDeadPools } from './activities/pools/dead-pools.ts';
import { rehearsePools } from './activities/pools/rehearsal.ts';
import { createQuarantine } from './activities/quarantine/quarantine.ts';
import { HandlerLoadError } from './activities/targets/handler-load-error.ts';
import type { Config } from './config.ts';
import { createStarter } from './jobs/execution-starts.ts';
import { poolTaskQueueFor, taskQueueFor } from './jobs/ids.ts';
import { createLog, type Log } from './log.ts';
import { createMetrics, startMetricsServer } from './metrics.ts';
import { createPool } from './postgres.ts';
import { connectionOptions, createTemporalClient } from './temporal.ts';
import { registerWorker } from './worker-registry.ts';
import { useLeanWorkflowThreads } from './workflow-thread.ts';

/** A statement of an activity has five seconds of patience; a connection must not use them up alone. */
const CONNECT_MS = 4_000;
const AGAIN_MS = 1_000;
/** Pools that may be served at once: each waits for its slowest call, and how many calls are made at once is said by POOL_CALLS. */
const POOL_SLOTS = 500;
/** Lines of executions come by the thousand; they are written together. */
const EXECUTION_LOG_GATHER_MS = 100;
/** How long calls in flight may go on after SIGTERM; with the rest of the way out that is under 30 s. */
const GRACE = '20s';

/**
 * Serves until SIGTERM or SIGINT, and outlives both servers. The connection to Temporal is left to the end of the process: a closed one throws out of
 * the timers of calls that are being retried.
 */
export async function startWorker(config: Config, log: Log): Promise<void> {
  const stopping = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stopping.abort());
  useLeanWorkflowThreads();
  Runtime.install({ shutdownSignals: [], logger: temporalLog(log) });

  const targets = await openTargets(config).catch((error: unknown) => {
    if (!(error instanceof HandlerLoadError)) throw error;
    log.fatal({ error: error.message }, 'the worker cannot start');
    process.exit(1);
  });
  const pool = createPool(
    { ...config, DATABASE_CONNECT_TIMEOUT_MS: Math.min(CONNECT_MS, config.DATABASE_CONNECT_TIMEOUT_MS) },
    log,
    'worker',
  );
  const temporal = createTemporalClient(config);
  const metrics = createMetrics('worker');
  const starter = createStarter({ pool, temporal, log });
  const quarantine = createQuarantine({ config, log });
  const { activities, close } = createActivities({
    pool,
    temporal,
    log,
    executionLog: createLog('worker', config.LOG_LEVEL, EXECUTION_LOG_GATHER_MS),
    config,
    starter,
    callTarget: targets.callTarget,
    quarantine,
    stopping: stopping.signal,
    ended: ({ status, trigger, durationS, latenessS }) => {
      metrics.jobsExecuted.inc({ status, trigger });
      metrics.executionDuration.observe({ status }, durationS);
      if (trigger === 'schedule' || trigger === 'once') metrics.scheduleLateness.observe(Math.max(0, latenessS));
    },
  });
  const metricsServer = config.METRICS_PORT
    ? await startMetricsServer({
        metrics,
        host: config.HOST,
        port: config.METRICS_PORT,
        ...(config.METRICS_TOKEN ? { token: config.METRICS_TOKEN } : {}),
      })
    : null;
  const registry = registerWorker({ pool, log, queues: config.WORKER_QUEUES, handlers: targets.handlers.describe() });
  const [bundle] = await Promise.all([workflowBundle(config), rehearsePools(pool, log)]);
  await takeOverDeadPools({ pool, temporal, log, queues: config.WORKER_QUEUES });

  try {
    await serveQueues(config, log, { workflowBundle: bundle, activities }, stopping.signal);
  } finally {
    await registry.close();
    await starter.drain();
    close();
    await quarantine.close();
    await targets.close();
    await metricsServer?.close();
    await pool.end();
  }
}

/** Serves until told to stop. A worker that Temporal throws out, or a server that is away, is tried again every second. */
async function serveQueues(
  config: Config,
  log: Log,
  options: Pick<WorkerOptions, 'workflowBundle' | 'activities'>,
  stop: AbortSignal,
): Promise<void> {
  let announced = false;
  while (!stop.aborted) {
    let connection: NativeConnection | undefined;
    try {
      connection = await NativeConnection.connect(connectionOptions(config));
      const workers = await Promise.all(
        config.WORKER_QUEUES.flatMap((queue) => [
          Worker.create(workerOptions(config, taskQueueFor(queue), config.WORKER_SLOTS, connection!, options)),
          Worker.create(workerOptions(config, poolTaskQueueFor(queue), POOL_SLOTS, connection!, options)),
        ]),
      );
      const onStop = () => {
        for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
      };
      stop.addEventListener('abort', onStop);
      const running = workers.map((worker) => worker.run());
      if (!announced) log.info({ queues: config.WORKER_QUEUES }, 'ready');
      announced = true;
      // When one queue's worker fails, the others stop too and all begin anew.
      await Promise.all(running.map((run) => run.finally(onStop))).finally(() => stop.removeEventListener('abort', onStop));
    } catch (error) {
      if (!stop.aborted) log.warn({ error: String(error) }, 'Temporal is not reachable; the worker tries again');
    } finally {
      await connection?.close().catch(() => {});
    }
    if (!stop.aborted) await sleep(AGAIN_MS, undefined, { signal: stop }).catch(() => {});
  }
}

function workerOptions(
  config: Config,
  taskQueue: string,
  slots: number,
  connection: NativeConnection,
  options: Pick<WorkerOptions, 'workflowBundle' | 'activities'>,
): WorkerOptions {
  return {
    ...options,
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    taskQueue,
    // one for the workflow that it keeps, one for the next: the SDK does not start with less
    maxConcurrentWorkflowTaskExecutions: Math.max(2, slots),
    maxConcurrentLocalActivityExecutions: slots,
    maxConcurrentActivityTaskExecutions: slots,
    // Activities of pools report every second, and a death is noticed after five.
    maxHeartbeatThrottleInterval: '2s',
    defaultHeartbeatThrottleInterval: '2s',
    // An execution is one workflow task as a rule; few stay in memory between two.
    maxCachedWorkflows: 500,
    shutdownGraceTime: GRACE,
    shutdownForceTime: '25s',
  };
}

async function workflowBundle(config: Config): Promise<WorkflowBundleOption> {
  if (config.WORKFLOW_BUNDLE) return { codePath: config.WORKFLOW_BUNDLE };
  return await bundleWorkflowCode({ workflowsPath: fileURLToPath(new URL('./workflows/index.ts', import.meta.url)), logger: quiet });
}

const nothing = () => {};
const quiet = { log: nothing, trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };

/** The SDK's own words in our log: its INFO is our DEBUG, and its ERROR a warning, because it repeats by itself. */
function temporalLog(log: Log) {
  const at = (level: 'debug' | 'warn') => (message: string, meta?: object) => log[level]({ temporal: meta }, message);
  return {
    log: (_level: string, message: string, meta?: object) => at('debug')(message, meta),
    trace: nothing,
    debug: nothing,
    info: at('debug'),
    warn: at('warn'),
    error: at('warn'),
  };
}
