/** Rows of a time for which nobody has made a partition yet: a slot of long ago, or a controller that has been away for months. */
import type { Pool } from '../postgres.ts';

/** Postgres: no partition of relation found for row. */
const NO_PARTITION = '23514';

/** Runs a statement that writes rows of the time `at`; makes their partition first if it is missing. */
export async function withPartition<T>(pool: Pool, at: Date, statement: () => Promise<T>): Promise<T> {
  try {
    return await statement();
  } catch (error) {
    if ((error as { code?: string }).code !== NO_PARTITION) throw error;
    await pool.query('SELECT ensure_partitions($1)', [at]);
    return await statement();
  }
}
