/** Transactions, and those whose process does not go on with them. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { alone } from '../src/controller/alone.ts';
import { inTransaction, isPostgresAway, type Pool, type Queryable } from '../src/postgres.ts';
import { openTestPool } from './support/pool.ts';
import { seedJob } from './support/seed.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

const idleOf = async (database: Queryable) =>
  (await database.query('SHOW idle_in_transaction_session_timeout')).rows[0].idle_in_transaction_session_timeout;

test('a transaction of a process that stands still is ended by Postgres, and its locks are free', { timeout: 30_000 }, async () => {
  const job = await seedJob(pool);
  const lock = 'SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE';
  const work = inTransaction(
    pool,
    async (transaction) => {
      await transaction.query(lock, [job.id]);
      await pool.query(lock, [job.id]);
      await transaction.query(lock, [job.id]);
    },
    { idleMs: 100 },
  );
  await assert.rejects(work, (error) => isPostgresAway(error));
});

test('ten seconds without a question end a transaction, and nothing else; one that is alone may idle for as long as it lasts', async () => {
  assert.equal(await inTransaction(pool, idleOf), '10s');
  const connections = new Set<Queryable>();
  pool.on('acquire', (connection) => connections.add(connection));
  assert.equal(await alone(pool, 'test', () => idleOf([...connections][0]!)), '0');
  for (const connection of connections) assert.equal(await idleOf(connection), '0');
});
