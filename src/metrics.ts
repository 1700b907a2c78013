/** The numbers Prometheus reads: one registry per process, times in seconds, labels of low cardinality only. */
import { hash, timingSafeEqual } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** An API answers in milliseconds; p95 < 200 ms and p99 < 500 ms must be readable, and 1 s and 2 s are alarms. */
const API_BUCKETS_S = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];
/** Executions last from milliseconds to hours. */
const EXECUTION_BUCKETS_S = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3_600, 21_600];
/** Slots start within a second; 15 s is late (semantics.md 9), an hour is the default catch-up window. */
const LATENESS_BUCKETS_S = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 300, 900, 3_600];

export type Metrics = ReturnType<typeof createMetrics>;

/** Creates the process's metrics. Every process offers all names; what it does not do stays empty. */
export function createMetrics(process: string) {
  const registry = new Registry();
  registry.setDefaultLabels({ process });
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  return {
    registry,
    jobsCreated: new Counter({ name: 'jobs_created_total', help: 'Jobs created', registers }),
    jobsExecuted: new Counter({
      name: 'jobs_executed_total',
      help: 'Executions that ended, by status and what started them',
      labelNames: ['status', 'trigger'],
      registers,
    }),
    executionDuration: new Histogram({
      name: 'job_execution_duration',
      help: 'Seconds from the start of an execution to its end, retries included',
      labelNames: ['status'],
      buckets: EXECUTION_BUCKETS_S,
      registers,
    }),
    activeJobs: new Gauge({ name: 'active_jobs_gauge', help: 'Jobs by state', labelNames: ['state'], registers }),
    ...requestMetrics(registers),
    scheduleLateness: new Histogram({
      name: 'schedule_lateness_seconds',
      help: 'Seconds from when an execution of a slot was due to when it started',
      buckets: LATENESS_BUCKETS_S,
      registers,
    }),
    scheduleDrift: new Gauge({
      name: 'schedule_drift',
      help: 'Differences between rows and Temporal found by the last sweep: missing, orphan, different',
      labelNames: ['kind'],
      registers,
    }),
    queueBacklog: new Gauge({ name: 'queue_backlog', help: 'Executions that are due and not started', labelNames: ['queue'], registers }),
    watchdogLooked: new Gauge({
      name: 'watchdog_last_look_timestamp_seconds',
      help: 'When this process last looked for overdue jobs; seconds since 1970',
      registers,
    }),
    jobAlarms: new Gauge({
      name: 'job_alarms',
      help: 'Jobs that are late, have missed a slot or a success',
      labelNames: ['kind'],
      registers,
    }),
    archivedRows: new Counter({
      name: 'archived_rows_total',
      help: 'Rows that left the database for an archive',
      labelNames: ['table'],
      registers,
    }),
    retentionHeld: new Gauge({
      name: 'retention_held_months',
      help: 'Months older than RETENTION_MONTHS that can not leave the database, by reason',
      labelNames: ['reason'],
      registers,
    }),
    notifications: new Counter({
      name: 'notifications_total',
      help: 'Attempts to deliver notifications, by type of channel: delivered, retried, failed for good, suppressed',
      labelNames: ['type', 'outcome'],
      registers,
    }),
    notificationBacklog: new Gauge({
      name: 'notification_backlog_seconds',
      help: 'Age of the oldest event that nobody has taken, and of the oldest delivery that is due',
      labelNames: ['of'],
      registers,
    }),
    reconcilePending: new Gauge({ name: 'reconcile_pending', help: 'Clocks whose last change is not yet in Temporal', registers }),
  };
}

const requestMetrics = (registers: Registry[]) => ({
  apiDuration: new Histogram({
    name: 'api_request_duration',
    help: 'Seconds from a request to the end of its answer',
    labelNames: ['method', 'route'],
    buckets: API_BUCKETS_S,
    registers,
  }),
  apiRequests: new Counter({
    name: 'api_requests_total',
    help: 'Requests answered, by route pattern and status',
    labelNames: ['method', 'route', 'status'],
    registers,
  }),
});

/** The same metrics, but for requests that nobody is to hear of. */
export const unreportedRequests = (metrics: Metrics): Metrics => ({ ...metrics, ...requestMetrics([]) });

export type MetricsServer = { port: number; close: () => Promise<void> };

/**
 * Serves `/metrics` and `/health` for a process that has no API: worker, controller.
 * @param options.port 0 takes a free one; the caller decides whether to serve at all.
 * @param options.token when set, readers that are not on this machine must send it as Bearer token.
 * @param options.ready answers `/health/ready`; absent means ready while running.
 */
export async function startMetricsServer(options: {
  metrics: Metrics;
  host: string;
  port: number;
  token?: string;
  ready?: () => Promise<{ ok: boolean }>;
}): Promise<MetricsServer> {
  const server: Server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?', 1)[0];
    const answer = (status: number, type: string, body: string) => {
      response
        .writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) })
        .end(request.method === 'HEAD' ? undefined : body);
    };
    if (path === '/metrics') {
      if (!mayReadMetrics(request.socket.remoteAddress, request.headers, options.token))
        return answer(401, 'text/plain', 'send METRICS_TOKEN as Bearer token\n');
      options.metrics.registry.metrics().then(
        (text) => answer(200, options.metrics.registry.contentType, text),
        (error: Error) => answer(500, 'text/plain', `${error.message}\n`),
      );
    } else if (path === '/health' || path === '/health/live') {
      answer(200, 'application/json', '{"status":"ok"}');
    } else if (path === '/health/ready') {
      (options.ready?.() ?? Promise.resolve({ ok: true })).then(
        (result) => answer(result.ok ? 200 : 503, 'application/json', JSON.stringify(result)),
        (error: Error) => answer(503, 'application/json', JSON.stringify({ ok: false, detail: error.message })),
      );
    } else answer(404, 'text/plain', 'only /metrics and /health are served here\n');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Metrics are open to this machine itself, seen by the peer's address; a proxied request is never local. Others need the token. */
export function mayReadMetrics(
  peer: string | undefined,
  headers: { authorization?: string | undefined; 'x-forwarded-for'?: string | string[] | undefined; forwarded?: string | undefined },
  token: string | undefined,
): boolean {
  if (isLoopback(peer) && headers['x-forwarded-for'] === undefined && headers.forwarded === undefined) return true;
  if (!token || headers.authorization === undefined) return false;
  return timingSafeEqual(hash('sha256', headers.authorization, 'buffer'), hash('sha256', `Bearer ${token}`, 'buffer'));
}

const isLoopback = (peer = '') => peer === '::1' || /^(::ffff:)?127\./.test(peer);
