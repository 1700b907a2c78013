/** Work that one controller at a time is enough for. The lock only avoids double work: all such work is harmless when done twice. */
import pLimit, { type LimitFunction } from 'p-limit';
import { inTransaction, type Pool } from '../postgres.ts';

/** Of a pool's connections so many stay free for the work itself: were all of them locks, each would wait for a connection that only another could give back. */
const FREE_SHARE = 0.3;
const FREE_AT_LEAST = 2;
const lines = new WeakMap<Pool, LimitFunction>();

/** Loops of one process that hold a lock at the same time; the others stand in line. */
function lineOf(pool: Pool): LimitFunction {
  let line = lines.get(pool);
  if (!line) {
    const most = pool.options.max ?? 10;
    line = pLimit(Math.max(1, most - Math.max(FREE_AT_LEAST, Math.ceil(most * FREE_SHARE))));
    lines.set(pool, line);
  }
  return line;
}

/**
 * Runs `work` while holding a named lock, or does nothing when another controller holds it. The lock belongs to a transaction that does nothing else, so that it
 * goes with the process, also behind a connection pooler; `work` uses connections of its own.
 */
export async function alone<T>(pool: Pool, name: string, work: () => Promise<T>): Promise<T | undefined> {
  return lineOf(pool)(() =>
    inTransaction(
      pool,
      async (transaction) => {
        const asked = await transaction.query<{ mine: boolean }>('SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS mine', [
          `almanac-controller-${name}`,
        ]);
        return asked.rows[0]?.mine ? work() : undefined;
      },
      { idleMs: 0 },
    ),
  );
}
