/** Outcomes are written in groups; what keeps one of them keeps none of the others. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createOutcomeWriter, type PoolOutcome } from '../../../src/activities/pools/outcome-writer.ts';
import type { Recorder } from '../../../src/activities/record.ts';
import { readConfig } from '../../../src/config.ts';
import { partitionAtOf } from '../../../src/jobs/ids.ts';
import { beginPool } from '../../../src/jobs/pools/pool-store.ts';
import { createLog, type Log } from '../../../src/log.ts';
import { createPool, type Pool } from '../../../src/postgres.ts';
import { seedPooledTrigger } from '../../jobs/pools/pooled-jobs.ts';
import { countersOf, seedJob } from '../../support/seed.ts';
import { createTestDatabase } from '../../support/stack.ts';

let pool: Pool;
let drop: () => Promise<void>;
const silent = createLog('test', 'silent');
const recorder = { tell: () => {}, startReleased: () => {} } as unknown as Recorder;
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
  const writer = createOutcomeWriter({ pool, recorder, log: silent });
  const locked = await seedJob(pool, { overlap: 'allow_all' });
  const free = await seedJob(pool, { overlap: 'allow_all' });
  const poolId = 'group-locked';
  for (const job of [locked, free, locked, free]) await seedPooledTrigger(pool, job, poolId);
  const range = { team: 'default', pool: poolId, runId: 'run-1', chunk: '1@test', from: '', to: 'zzzz', priority: 3 };
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

test('what a target answers and nobody can store takes nothing from its success, nor from the tries that a failure has left', {
  timeout: 30_000,
}, async () => {
  const said: unknown[] = [];
  const writer = createOutcomeWriter({ pool, recorder, log: { ...silent, error: (line: unknown) => said.push(line) } as unknown as Log });
  const job = await seedJob(pool, { overlap: 'allow_all' });
  const poolId = 'group-unstorable';
  for (let nth = 0; nth < 4; nth++) await seedPooledTrigger(pool, job, poolId);
  const calls = await beginPool(pool, {
    team: 'default',
    pool: poolId,
    runId: 'run-1',
    chunk: '1@test',
    from: '',
    to: 'zzzz',
    priority: 3,
  });
  const unstorableResult = { text: 'Postgres has no \u0000' };
  const made = (nth: number, more: object): PoolOutcome => {
    const at = new Date().toISOString();
    const { id, attempt } = calls[nth]!;
    const common = {
      team: 'default',
      partitionAt: partitionAtOf(id)!.toISOString(),
      id,
      attempt,
      worker: 'test',
      startedAt: at,
      finishedAt: at,
    };
    return { ...common, status: 'succeeded', final: true, retryInMs: null, ...more };
  };
  await Promise.all([
    writer.write(made(0, { result: unstorableResult })),
    writer.write(made(1, { result: { status: 1e12 }, responseStatus: 1e12 })),
    writer.write(made(2, { result: { fine: true } })),
    writer.write(made(3, { status: 'failed', final: false, retryInMs: 60_000, result: unstorableResult })),
  ]);
  const { rows } = await pool.query(
    `SELECT e.status, e.result, e.error, e.dispatch, a.status AS attempt, a.error ->> 'type' AS attempt_error
       FROM job_executions e JOIN job_attempts a ON a.partition_at = e.partition_at AND a.execution_id = e.id WHERE e.job_id = $1 ORDER BY e.id`,
    [job.id],
  );
  const succeeded = { status: 'succeeded', error: null, dispatch: 'pooled', attempt: 'succeeded' };
  const unstorable = { type: 'unstorable', message: 'what the target answered can not be stored', attempt: 1 };
  assert.deepEqual(rows, [
    { ...succeeded, result: null, attempt_error: 'unstorable' },
    { ...succeeded, result: null, attempt_error: 'unstorable' },
    { ...succeeded, result: { fine: true }, attempt_error: null },
    { status: 'running', result: null, error: unstorable, dispatch: 'dedicated', attempt: 'failed', attempt_error: 'unstorable' },
  ]);
  assert.equal(said.length, 3);
});
