/**
 * Every setting of Almanac, read once from the environment and checked as a whole: one error lists every bad variable.
 * This is the only file that reads `process.env` (a test holds that). `.env.example` lists the same names (a test compares them).
 */
import { closest } from 'fastest-levenshtein';
import { z } from 'zod';

const port = (fallback: number) => z.coerce.number({ error: 'must be a port, 0 to 65535' }).int().min(0).max(65_535).default(fallback);
const count = (fallback: number, min = 1) => z.coerce.number({ error: 'must be a whole number' }).int().min(min).default(fallback);
const flag = (fallback: boolean) =>
  z
    .enum(['true', 'false', '1', '0'])
    .default(fallback ? 'true' : 'false')
    .transform((text) => text === 'true' || text === '1');
const list = (fallback = '') =>
  z
    .string()
    .default(fallback)
    .transform((text) =>
      text
        .split(',')
        .map((part) => part.trim())
        .filter(Boolean),
    );

/** The environment's schema. Units stand in the names (`_MS`, `_S`, `_BYTES`); a size without a unit is a count. */
export const environmentSchema = z.object({
  // Where the API listens.
  HOST: z.string().default('127.0.0.1'),
  PORT: port(8080),
  /** Which API groups this process serves: jobs, schedule, executions. */
  API_GROUPS: list('jobs,schedule,executions').pipe(z.array(z.enum(['jobs', 'schedule', 'executions'])).min(1)),
  /** Public base address of the API, used in `Location` and in the summary; empty means relative. */
  PUBLIC_URL: z.string().default(''),
  /** Base address of the Temporal Web UI; empty leaves out links to it. */
  TEMPORAL_UI_URL: z.string().default(''),
  /** Number of proxies in front of the API whose X-Forwarded-For is believed. */
  TRUST_PROXY: count(0, 0),

  // The two servers. In embedded mode the supervisor sets both for its children.
  DATABASE_URL: z.string().default(''),
  DATABASE_POOL: count(20),
  DATABASE_CONNECT_TIMEOUT_MS: count(30_000),
  TEMPORAL_ADDRESS: z.string().default(''),
  TEMPORAL_NAMESPACE: z.string().default('default'),
  TEMPORAL_API_KEY: z.string().default(''),
  TEMPORAL_TLS: flag(false),

  // Keys. The first start makes an admin key unless this one is given.
  ALMANAC_BOOTSTRAP_KEY: z.string().min(32, 'must have at least 32 characters').optional(),
  METRICS_TOKEN: z.string().default(''),

  // The embedded mode (`npm start`).
  ALMANAC_HOME: z.string().default('.almanac'),
  ALMANAC_TEMPORAL_PORT: port(7233),
  ALMANAC_TEMPORAL_UI_PORT: port(8233),
  ALMANAC_POSTGRES_PORT: port(0),

  // Targets.
  /** Folder with the user's own handlers (`.ts`, `.js`); empty means none. */
  ALMANAC_HANDLERS: z.string().default(''),
  /** CIDRs and host names that http targets may reach although they are not public. */
  ALMANAC_TARGET_ALLOW: list(),
  /** host:port pairs that are never reached, whatever ALMANAC_TARGET_ALLOW says (Almanac's own servers). */
  ALMANAC_TARGET_DENY: list(),

  // Workers.
  WORKER_QUEUES: list('default'),
  WORKER_SLOTS: count(100),
  /** Calls of pooled executions that a worker makes at once, and those to one service, host or handler. A call that lasts over a second counts for its target only. */
  POOL_CALLS: count(250),
  POOL_CALLS_PER_TARGET: count(50),
  /** Which queue a job's category runs on, as `category=queue` pairs; a category without a pair runs on `default`. */
  CATEGORY_QUEUES: list(),
  /** Path of a prebuilt workflow bundle; empty means the worker bundles src/workflows at its start. */
  WORKFLOW_BUNDLE: z.string().default(''),

  // Limits of the API. Requests per second and client address (0: no limit), and by how much a burst of so many seconds may exceed it.
  RATE_LIMIT_PER_SECOND: count(100, 0),
  RATE_LIMIT_BURST: count(2),
  RATE_LIMIT_BURST_S: count(10),
  BODY_LIMIT_BYTES: count(512 * 1024),
  BODY_LIMIT_BATCH_BYTES: count(16 * 1024 * 1024),
  INPUT_LIMIT_BYTES: count(256 * 1024),
  IDEMPOTENCY_KEEP_HOURS: count(24),
  /** How long a write waits for Temporal before it answers `sync: "pending"`. */
  SYNC_BUDGET_MS: count(1_000, 0),

  // Rules of executions.
  /** Waiting executions of one job that come from slots (`buffer_all`), and those that come from triggers. */
  BUFFER_LIMIT_SLOTS: count(1_000),
  BUFFER_LIMIT_TRIGGERS: count(10_000),
  /** So many jobs with the same timing, zone and queue share a schedule and workflows; fewer than the second have their own again. */
  POOL_FROM_JOBS: count(20, 2),
  POOL_BELOW_JOBS: count(10, 0),

  // Controller.
  RECONCILE_CONCURRENCY: count(8),
  SWEEP_INTERVAL_S: count(60),

  // Retention and archives.
  /** Whole months that executions stay in the database; what is older is archived, then removed. */
  RETENTION_MONTHS: count(12).pipe(z.number().max(1_200)),
  /** Folder that archives are written to; empty means none. */
  ARCHIVE_DIR: z.string().default(''),
  /** S3-compatible bucket that archives are written to, instead of the folder; empty means none. */
  ARCHIVE_S3_BUCKET: z.string().default(''),
  ARCHIVE_S3_PREFIX: z
    .string()
    .regex(/^$|\/$/, 'must end with /')
    .default('almanac/'),
  ARCHIVE_S3_REGION: z.string().default('us-east-1'),
  /** Address of a server that is not AWS. */
  ARCHIVE_S3_ENDPOINT: z.union([z.literal(''), z.url('must be an address, e.g. https://minio.internal:9000')]).default(''),
  ARCHIVE_S3_PATH_STYLE: flag(false),
  /** Empty: as AWS' own settings or the machine's role say. */
  ARCHIVE_S3_ACCESS_KEY_ID: z.string().default(''),
  ARCHIVE_S3_SECRET_ACCESS_KEY: z.string().default(''),
  /** How long after it was due a slot may begin before the watchdog calls its job late. */
  WATCHDOG_GRACE_S: count(60),

  // Notifications.
  /** Mail server of channels that name none, `smtp://user:password@host:587` or `smtps://…`; empty: each names its own. */
  SMTP_URL: z
    .union([z.literal(''), z.string().regex(/^smtps?:\/\/\S+$/, 'must be an address, e.g. smtp://user:password@mail.example.com:587')])
    .default(''),
  /** Sender of mails; empty: each channel names its own. */
  MAIL_FROM: z
    .union([z.literal(''), z.string().regex(/^[^\s@<>]+@[^\s@<>]+$/, 'must be a mail address, e.g. almanac@example.com')])
    .default(''),
  /** Deliveries and events that are older leave the log. */
  DELIVERY_KEEP_DAYS: count(30),

  // Terminal and log.
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  METRICS_PORT: port(0),
});

export type Config = z.infer<typeof environmentSchema>;

/** Thrown when a setting is wrong; `message` lists every wrong variable with its value and the cure. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

const KNOWN = Object.keys(environmentSchema.shape);
const OUR_PREFIXES =
  /^(ALMANAC_|WORKER_|RATE_LIMIT_|SWEEP_|WATCHDOG_|POOL_|RECONCILE_|BODY_LIMIT_|BUFFER_LIMIT_|POOL_|RETENTION_|ARCHIVE_|SMTP_|MAIL_|DELIVERY_)/;

/**
 * Reads and checks the environment. An empty variable counts as not set.
 * @throws ConfigError listing every bad variable, and every unknown one under our prefixes with the nearest known name.
 */
export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''));
  const wrong: string[] = [];
  for (const name of Object.keys(given)) {
    if (OUR_PREFIXES.test(name) && !KNOWN.includes(name)) wrong.push(`${name}: unknown setting, did you mean ${closest(name, KNOWN)}?`);
  }
  const parsed = environmentSchema.safeParse(given);
  for (const issue of parsed.error?.issues ?? []) {
    const name = String(issue.path[0]);
    const secret = /KEY|TOKEN|DATABASE_URL|SMTP_URL/.test(name);
    wrong.push(`${name}: ${issue.message}${secret ? '' : ` (is ${JSON.stringify(given[name])})`}`);
  }
  if (wrong.length > 0 || !parsed.success) throw new ConfigError(`The environment is not usable:\n  ${wrong.join('\n  ')}`);
  return parsed.data;
}

/** This process's environment as it is, for those who start other processes. */
export const inheritedEnvironment = (): NodeJS.ProcessEnv => ({ ...process.env });

/** The same for the entry of a process: what is wrong with the environment is said without a stack, and the process ends with 1. */
export function readConfigOrExit(): Config {
  try {
    return readConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}
