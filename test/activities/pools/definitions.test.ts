/** Definitions of pooled calls are remembered by the thousand; what a range needs is there, however much is forgotten meanwhile. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createDefinitions } from '../../../src/activities/pools/definitions.ts';
import { newExecutionId } from '../../../src/jobs/ids.ts';
import type { BegunCall } from '../../../src/jobs/pools/pool-store.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { seedJob } from '../../support/seed.ts';

let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

/** As much of a begun call as its definition is found by. */
const callsOf = async (count: number): Promise<BegunCall[]> => {
  const calls: BegunCall[] = [];
  for (let nth = 0; nth < count; nth++) {
    const { id } = await seedJob(pool);
    calls.push({ id: newExecutionId(id, 'manual'), generation: '1' } as BegunCall);
  }
  return calls;
};

test('a range of which some definitions are known and others are not gets all of them, even when the known ones are the first to be forgotten', async () => {
  const definitions = createDefinitions({ pool, remembered: 3 });
  const calls = await callsOf(5);
  await definitions.of('default', calls.slice(0, 3));
  const { of } = await definitions.of('default', calls);
  assert.deepEqual(
    calls.map((call) => of.get(call)?.jobId),
    calls.map((call) => call.id.slice(0, 40)),
  );
});

test('ranges that are begun at the same time do not take each other’s definitions away', async () => {
  const definitions = createDefinitions({ pool, remembered: 2 });
  const calls = await callsOf(6);
  await definitions.of('default', calls.slice(0, 2));
  const both = await Promise.all([definitions.of('default', [calls[0]!, calls[2]!]), definitions.of('default', calls.slice(3))]);
  assert.deepEqual(
    both.map(({ of }) => of.size),
    [2, 3],
  );
});
