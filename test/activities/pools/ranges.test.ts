/** How a worker begins ranges of a pool: slots that are none, rows that come due later, repeats that meet their former self. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { asyncLocalStorage, type Context } from '@temporalio/activity';
import { createRangeReader } from '../../../src/activities/pools/range-reader.ts';
import { createServeRanges, type ServeRangesDeps } from '../../../src/activities/pools/serve-ranges.ts';
import { pooledClockId } from '../../../src/jobs/ids.ts';
import type { Pool } from '../../../src/postgres.ts';
import type { PoolRange } from '../../../src/workflows/pool-activities.ts';
import { seedPooledJobs, seedPooledOnce } from '../../jobs/pools/pooled-jobs.ts';
import { openTestPool } from '../../support/pool.ts';
import { seedJob } from '../../support/seed.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

type Beats = { count: number; cancel: AbortController };

/** Runs as an activity of the workflow of that id. */
function asActivity<T>(workflowId: string, work: () => Promise<T>, beats: Beats = { count: 0, cancel: new AbortController() }): Promise<T> {
  const info = { activityId: '1', isLocal: false, workflowExecution: { workflowId, runId: 'run-1' } };
  const context = { info, cancellationSignal: beats.cancel.signal, heartbeat: () => (beats.count += 1) };
  return asyncLocalStorage.run(context as unknown as Context, work);
}

const RANGE: PoolRange = { priority: 3, from: '', to: 'zzzz', size: 1, laterMs: 0, plannedAt: new Date(0).toISOString() };
const LIMITS = { BUFFER_LIMIT_SLOTS: 10, BUFFER_LIMIT_TRIGGERS: 10 };

test('a shared clock that is fired at a time that is no slot of it runs nothing, as a clock of one job', async () => {
  const { clock, jobs } = await seedPooledJobs(pool, [{ everyS: 60 }]);
  assert.equal(clock, pooledClockId(jobs[0]!.hash));
  const reader = createRangeReader({ pool, config: LIMITS });
  const minute = new Date(Math.floor(Date.now() / 60_000) * 60_000);
  const begin = async (at: Date) => {
    const slot = { clock, at: `${at.toISOString().slice(0, 19)}Z` };
    return (await asActivity(`${clock}-${slot.at}`, () => reader.begin({ team: 'default', ranges: [RANGE], slot }, RANGE))).length;
  };
  assert.equal(await begin(new Date(minute.getTime() - 1_000)), 0);
  assert.deepEqual((await pool.query('SELECT 1 FROM job_executions WHERE job_id = $1', [jobs[0]!.id])).rows, []);
  await begin(minute);
  assert.equal((await pool.query('SELECT 1 FROM job_executions WHERE job_id = $1', [jobs[0]!.id])).rowCount, 1);
});

test('what comes due later is begun when it is due, also when the timer fires early', async () => {
  const reader = createRangeReader({ pool, config: LIMITS });
  const input = { team: 'default', ranges: [RANGE] };
  const job = await seedJob(pool, { overlap: 'allow_all' });
  for (let nth = 0; nth < 30; nth++) {
    const poolId = `once-early-${nth}`;
    const range = { ...RANGE };
    const id = await seedPooledOnce(pool, job, poolId, new Date(Date.now() + 60));
    await asActivity(poolId, async () => {
      const next = await reader.nextDue(input, range, RANGE.plannedAt);
      await sleep(Math.max(0, next!.inMs - 5));
      assert.deepEqual(
        (await reader.beginLater(input, range, RANGE.plannedAt)).map((call) => call.id),
        [id],
      );
    });
  }
});

test('a repeat shows signs of life while it waits for its former self, and does nothing when it is given up meanwhile', async () => {
  let begun = 0;
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const reader = {
    begin: async () => {
      begun += 1;
      await held;
      return [];
    },
  };
  const deps = { pool, reader, stopping: new AbortController().signal, recorder: { startReleased: () => {} } };
  const { servePoolRanges } = createServeRanges(deps as unknown as ServeRangesDeps);
  const input = { team: 'default', ranges: [RANGE] };
  const former = asActivity('group-repeated', () => servePoolRanges(input));
  const beats: Beats = { count: 0, cancel: new AbortController() };
  const repeat = asActivity('group-repeated', () => servePoolRanges(input), beats);
  while (beats.count === 0) await sleep(20);
  beats.cancel.abort(new Error('given up'));
  release();
  await former;
  await assert.rejects(repeat, /given up/);
  assert.equal(begun, 1);
});

test('a range whose job is locked keeps other ranges from being begun for a moment only', { timeout: 30_000 }, async () => {
  const reader = createRangeReader({ pool, config: LIMITS });
  const [locked, free] = [await seedJob(pool, { overlap: 'allow_all' }), await seedJob(pool)];
  const begin = (poolId: string) => asActivity(poolId, () => reader.begin({ team: 'default', ranges: [RANGE] }, RANGE));
  const due = new Date(Date.now() - 10);
  for (let nth = 0; nth < 4; nth++) await seedPooledOnce(pool, locked, `once-locked-${nth}`, due);
  const id = await seedPooledOnce(pool, free, 'once-free', due);
  const holder = await pool.connect();
  await holder.query('BEGIN');
  await holder.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [locked.id]);
  const waiting = Promise.all([0, 1, 2, 3].map((nth) => begin(`once-locked-${nth}`)));
  assert.deepEqual(
    (await begin('once-free')).map((call) => call.id),
    [id],
  );
  await holder.query('ROLLBACK');
  holder.release();
  assert.deepEqual(
    (await waiting).map((calls) => calls.length),
    [1, 1, 1, 1],
  );
});

test('pools are served at once while few are; the plan of another is served by ordinary activities', { timeout: 30_000 }, async () => {
  let release = (): void => {};
  const held = new Promise<never[]>((resolve) => {
    release = () => resolve([]);
  });
  let begun = 0;
  const reader = {
    begin: () => {
      begun += 1;
      return held;
    },
  };
  const plan = { rows: async () => ({ ranges: [RANGE], members: false, nextDueAt: null }) };
  const deps = { pool, reader, plan, stopping: new AbortController().signal, mostAtOnce: 2 };
  const { servePoolAtOnce } = createServeRanges(deps as unknown as ServeRangesDeps);
  const serve = (poolId: string) => asActivity(poolId, () => servePoolAtOnce({ team: 'default' }));
  const hung = Promise.all([serve('group-1'), serve('group-2')]);
  while (begun < 2) await sleep(5);
  assert.deepEqual(await serve('group-3'), { plan: await plan.rows(), calls: 0 });
  assert.equal(begun, 2);
  release();
  await hung;
  await serve('group-3');
  assert.equal(begun, 3);
});
