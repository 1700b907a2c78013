/** Jobs are locked before rows, here as everywhere: whoever stops executions and whoever serves them never wait for each other. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cancelExecution } from '../../../src/jobs/execution-store.ts';
import { partitionAtOf } from '../../../src/jobs/ids.ts';
import { beginPool, beginPoolSlot, refusePool } from '../../../src/jobs/pools/pool-store.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { countersOf, seedJob } from '../../support/seed.ts';
import { seedPooledJobs, seedPooledOnce, seedPooledTrigger } from './pooled-jobs.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

test('a range is begun again after a crash while its executions are being cancelled, without a deadlock', async () => {
  for (let round = 0; round < 4; round++) {
    const job = await seedJob(pool, { overlap: 'allow_all' });
    const poolId = `group-cancelled-${round}`;
    const range = { team: 'default', pool: poolId, chunk: '1@test', from: '', to: 'zzzz', priority: 3, bufferLimit: 1_000 };
    const ids: string[] = [];
    for (let nth = 0; nth < 120; nth++) ids.push(await seedPooledTrigger(pool, job, poolId));
    await beginPool(pool, { ...range, runId: 'run-1' });
    const cancel = (id: string) => cancelExecution(pool, { team: 'default', partitionAt: partitionAtOf(id)!, id, by: 'test' });
    for (const id of ids.slice(-5)) await cancel(id);
    const [begun] = await Promise.all([beginPool(pool, { ...range, runId: 'run-2' }), ...ids.slice(0, 60).map(cancel)]);
    assert.equal(begun.length, ids.length);
    const counters = await countersOf(pool, job.id);
    assert.deepEqual([counters.active, counters.waiting], [counters.rowsActive, counters.rowsWaiting]);
  }
});

test('an execution that is cancelled while its range is being begun waits for nobody, and nobody for it', async () => {
  const [held, job] = [await seedJob(pool), await seedJob(pool, { overlap: 'allow_all' })];
  const poolId = 'group-meanwhile';
  const range = { team: 'default', pool: poolId, chunk: '1@test', from: '', to: 'zzzz', priority: 3 };
  const [cancelled, other] = [await seedPooledTrigger(pool, job, poolId), await seedPooledTrigger(pool, job, poolId)];
  await beginPool(pool, { ...range, runId: 'run-1' });
  await seedPooledOnce(pool, held, poolId, new Date(Date.now() - 10));

  const [first, second] = [await pool.connect(), await pool.connect()];
  await first.query('BEGIN');
  await first.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [held.id]);
  let isBegun = false;
  const begun = beginPool(pool, { ...range, runId: 'run-2' }).finally(() => (isBegun = true));
  const somebodyWaits = async () => (await pool.query('SELECT 1 FROM pg_locks WHERE NOT granted')).rowCount! > 0;
  while (!(await somebodyWaits())) await new Promise(setImmediate);
  await cancelExecution(pool, { team: 'default', partitionAt: partitionAtOf(cancelled)!, id: cancelled, by: 'test' });
  // as whoever cancels the other one does it: the job, then the row
  await second.query('BEGIN');
  await second.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [job.id]);
  await first.query('ROLLBACK');
  first.release();
  while (!isBegun && !(await somebodyWaits())) await new Promise(setImmediate);
  await second.query('SELECT 1 FROM job_executions WHERE id = $1 FOR UPDATE', [other]);
  await second.query('COMMIT');
  second.release();

  const decisions = new Map((await begun).map((row) => [row.id, row.decision]));
  assert.deepEqual([decisions.get(cancelled), decisions.get(other)], ['refused', 'run']);
  const rows = [{ partitionAt: partitionAtOf(cancelled)!, id: cancelled }];
  const [said] = await refusePool(pool, { ...range, runId: 'run-2', rows, bufferLimit: 10 });
  assert.deepEqual([said!.id, said!.decision], [cancelled, 'stopped']);
  assert.deepEqual(await countersOf(pool, job.id), { active: 1, waiting: 0, rowsActive: 1, rowsWaiting: 0 });
});

test('a member that comes to a range while it is locked is not begun before anybody has asked what its calendars say', async () => {
  const { clock, jobs } = await seedPooledJobs(pool, [{ everyS: 77 }, { everyS: 77 }]);
  const [held, comes] = jobs.map(({ id }) => id);
  const nominal = new Date(Math.floor(Date.now() / 77_000) * 77_000);
  await pool.query(`UPDATE jobs SET updated_at = now() - interval '1 hour' WHERE id = ANY ($1)`, [[held, comes]]);
  await pool.query(
    `UPDATE job_runtime SET priority = 5, catch_up = 'all', overlap = 'allow_all', exclude_calendars = '{off}', calendar_zone = 'UTC' WHERE job_id = $1`,
    [comes],
  );
  await pool.query(`INSERT INTO calendar_spans (team, calendar, zone, from_at, to_at) VALUES ('default', 'off', 'UTC', $1, $2)`, [
    new Date(nominal.getTime() - 1_000),
    new Date(nominal.getTime() + 1_000),
  ]);
  const first = await pool.connect();
  await first.query('BEGIN');
  await first.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [held]);
  const begun = beginPoolSlot(pool, {
    team: 'default',
    pool: `${clock}-slot`,
    runId: 'run-1',
    chunk: '1@test',
    bufferLimit: 10,
    priority: 3,
    from: held!,
    to: comes!,
    clock,
    nominal,
    successor: new Date(nominal.getTime() + 77_000),
    plannedAt: new Date().toISOString(),
  });
  while ((await pool.query('SELECT 1 FROM pg_locks WHERE NOT granted')).rowCount === 0) await new Promise(setImmediate);
  await pool.query('UPDATE job_runtime SET priority = 3 WHERE job_id = $1', [comes]);
  await first.query('ROLLBACK');
  first.release();
  assert.ok(!(await begun).some(({ id }) => id.startsWith(comes!)));
  assert.equal((await pool.query('SELECT 1 FROM job_executions WHERE job_id = $1', [comes])).rowCount, 0);
});
