/** A database of a test's own, with a pool on it. */
import { readConfig } from '../../src/config.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { createTestDatabase } from './stack.ts';

export async function openTestPool(): Promise<{ pool: Pool; close: () => Promise<void> }> {
  const database = await createTestDatabase();
  const pool = createPool(readConfig({ DATABASE_URL: database.url }), createLog('test', 'silent'), 'test');
  return {
    pool,
    close: async () => {
      await pool.end();
      await database.drop();
    },
  };
}
