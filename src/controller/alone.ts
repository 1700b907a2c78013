/** Work that one controller at a time is enough for. The lock only avoids double work: all such work is harmless when done twice. */
import { inTransaction, type Pool } from '../postgres.ts';

/**
 * Runs `work` while holding a named lock, or does nothing when another controller holds it. The lock belongs to a transaction that does nothing else, so that it
 * goes with the process, also behind a connection pooler; `work` uses connections of its own.
 */
export async function alone<T>(pool: Pool, name: string, work: () => Promise<T>): Promise<T | undefined> {
  return inTransaction(
    pool,
    async (transaction) => {
      const asked = await transaction.query<{ mine: boolean }>('SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS mine', [
        `almanac-controller-${name}`,
      ]);
      return asked.rows[0]?.mine ? work() : undefined;
    },
    { idleMs: 0 },
  );
}
