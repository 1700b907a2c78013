import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConfig } from '../../src/config.ts';
import { alone } from '../../src/controller/alone.ts';
import { createLog } from '../../src/log.ts';
import { createPool } from '../../src/postgres.ts';
import { createTestDatabase } from '../support/stack.ts';

test('more loops than connections all get their turn: locks never take the connections that the work needs', async () => {
  const database = await createTestDatabase();
  const settings = readConfig({ DATABASE_URL: database.url, DATABASE_POOL: '4', DATABASE_CONNECT_TIMEOUT_MS: '10000' });
  const pool = createPool(settings, createLog('test', 'silent'), 'test');
  try {
    let most = 0;
    let held = 0;
    const work = async () => {
      held += 1;
      most = Math.max(most, held);
      await pool.query('SELECT pg_sleep(0.05)');
      held -= 1;
      return 'done';
    };
    const answers = await Promise.all(Array.from({ length: 12 }, (_, nth) => alone(pool, `loop-${nth}`, work)));
    assert.deepEqual(new Set(answers), new Set(['done']));
    assert.equal(most, 2, 'of four connections two are locks');
    const [first, second] = await Promise.all([alone(pool, 'same', work), alone(pool, 'same', work)]);
    assert.deepEqual([first, second].sort(), ['done', undefined], 'who finds the lock taken does nothing');
  } finally {
    await pool.end();
    await database.drop();
  }
});
