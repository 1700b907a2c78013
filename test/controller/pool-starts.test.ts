/** Pools whose start was lost, more of them than the controller takes at once. Temporal is not asked. */
import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import { executionsUnstarted } from '../../src/controller/execution-watch-store.ts';
import { createServers } from '../../src/controller/servers.ts';
import type { StartOne } from '../../src/controller/start-one.ts';
import { createStarts } from '../../src/controller/starts.ts';
import { seedPooledTrigger } from '../jobs/pools/pooled-jobs.ts';
import { seedJob } from '../support/seed.ts';
import { openRoom, type Room, silent, until } from './room.ts';

const POOLS = 450;

let room: Room;
const pools = Array.from({ length: POOLS }, (_, nth) => `group-default-${String(nth).padStart(4, '0')}`);
before(async () => {
  room = await openRoom();
  const job = await seedJob(room.pool);
  for (const id of pools) await seedPooledTrigger(room.pool, job, id);
  // the last of them is due first
  await room.pool.query(
    `UPDATE job_executions SET created_at = now() - interval '1 hour', due_at = now() - make_interval(secs => right(workflow_id, 4)::integer)`,
  );
});
after(() => room.close());

test('the pools that are due first are found first, and those that were started a moment ago are left out', async () => {
  const found = await executionsUnstarted(room.pool, 2_000, 3);
  assert.deepEqual(
    found.map((row) => row.workflowId),
    pools.slice(-3).reverse(),
  );
  const [next] = await executionsUnstarted(room.pool, 2_000, 3, pools.slice(-3));
  assert.equal(next!.workflowId, pools.at(-4));
});

test('all of them are started before their rows are told, and none twice meanwhile', async (t) => {
  const asked: string[] = [];
  startsWith(t, async ({ workflowId }) => {
    asked.push(workflowId);
    return true;
  });
  await until('every pool is started', async () => new Set(asked).size === POOLS, 10_000);
  assert.equal(asked.length, POOLS, 'each once');
  assert.deepEqual(asked.slice(0, 200).toSorted(), pools.slice(-200));
});

test('when none of them can be started the next look is a second later', async (t) => {
  let asked = 0;
  const began = performance.now();
  startsWith(t, async () => {
    asked += 1;
    return false;
  });
  await until('the third look', async () => asked > 400);
  assert.ok(performance.now() - began > 1_500, 'a pause before each of two more looks');
});

function startsWith(t: TestContext, startOne: StartOne): void {
  const servers = createServers({ pool: room.pool, temporal: room.temporal, log: silent, onBack: () => {} });
  const loop = createStarts({ pool: room.pool, startOne, servers, log: silent });
  loop.start();
  t.after(async () => {
    await loop.stop();
    await servers.stop();
  });
}
