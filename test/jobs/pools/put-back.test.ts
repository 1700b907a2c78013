/** Claims whose call was not made are given back; their numbers are taken again, and say nothing of who holds them. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cancelExecution } from '../../../src/jobs/execution-store.ts';
import { partitionAtOf } from '../../../src/jobs/ids.ts';
import { type BegunCall, beginPool, putBack, recordPool } from '../../../src/jobs/pools/pool-store.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { countersOf, seedJob } from '../../support/seed.ts';
import { seedPooledTrigger } from './pooled-jobs.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

/** Makes claims of one execution, as parts of workers would. */
async function claimed(poolId: string) {
  const job = await seedJob(pool, { overlap: 'allow_all' });
  const id = await seedPooledTrigger(pool, job, poolId);
  const begin = async (chunk: string): Promise<BegunCall> => {
    const [call] = await beginPool(pool, { team: 'default', pool: poolId, runId: 'run-1', chunk, priority: 3, from: '', to: 'zzzz' });
    return call!;
  };
  const giveBack = (chunk: string, { attempt }: BegunCall) =>
    putBack(pool, 'default', chunk, [{ partitionAt: partitionAtOf(id)!, id, attempt }]);
  const seen = async () => {
    const { rows } = await pool.query(
      'SELECT status, attempt, chunk, tries, dispatch FROM job_executions WHERE partition_at = $1 AND id = $2',
      [partitionAtOf(id), id],
    );
    return rows[0];
  };
  return { job, id, begin, giveBack, seen };
}

const outcome = (call: BegunCall, status: string, more: object = {}) => ({
  team: 'default',
  partitionAt: partitionAtOf(call.id)!.toISOString(),
  id: call.id,
  attempt: call.attempt,
  status,
  final: true,
  startedAt: new Date().toISOString(),
  finishedAt: new Date().toISOString(),
  worker: 'test',
  ...more,
});

test('a claim is put back once, also when the statement is repeated after somebody else has claimed the row', async () => {
  const { begin, giveBack, seen } = await claimed('group-repeated');
  const mine = await begin('1@mine');
  await giveBack('1@mine', mine);
  const theirs = await begin('1@theirs');
  assert.equal(theirs.attempt, mine.attempt);
  await giveBack('1@mine', mine);
  const row = await seen();
  assert.deepEqual([row.status, row.attempt, row.chunk], ['running', theirs.attempt, '1@theirs']);
});

test('a failure under a claim that was lost is dropped, also when the claim after it was put back; a success is not', async () => {
  for (const final of [false, true]) {
    const { job, begin, giveBack, seen } = await claimed(`group-lost-${final}`);
    const lost = await begin('1@lost');
    const next = await begin('1@next');
    await giveBack('1@next', next);
    const [late] = await recordPool(pool, [outcome(lost, 'failed', { final, retryInMs: final ? null : 60_000 })]);
    assert.deepEqual([(late as { applied: boolean }).applied, late!.released], [false, null]);
    assert.deepEqual(await seen(), { status: 'queued', attempt: 1, chunk: '1@next', tries: 0, dispatch: 'pooled' });
    const [success] = await recordPool(pool, [outcome(lost, 'succeeded')]);
    assert.equal((success as { applied: boolean }).applied, true);
    assert.equal((await seen()).status, 'succeeded');
    assert.deepEqual(await countersOf(pool, job.id), { active: 0, waiting: 0, rowsActive: 0, rowsWaiting: 0 });
  }
});

test('who gives claims back is told which of them were cancelled, also by the repeat', async () => {
  const { id, begin, giveBack, seen } = await claimed('group-cancelled');
  const call = await begin('1@mine');
  assert.equal((await cancelExecution(pool, { team: 'default', partitionAt: partitionAtOf(id)!, id, by: 'test' })).verdict, 'requested');
  assert.deepEqual(await giveBack('1@mine', call), [id]);
  assert.deepEqual(await giveBack('1@mine', call), [id]);
  assert.deepEqual([(await seen()).status, (await seen()).attempt], ['queued', 0]);
});
