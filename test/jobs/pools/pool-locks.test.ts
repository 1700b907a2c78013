/** Jobs are locked before rows, here as everywhere: whoever stops executions and whoever serves them never wait for each other. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readConfig } from '../../../src/config.ts';
import { cancelExecution } from '../../../src/jobs/execution-store.ts';
import { partitionAtOf } from '../../../src/jobs/ids.ts';
import { beginPool } from '../../../src/jobs/pools/pool-store.ts';
import { createLog } from '../../../src/log.ts';
import { createPool, type Pool } from '../../../src/postgres.ts';
import { countersOf, seedJob } from '../../support/seed.ts';
import { createTestDatabase } from '../../support/stack.ts';
import { seedPooledTrigger } from './pooled-jobs.ts';

let pool: Pool;
let drop: () => Promise<void>;
before(async () => {
  const database = await createTestDatabase();
  pool = createPool(readConfig({ DATABASE_URL: database.url }), createLog('test', 'silent'), 'test');
  drop = database.drop;
});
after(async () => {
  await pool.end();
  await drop();
});

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
