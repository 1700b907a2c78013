/** Notifications through real processes: what a worker records reaches people, once, whoever dies, and also while Temporal is away. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { createTestDatabase } from '../support/stack.ts';

const WITHIN_MS = 60_000;
let almanac: Almanac;
let receiver: Receiver;
let works = false;
const closing: (() => Promise<unknown>)[] = [];

before(async () => {
  receiver = await startReceiver(({ path }, response) => {
    response.writeHead(path === '/target' && !works ? 500 : 200).end('said');
  });
  almanac = await startAlmanac({ controllers: 2, settings: { PUBLIC_URL: 'https://almanac.example' } });
});
after(async () => {
  for (const close of closing) await close();
  await almanac?.close();
  await receiver?.close();
});

const toldOf = (path: string) =>
  receiver.calls.filter((call) => call.path === path).map((call) => (JSON.parse(call.body) as { type: string }).type);

test('a job that fails, recovers and succeeds is told as it is, signed, once each', async () => {
  const { api } = almanac;
  const made = await api.post('/channels', { type: 'webhook', name: 'hook', url: `${receiver.url}/hook`, groupWindow: '1s' });
  assert.equal(made.status, 201, made.text);
  const target = { type: 'http', url: `${receiver.url}/target` };
  const retry = { maxAttempts: 2, initialInterval: '100ms', nonRetryable: [] };
  const notify = [{ on: ['failed', 'recovered', 'succeeded'], channel: 'hook' }];
  assert.equal((await api.post('/jobs', { name: 'told', target, retry, notify })).status, 201);
  const run = async () => {
    const { body } = await api.post('/schedule/told/trigger');
    return almanac.finished('told', body.id, WITHIN_MS);
  };
  assert.equal((await run()).status, 'failed');
  await until('the failure is told', async () => toldOf('/hook').length >= 1, WITHIN_MS);
  works = true;
  assert.equal((await run()).status, 'succeeded');
  await until('recovery and success are told', async () => toldOf('/hook').length >= 3, WITHIN_MS);
  assert.deepEqual(toldOf('/hook').toSorted(), ['job.failed', 'job.recovered', 'job.succeeded']);
  const call = receiver.calls.find(({ path }) => path === '/hook')!;
  const verified = new Webhook(made.body.secret).verify(call.body, call.headers as Record<string, string>) as {
    data: { jobs: { name: string; reason: string; url: string }[] };
  };
  assert.match(verified.data.jobs[0]?.reason ?? '', /500/);
  assert.match(verified.data.jobs[0]?.url ?? '', /^https:\/\/almanac\.example\/api\/v1\/executions\/job_/);
  const { body } = await api.call('GET', '/deliveries?channel=hook&state=delivered');
  assert.equal(body.items.length, 3);
});

test('what a controller that is killed has begun, another one ends', async () => {
  const { api, pool } = almanac;
  await api.post('/channels', { type: 'webhook', name: 'killed', url: `${receiver.url}/killed`, groupWindow: '0s' });
  const { body: job } = await api.post('/jobs', {
    name: 'killed',
    target: { type: 'http', url: `${receiver.url}/target` },
    notify: [{ on: ['late'], channel: 'killed' }],
  });
  await pool.query(`SELECT raise_event('default', $1, 'late', NULL, NULL, NULL) FROM generate_series(1, 100)`, [job.id]);
  await until('the first are told', async () => toldOf('/killed').length > 0, WITHIN_MS);
  await almanac.processes.controller[0]!.kill();
  await pool.query(`SELECT raise_event('default', $1, 'late', NULL, NULL, NULL) FROM generate_series(1, 20)`, [job.id]);
  // what the dead one had claimed is due when its lease ends; the test does not wait for that
  await until(
    'nothing is left but what the dead one held',
    async () => {
      await pool.query(`UPDATE deliveries SET due_at = now() WHERE state = 'sending' AND due_at < now() + interval '110 seconds'`);
      const { rows } = await pool.query<{ left: number }>(
        `SELECT count(*)::integer AS left FROM deliveries WHERE channel_name = 'killed' AND finished_at IS NULL`,
      );
      return rows[0]!.left === 0 && toldOf('/killed').length >= 120;
    },
    3 * WITHIN_MS,
  );
  const ids = receiver.calls.filter(({ path }) => path === '/killed').map(({ headers }) => headers['webhook-id']);
  assert.equal(new Set(ids).size, 120, 'every event is told');
  assert.ok(ids.length <= 120 + 4, `${ids.length} calls: only what was under way at the kill may come twice`);
});

test('while Temporal is away people are told all the same', async () => {
  const database = await createTestDatabase();
  closing.push(database.drop);
  const alone = await startAlmanac({ workers: 0, servers: { databaseUrl: database.url, temporalAddress: '127.0.0.1:1' } });
  closing.unshift(alone.close);
  await alone.api.post('/channels', { type: 'webhook', name: 'away', url: `${receiver.url}/away`, groupWindow: '1s' });
  const job = await alone.api.post('/jobs', {
    name: 'away',
    target: { type: 'http', url: `${receiver.url}/target` },
    notify: [{ on: ['missed'], channel: 'away' }],
  });
  assert.equal(job.status, 201, job.text);
  await alone.pool.query(`SELECT raise_event('default', $1, 'missed', NULL, NULL, NULL)`, [job.body.id]);
  await until('it is told', async () => toldOf('/away').length > 0, WITHIN_MS);
  const tested = await alone.api.post('/channels/away/test');
  assert.deepEqual([tested.status, tested.body.state], [200, 'delivered']);
});
