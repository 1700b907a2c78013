/** The one seam to Postgres: a pool, transactions, and the words for "it is away". */
import pg from 'pg';
import type { Config } from './config.ts';
import type { Log } from './log.ts';

export type Pool = pg.Pool;
/** What a statement runs on: the pool itself, or the connection of a transaction. */
export type Queryable = Pick<pg.Pool, 'query'>;
export type Transaction = pg.PoolClient;

/** Connections that are kept when there is nothing to do: a new one has all its statements to plan anew. */
const KEPT = 3;

/**
 * Opens the pool. Connections are made on demand; a server that is away fails the statement, not the start.
 * Close it with `pool.end()`.
 */
export function createPool(
  config: Pick<Config, 'DATABASE_URL' | 'DATABASE_POOL' | 'DATABASE_CONNECT_TIMEOUT_MS'>,
  log: Log,
  name: string,
): Pool {
  const pool = new pg.Pool({
    connectionString: config.DATABASE_URL,
    max: config.DATABASE_POOL,
    min: Math.min(KEPT, config.DATABASE_POOL),
    connectionTimeoutMillis: config.DATABASE_CONNECT_TIMEOUT_MS,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    application_name: `almanac-${name}`,
  });
  pool.on('error', (error) => log.warn({ error: error.message }, 'an idle Postgres connection was lost'));
  return pool;
}

/** A transaction that asks nothing for this long belongs to a process that is frozen: it must not hold its locks until that goes on. */
const IDLE_MS = 10_000;

/**
 * Runs `work` in one transaction; commits when it returns, rolls back when it throws. Postgres ends one that asks nothing for ten seconds.
 * @param options.idleMs longest time between two statements; 0: any. For locks that are meant to be held by doing nothing.
 */
export async function inTransaction<T>(
  pool: Pool,
  work: (transaction: Transaction) => Promise<T>,
  { idleMs = IDLE_MS }: { idleMs?: number } = {},
): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  const onError = (error: Error) => {
    broken = error;
  };
  client.on('error', onError);
  try {
    // both in one round trip
    await client.query(`BEGIN; SET LOCAL idle_in_transaction_session_timeout = ${idleMs}`);
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch((rollbackError: Error) => {
      broken ??= rollbackError;
    });
    throw error;
  } finally {
    client.off('error', onError);
    client.release(broken);
  }
}

/** Besides the network's words: a server that starts or stops (57P0x), has no connection left (53300), has ended an idle transaction (25P03), or whose database is still to be made (3D000). */
const AWAY_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'ENOENT',
  '57P01',
  '57P02',
  '57P03',
  '53300',
  '25P03',
  '3D000',
]);

/** True when the error says that Postgres can't be reached or is going away, so that the same statement may succeed later. */
export function isPostgresAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = String((error as { code?: unknown }).code ?? ''); // gRPC's codes are numbers
  if (AWAY_CODES.has(code) || code.startsWith('08')) return true;
  if (error instanceof AggregateError) return error.errors.some(isPostgresAway);
  return /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|timeout expired/i.test(
    error.message,
  );
}
