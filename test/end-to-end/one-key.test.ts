import { test } from 'node:test';
import { startAlmanac } from '../support/almanac.ts';
import { oneKeyRounds } from './one-key-rounds.ts';

test('20 parallel POSTs with one Idempotency-Key over two API processes make one job, one schedule, one audit event and one answer', async (t) => {
  const almanac = await startAlmanac({ apis: 2, workers: 0, controllers: 1 });
  try {
    const { slowestMs } = await oneKeyRounds(almanac, 10);
    t.diagnostic(`slowest of 10 rounds: ${slowestMs} ms`);
  } finally {
    await almanac.close();
  }
});
