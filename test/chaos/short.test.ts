/** The short form of test/chaos/run.ts: one worker, then everything at once, each with 20 executions in flight. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runChaos } from './chaos.ts';
import { openStage } from './stage.ts';

test('kill -9 of a worker and of everything loses nothing, doubles nothing, and all is terminal and right within a minute', async (t) => {
  const { violations, kills } = await runChaos({
    seed: Date.now() % 100_000,
    forMs: 0,
    only: ['worker', 'everything'],
    openStage: () => openStage({ ...process.env }, 1),
    long: false,
    // other tests run beside this one
    uncommittedMs: 2_000,
    say: (sentence) => t.diagnostic(sentence),
  });
  assert.deepEqual(violations, []);
  assert.ok(kills.every((kill) => kill.inFlight >= 20));
});
