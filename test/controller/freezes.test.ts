import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createFreezeLoop } from '../../src/controller/freezes.ts';
import { createServers } from '../../src/controller/servers.ts';
import type { ExecutionStart } from '../../src/jobs/execution-store.ts';
import { newExecutionId, newFreezeId, partitionAtOf } from '../../src/jobs/ids.ts';
import { createBackfills } from '../../src/jobs/operations/backfills.ts';
import type { Pool } from '../../src/postgres.ts';
import { openTestPool } from '../support/pool.ts';
import { type SeededJob, seedJob } from '../support/seed.ts';
import { clientOf, silent, until } from './room.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

/** Runs the loop until `seen` says so; answers what it has started. */
async function running(seen: () => Promise<unknown>): Promise<string[]> {
  const released: string[] = [];
  const startSoon = (row: ExecutionStart | null) => void (row && released.push(row.id));
  const temporal = clientOf('127.0.0.1:1', 'none');
  const servers = createServers({ pool, temporal, log: silent, onBack: () => {} });
  const deps = { pool, starter: { startSoon }, backfills: createBackfills({ pool }), servers, log: silent, intervalMs: 20 };
  // two controllers do no harm
  const loops = [createFreezeLoop(deps), createFreezeLoop(deps)];
  for (const loop of loops) loop.start();
  try {
    await until('the loop has done it', async () => Boolean(await seen()));
  } finally {
    await Promise.all([servers.stop(), ...loops.map((loop) => loop.stop())]);
    await temporal.connection.close();
  }
  return released;
}

async function freeze(job: SeededJob, options: { drain?: boolean; cancels?: boolean }): Promise<string> {
  const id = newFreezeId();
  await pool.query(
    `INSERT INTO freezes (id, team, scope, targets, reason, from_at, drain, cancel_running, created_by, created_at)
     VALUES ($1, 'default', 'jobs', $2, 'test', now() - interval '5 seconds', $3, $4, 'tests', now() - interval '5 seconds')`,
    [id, [job.id], options.drain ?? false, options.cancels ?? false],
  );
  return id;
}
/** An execution under way: its call in flight, between two tries, or held back between them. */
async function underWay(job: SeededJob, kind: 'in flight' | 'between tries' | 'held'): Promise<string> {
  const id = newExecutionId(job.id, 'manual');
  await pool.query(
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, due_at, status, waiting, counted, attempt, tries, max_attempts, priority, queue, dispatch,
                                 workflow_id, started_at)
     VALUES ($1, $2, 'default', $3, $3, 1, 'manual', now(), 'running', $4, true, 1, $5, 3, 3, 'default', 'dedicated', $2, now())`,
    [partitionAtOf(id), id, job.id, kind === 'held', kind === 'in flight' ? 0 : 1],
  );
  if (kind !== 'in flight')
    await pool.query(
      `INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at) VALUES ($1, $2, 1, 'default', 'failed', now(), now())`,
      [partitionAtOf(id), id],
    );
  await pool.query(`UPDATE job_runtime SET active = active + $2, waiting = waiting + $3 WHERE job_id = $1`, [
    job.id,
    Number(kind !== 'held'),
    Number(kind === 'held'),
  ]);
  return id;
}
const rowOf = async (id: string) =>
  (await pool.query('SELECT status, cancel_requested_at, cancel_by FROM job_executions WHERE id = $1', [id])).rows[0];
const freezeOf = async (id: string) => (await pool.query('SELECT drained_at, cancelled FROM freezes WHERE id = $1', [id])).rows[0];
const ends = (id: string) => pool.query(`UPDATE job_executions SET status = 'succeeded', finished_at = now() WHERE id = $1`, [id]);

test('a freeze that drains is drained when no call is under way; a try that waits for its end is none', async () => {
  const job = await seedJob(pool);
  const [calling, held] = [await underWay(job, 'in flight'), await underWay(job, 'held')];
  const id = await freeze(job, { drain: true });
  const other = await freeze(await seedJob(pool), { drain: true });
  await running(async () => (await freezeOf(other)).drained_at);
  assert.equal((await freezeOf(id)).drained_at, null, 'its call is in flight');
  await ends(calling);
  await running(async () => (await freezeOf(id)).drained_at);
  assert.deepEqual([(await rowOf(held)).status, (await rowOf(held)).cancel_requested_at], ['running', null], 'draining stops nothing');
});

test('a freeze that cancels ends what is between two tries at once, and asks calls in flight to stop, once', async () => {
  const [job, spared] = [await seedJob(pool), await seedJob(pool)];
  const rows = [await underWay(job, 'in flight'), await underWay(job, 'between tries'), await underWay(job, 'held')];
  const elsewhere = await underWay(spared, 'in flight');
  const id = await freeze(job, { cancels: true });
  await running(async () => (await freezeOf(id)).cancelled === 3);
  const [calling, between, held] = await Promise.all(rows.map(rowOf));
  assert.deepEqual([calling.status, between.status, held.status], ['running', 'cancelled', 'cancelled']);
  assert.ok(calling.cancel_requested_at);
  assert.deepEqual(new Set([calling.cancel_by, between.cancel_by, held.cancel_by]), new Set([`almanac: freeze ${id}`]));
  assert.equal((await rowOf(elsewhere)).cancel_requested_at, null);
  await ends(rows[0]!);
  await running(async () => (await freezeOf(id)).drained_at);
  assert.equal((await freezeOf(id)).cancelled, 3);
});
