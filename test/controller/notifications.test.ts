/** The loops of notifications in a controller that has no Temporal: nobody is kept waiting by a channel that hangs, and what was under way at the end is not lost. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createWaysOut } from '../../src/activities/targets/ways-out.ts';
import { readConfig } from '../../src/config.ts';
import { createController } from '../../src/controller/controller.ts';
import type { Message } from '../../src/jobs/notifications/message.ts';
import { createSender } from '../../src/jobs/notifications/sender.ts';
import { createMetrics } from '../../src/metrics.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { createTestDatabase, type TestDatabase } from '../support/stack.ts';
import { clientOf, silent, until } from './room.ts';

let database: TestDatabase;
let pool: Pool;
let receiver: Receiver;
const temporal = clientOf('127.0.0.1:1', 'nowhere');
before(async () => {
  database = await createTestDatabase();
  pool = createPool({ DATABASE_URL: database.url, DATABASE_POOL: 10, DATABASE_CONNECT_TIMEOUT_MS: 30_000 }, silent, 'test');
  receiver = await startReceiver(({ path }, response) => {
    if (path !== '/hangs') response.end('said');
  });
});
after(async () => {
  await receiver.close();
  await temporal.connection.close();
  await pool.end();
  await database.drop();
});

const MESSAGE: Message = { kind: 'failed', team: 'default', channel: 'c', from: '', to: '', events: 0, jobCount: 0, jobs: [], link: '/' };

/** Deliveries to a channel of its own, all due. */
async function due(name: string, count: number): Promise<void> {
  const settings = { type: 'webhook', name, url: `${receiver.url}/${name}`, headers: {}, groupWindow: '0s', secret: '********' };
  await pool.query(
    `INSERT INTO channels (id, team, name, type, settings, secrets, created_by) VALUES ($1, 'default', $1, 'webhook', $2, $3, 'test')`,
    [name, JSON.stringify(settings), JSON.stringify({ '/secret': `whsec_${Buffer.alloc(32).toString('base64')}` })],
  );
  await pool.query(
    `INSERT INTO deliveries (id, team, channel_id, channel_name, channel_type, kind, group_key, state, events, created_at, due_at, message)
     SELECT 'dlv_' || $1 || nth, 'default', $1, $1, 'webhook', 'failed', 'failed' || nth, 'waiting', 0, now() - interval '1 minute', now() - interval '1 minute', $3 FROM generate_series(1, $2::integer) nth`,
    [name, count, JSON.stringify(MESSAGE)],
  );
}
const states = async (name: string) =>
  (
    await pool.query<{ state: string; count: number }>(
      'SELECT state, count(*)::integer AS count FROM deliveries WHERE channel_id = $1 GROUP BY state ORDER BY state',
      [name],
    )
  ).rows;

test('a channel that hangs has four attempts under way, others are told meanwhile, and a stop puts back what has not ended', async (t) => {
  await due('hangs', 50);
  const waysOut = createWaysOut({ allow: ['127.0.0.0/8'], deny: [] });
  const send = createSender({ waysOut, mail: { smtpUrl: '', from: '' }, publicUrl: '', timeoutMs: 600_000 });
  const metrics = createMetrics('controller');
  const controller = createController({
    pool,
    temporal,
    log: silent,
    metrics,
    config: readConfig({ DATABASE_URL: database.url, TEMPORAL_ADDRESS: '127.0.0.1:1' }),
    notifications: { send, keepDays: 30 },
  });
  controller.start();
  t.after(async () => {
    await controller.stop();
    await waysOut.close();
  });
  await until('four attempts hang', async () => receiver.calls.length === 4, 60_000);
  await due('works', 40);
  await until(
    'the others are told',
    async () => (await states('works')).some(({ state, count }) => state === 'delivered' && count === 40),
    60_000,
  );
  await until(
    'the gauge tells',
    async () => /notification_backlog_seconds\{of="deliveries".*\} [1-9]/.test(await metrics.registry.metrics()),
    60_000,
  );
  assert.deepEqual(await states('works'), [{ state: 'delivered', count: 40 }]);
  assert.deepEqual(await states('hangs'), [
    { state: 'sending', count: 4 },
    { state: 'waiting', count: 46 },
  ]);
  const counted = /notifications_total\{type="webhook",outcome="delivered".*\} 40/;
  await until('the counter tells', async () => counted.test(await metrics.registry.metrics()), 60_000);
  await controller.stop();
  assert.deepEqual(await states('hangs'), [{ state: 'waiting', count: 50 }]);
  const { rows } = await pool.query<{ attempts: number }>(`SELECT DISTINCT attempts FROM deliveries WHERE channel_id = 'hangs'`);
  assert.deepEqual(rows, [{ attempts: 0 }]);
});
