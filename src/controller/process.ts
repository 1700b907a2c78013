/** One controller process: its pool, its Temporal client, its loops and its metrics, in a pair of start and stop. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { createPlaces } from '../jobs/archive/places.ts';
import { createSender } from '../jobs/notifications/sender.ts';
import type { WaysOut } from '../jobs/notifications/ways-out.ts';
import type { Log } from '../log.ts';
import { createMetrics, startMetricsServer } from '../metrics.ts';
import { missingMigrations } from '../migrate.ts';
import { createPool, isPostgresAway, type Pool } from '../postgres.ts';
import { createTemporalClient } from '../temporal.ts';
import { createController } from './controller.ts';

/** How soon a Postgres that is away is noticed, milliseconds. */
const CONNECT_MS = 4_000;
const AGAIN_MS = 500;
/** After this the process ends even if a loop does not, milliseconds; SIGTERM promises 30 s. */
const STOP_WITHIN_MS = 25_000;

/**
 * Starts the controller; resolves when it runs. It stops on SIGTERM and SIGINT, and outlives both servers, also at its start.
 * @param waysOut by which notifications leave; closed at the end.
 */
export async function startController(config: Config, log: Log, waysOut: WaysOut): Promise<void> {
  const stopping = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stopping.abort());

  const pool = createPool(
    { ...config, DATABASE_CONNECT_TIMEOUT_MS: Math.min(CONNECT_MS, config.DATABASE_CONNECT_TIMEOUT_MS) },
    log,
    'controller',
  );
  const temporal = createTemporalClient(config);
  const metrics = createMetrics('controller');
  const publicUrl = config.PUBLIC_URL.replace(/\/$/, '');
  const mail = { smtpUrl: config.SMTP_URL, from: config.MAIL_FROM };
  const notifications = { send: createSender({ waysOut, mail, publicUrl }), keepDays: config.DELIVERY_KEEP_DAYS };
  const retention = { place: createPlaces(config).current, months: config.RETENTION_MONTHS };
  const controller = createController({ pool, temporal, log, metrics, config, retention, notifications });
  let migrated = false;
  const metricsServer = config.METRICS_PORT
    ? await startMetricsServer({
        metrics,
        host: config.HOST,
        port: config.METRICS_PORT,
        ...(config.METRICS_TOKEN ? { token: config.METRICS_TOKEN } : {}),
        ready: async () => ({ ok: migrated && controller.isReady() }),
      })
    : null;

  migrated = await untilMigrated(pool, log, stopping.signal);
  if (migrated) {
    controller.start();
    log.info({ metricsPort: metricsServer?.port ?? null }, 'ready');
  }
  const stop = async () => {
    setTimeout(() => process.exit(1), STOP_WITHIN_MS).unref();
    await controller.stop();
    await waysOut.close();
    await metricsServer?.close();
    await pool.end();
    log.info('stopped');
    // The connection to Temporal is left to the end of the process: a closed one throws out of the timers of calls that are being retried.
    process.exit(0);
  };
  if (stopping.signal.aborted) await stop();
  else stopping.signal.addEventListener('abort', () => void stop(), { once: true });
}

/** Waits for the database that this code needs; false when told to stop before. Says once what it waits for. */
async function untilMigrated(pool: Pool, log: Log, signal: AbortSignal): Promise<boolean> {
  let said = '';
  const say = (what: string) => {
    if (what !== said) log.warn(what);
    said = what;
  };
  while (!signal.aborted) {
    try {
      const missing = await missingMigrations(pool);
      if (missing.length === 0) return true;
      say(`the database lacks migrations (${missing.join(', ')}); waiting until \`npm run migrate\` has run`);
    } catch (error) {
      if (!isPostgresAway(error)) throw error;
      say('Postgres is away; waiting for it');
    }
    await sleep(AGAIN_MS, undefined, { signal }).catch(() => {});
  }
  return false;
}
