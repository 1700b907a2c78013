/** One API process: its stores, its use cases, its routes and its server, in a pair of start and stop. */
import type { RequestListener } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import manifest from '../package.json' with { type: 'json' };
import { createAddressRules, literalAddressProblem } from './activities/targets/address-rules.ts';
import { headerProblems } from './activities/targets/http-request-headers.ts';
import { createWaysOut } from './activities/targets/ways-out.ts';
import { type AppDeps, createApp } from './api/app.ts';
import { rehearseHotRequests } from './api/rehearsal.ts';
import { createArchiveRoutes } from './api/routes-archive.ts';
import { createBackfillRoutes } from './api/routes-backfills.ts';
import { createCalendarRoutes } from './api/routes-calendars.ts';
import { createChannelRoutes } from './api/routes-channels.ts';
import { createExecutionRoutes } from './api/routes-executions.ts';
import { createFreezeRoutes } from './api/routes-freezes.ts';
import { createJobRoutes } from './api/routes-jobs.ts';
import { createNotificationRoutes } from './api/routes-notifications.ts';
import { createOperationRoutes } from './api/routes-operations.ts';
import { createScheduleRoutes } from './api/routes-schedule.ts';
import { createServiceRoutes } from './api/routes-services.ts';
import { createSlotRoutes } from './api/routes-slots.ts';
import { startServer } from './api/server.ts';
import type { Config } from './config.ts';
import { createApiKeys } from './jobs/api-keys.ts';
import { createArchives } from './jobs/archive/archives.ts';
import { createPlaces } from './jobs/archive/places.ts';
import { withArchive } from './jobs/archive/with-archive.ts';
import { createCalendars } from './jobs/calendars/calendars.ts';
import { createReconciler } from './jobs/clocks/reconcile.ts';
import { createStarter } from './jobs/execution-starts.ts';
import { createExecutions } from './jobs/executions.ts';
import { createFreezes } from './jobs/freezes/freezes.ts';
import { completeIdempotencyKey, findIdempotentResponse } from './jobs/idempotency.ts';
import { createJobs } from './jobs/jobs.ts';
import { createLedger } from './jobs/ledger/ledger.ts';
import { watchdogWord } from './jobs/ledger/watchdog-status.ts';
import { createChannels } from './jobs/notifications/channels.ts';
import { createDeliver } from './jobs/notifications/deliver.ts';
import { createDeliveries } from './jobs/notifications/deliveries.ts';
import { createJobMutes } from './jobs/notifications/job-mutes.ts';
import { createSender } from './jobs/notifications/sender.ts';
import { createTeamNotify } from './jobs/notifications/team-rules.ts';
import { createAppliers } from './jobs/operations/appliers.ts';
import { createBackfills } from './jobs/operations/backfills.ts';
import { createBeginOperation } from './jobs/operations/begin-operation.ts';
import { createOperationRunner } from './jobs/operations/operation-runner.ts';
import { createOperationStarts } from './jobs/operations/operation-starts.ts';
import { createOperations } from './jobs/operations/operations.ts';
import { createRollback } from './jobs/revisions/rollback.ts';
import { createSchedules } from './jobs/schedules.ts';
import { createServices } from './jobs/services.ts';
import { createTaskQueueBacklog } from './jobs/task-queue-backlog.ts';
import { createTriggerWishes } from './jobs/trigger-wishes.ts';
import { createLog, type Log } from './log.ts';
import { createMetrics, unreportedRequests } from './metrics.ts';
import { missingMigrations } from './migrate.ts';
import { createPool } from './postgres.ts';
import { createReadiness } from './readiness.ts';
import { createTemporalClient } from './temporal.ts';

/** SIGTERM promises an end within 30 s, whatever hangs. */
const STOP_WITHIN_MS = 29_000;
/** Patience with what goes on behind answers already given; the controller finishes what is cut off. */
const DRAIN_BEHIND_MS = 2_000;
const AGAIN_MS = 1_000;
/** How long "ready" waits for the first key. */
const KEY_FIRST_MS = 2_000;
/** The limiter is rehearsed too; it must not be met. */
const REHEARSAL_RATE = 1_000_000;
/** A line per request, each written by itself, costs as much as the rest of our share of a request. */
const ACCESS_LOG_GATHER_MS = 100;

/**
 * Starts the API; resolves when it is ready. It starts while Postgres and Temporal are away, and drains on SIGTERM and SIGINT.
 * @param front puts something between the socket and the application; what it does not know it hands on.
 */
export async function startApi(config: Config, log: Log, front: (app: RequestListener) => RequestListener = (app) => app): Promise<void> {
  const accessLog = createLog('api', config.LOG_LEVEL, ACCESS_LOG_GATHER_MS);
  const pool = createPool(config, log, 'api');
  const temporal = createTemporalClient(config);
  const metrics = createMetrics('api');

  const readiness = createReadiness([
    {
      name: 'postgres',
      run: async () => `answers, ${(await pool.query<{ v: string }>(`SELECT current_setting('server_version') AS v`)).rows[0]?.v}`,
    },
    {
      name: 'temporal',
      run: async () => {
        const deadline = Date.now() + 1_900;
        await temporal.connection.withDeadline(deadline, () =>
          temporal.workflowService.describeNamespace({ namespace: config.TEMPORAL_NAMESPACE }),
        );
        return `answers, namespace ${config.TEMPORAL_NAMESPACE}`;
      },
    },
    {
      name: 'migrations',
      run: async () => {
        const missing = await missingMigrations(pool);
        if (missing.length > 0) throw new Error(`the database lacks ${missing.join(', ')}; run the migrations`);
        return 'up to date';
      },
    },
    // a warning, not a reason to send requests elsewhere: this process works
    { name: 'watchdog', run: () => watchdogWord(pool) },
  ]);

  const addressRules = createAddressRules({ allow: config.ALMANAC_TARGET_ALLOW, deny: config.ALMANAC_TARGET_DENY });
  const targetRules = { urlProblem: (url: string) => literalAddressProblem(url, addressRules), headerProblems };
  const keys = createApiKeys({ pool, log });
  const starter = createStarter({ pool, temporal, log });
  const stopWorkflow = async (workflowId: string, reason: string): Promise<void> => {
    await temporal.workflow.getHandle(workflowId).terminate(reason);
  };
  const reconciler = createReconciler({ pool, temporal, log });
  const jobs = createJobs({ pool, log, config, targetRules, starter, stopWorkflow, reconciler });
  const services = createServices({ pool, targetRules });
  const schedules = createSchedules({ pool, jobs, taskQueueBacklog: createTaskQueueBacklog(temporal) });
  const archives = createArchives({ pool, config, places: createPlaces(config) });
  const executions = withArchive(createExecutions({ pool, temporal, log, config, starter }), { archives, pool, config });
  const runner = createOperationRunner({ pool, log, appliers: createAppliers({ pool, temporal, log, config, starter }) });
  const beginning = createBeginOperation({ starts: createOperationStarts({ temporal, log }), runner, log });
  const operations = createOperations({ pool, wishesOf: createTriggerWishes(config), begin: beginning.begin });

  const publicUrl = config.PUBLIC_URL.replace(/\/$/, '');
  const waysOut = createWaysOut({ allow: config.ALMANAC_TARGET_ALLOW, deny: config.ALMANAC_TARGET_DENY });
  const mail = { hasServer: config.SMTP_URL !== '', hasSender: config.MAIL_FROM !== '' };
  const send = createSender({ waysOut, mail: { smtpUrl: config.SMTP_URL, from: config.MAIL_FROM }, publicUrl });
  const tell = (type: string, outcome: string) => metrics.notifications.inc({ type, outcome });
  const deliveries = createDeliveries({ pool, deliver: createDeliver({ pool, log, send, tell }) });
  const shared: Omit<AppDeps, 'config' | 'accessLog' | 'metrics' | 'findKey'> = {
    log,
    readiness,
    idempotency: {
      find: (context) => findIdempotentResponse(pool, context),
      complete: (context, response) => completeIdempotencyKey(pool, context, response),
    },
    groups: [
      createJobRoutes({ jobs, rollback: createRollback({ pool, jobs }), publicUrl, jobCreated: () => metrics.jobsCreated.inc() }),
      createServiceRoutes({ services, publicUrl }),
      createScheduleRoutes({ schedules, executions, publicUrl, inputLimitBytes: config.INPUT_LIMIT_BYTES }),
      createExecutionRoutes({ executions, publicUrl }),
      createArchiveRoutes({ archives }),
      createOperationRoutes({ operations, publicUrl, inputLimitBytes: config.INPUT_LIMIT_BYTES }),
      createBackfillRoutes({ backfills: createBackfills({ pool }), operations, publicUrl }),
      createSlotRoutes({ ledger: createLedger({ pool }) }),
      createCalendarRoutes({ calendars: createCalendars({ pool }), publicUrl }),
      createChannelRoutes({ channels: createChannels({ pool, targetRules, mail }), deliveries, publicUrl }),
      createNotificationRoutes({ teamNotify: createTeamNotify({ pool }), jobMutes: createJobMutes({ pool }), deliveries, publicUrl }),
      createFreezeRoutes({ freezes: createFreezes({ pool }), publicUrl }),
    ],
    version: manifest.version,
  };
  const app = createApp({ ...shared, config, accessLog, metrics, findKey: keys.find });

  const stopping = new AbortController();
  const server = await startServer(front(app), { host: config.HOST, port: config.PORT }).catch((error: NodeJS.ErrnoException) => {
    const cure = error.code === 'EADDRINUSE' ? '; set PORT to a free one' : '';
    log.fatal({ error: error.message }, `the API cannot listen on ${config.HOST}:${config.PORT}${cure}`);
    process.exit(1);
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop(signal));
  // Whoever hears "ready" may use the first key at once, unless the database is away.
  await Promise.race([ensureKey(), sleep(KEY_FIRST_MS)]);
  log.info({ host: config.HOST, port: server.port, groups: config.API_GROUPS }, 'ready');
  void rehearseHotRequests((findKey) =>
    createApp({
      ...shared,
      config: { ...config, RATE_LIMIT_PER_SECOND: REHEARSAL_RATE },
      accessLog: createLog('api', 'silent'),
      metrics: unreportedRequests(metrics),
      findKey,
    }),
  ).then((answered) => log.debug({ answered }, 'hot requests were rehearsed'));

  /** The first key is there as soon as the database is. */
  async function ensureKey(): Promise<void> {
    let said = false;
    while (!stopping.signal.aborted) {
      try {
        if (config.ALMANAC_BOOTSTRAP_KEY) await keys.ensureBootstrapKey(config.ALMANAC_BOOTSTRAP_KEY);
        else if (!(await keys.exist())) log.warn('there is no API key, so nobody can use the API; set ALMANAC_BOOTSTRAP_KEY');
        return;
      } catch (error) {
        if (!said) log.warn({ error: error instanceof Error ? error.message : String(error) }, 'the bootstrap key waits for the database');
        said = true;
        await sleep(AGAIN_MS, undefined, { signal: stopping.signal }).catch(() => {});
      }
    }
  }

  /** Readiness goes first, so that a balancer looks elsewhere; then no new connections; what runs may finish; pools last. */
  async function stop(signal: string): Promise<void> {
    if (stopping.signal.aborted) return;
    log.info({ signal }, 'stopping');
    setTimeout(() => process.exit(1), STOP_WITHIN_MS).unref();
    readiness.drain();
    stopping.abort();
    await server.close();
    await Promise.race([Promise.all([beginning.drain(), starter.drain(), reconciler.drain(), jobs.drain()]), sleep(DRAIN_BEHIND_MS)]);
    await waysOut.close();
    await pool.end();
    log.info('stopped');
    // The connection to Temporal is left to the end of the process: a closed one throws out of the timers of calls that are being retried.
    process.exit(0);
  }
}
