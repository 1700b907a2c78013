/** Outcomes are written in groups; what keeps one of them keeps none of the others. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createOutcomeWriter, type PoolOutcome } from '../../../src/activities/pools/outcome-writer.ts';
import type { Recorder } from '../../../src/activities/record.ts';
import { readConfig } from '../../../src/config.ts';
import { partitionAtOf } from '../../../src/jobs/ids.ts';
import { beginPool } from '../../../src/jobs/pools/pool-store.ts';
import { createLog } from '../../../src/log.ts';
import { createPool, type Pool } from '../../../src/postgres.ts';
import { seedPooledTrigger } from '../../jobs/pools/pooled-jobs.ts';
import { countersOf, seedJob } from '../../support/seed.ts';
import { createTestDatabase } from '../../support/stack.ts';

let pool: Pool;
let drop: () => Promise<void>;
const silent = createLog('test', 'silent');
before(async () => {
  const database = await createTestDatabase();
  pool = createPool(readConfig({ DATABASE_URL: database.url }), silent, 'test');
  drop = database.drop;
});
after(async () => {
  await pool.end();
  await drop();
});

test('while somebody holds the lock of one job, the outcomes of the others are written, and its own when it is free', async () => {
  const recorder = { tell: () => {}, startReleased: () => {} } as unknown as Recorder;
  const writer = createOutcomeWriter({ pool, recorder, log: silent });
  const locked = await seedJob(pool, { overlap: 'allow_all' });
  const free = await seedJob(pool, { overlap: 'allow_all' });
  const poolId = 'group-locked';
  for (const job of [locked, free, locked, free]) await seedPooledTrigger(pool, job, poolId);
  const range = { team: 'default', pool: poolId, runId: 'run-1', chunk: '1@test', from: '', to: 'zzzz', priority: 3, bufferLimit: 100 };
  const calls = await beginPool(pool, range);
  const outcomeOf = (nth: number): PoolOutcome => {
    const { id, attempt } = calls[nth]!;
    const at = new Date().toISOString();
    const common = { team: 'default', partitionAt: partitionAtOf(id)!.toISOString(), id, attempt, worker: 'test', retryInMs: null };
    return { ...common, status: 'succeeded', final: true, startedAt: at, finishedAt: at };
  };
  const isLocked = (nth: number) => calls[nth]!.id.startsWith(locked.id);

  const holder = await pool.connect();
  await holder.query('BEGIN');
  await holder.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [locked.id]);
  const done: number[] = [];
  const written = calls.map((_, nth) => writer.write(outcomeOf(nth)).then(() => done.push(nth)));
  await Promise.all(written.filter((_, nth) => !isLocked(nth)));
  assert.deepEqual(done.filter(isLocked), []);
  assert.deepEqual(await countersOf(pool, free.id), { active: 0, waiting: 0, rowsActive: 0, rowsWaiting: 0 });

  await holder.query('ROLLBACK');
  holder.release();
  await Promise.all(written);
  assert.deepEqual(await countersOf(pool, locked.id), { active: 0, waiting: 0, rowsActive: 0, rowsWaiting: 0 });
});
