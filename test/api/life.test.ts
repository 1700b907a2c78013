/** The API process in bad weather: servers away, keys changed, told to stop. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { createApiKeys } from '../../src/jobs/api-keys.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { ADMIN_KEY, type ApiStack, createApiStack } from './running-api.ts';

let stack: ApiStack;
let pool: Pool;
before(async () => {
  stack = await createApiStack();
  pool = createPool(
    { DATABASE_URL: stack.databaseUrl, DATABASE_POOL: 5, DATABASE_CONNECT_TIMEOUT_MS: 5_000 },
    createLog('test', 'silent'),
    'test',
  );
});
after(async () => {
  await pool.end();
  await stack.close();
});

const NOBODY = '127.0.0.1:1';

describe('an API without its servers', () => {
  test('starts, is alive, says what is missing, and answers 503 with Retry-After', async () => {
    const api = await stack.start({ DATABASE_URL: `postgres://x@${NOBODY}/x`, TEMPORAL_ADDRESS: NOBODY });
    assert.equal((await api.call('GET', '/health')).status, 200);
    const ready = await api.call('GET', '/health/ready');
    const failed = (ready.body.checks as { name: string; ok: boolean }[]).filter(({ ok }) => !ok).map(({ name }) => name);
    assert.deepEqual([ready.status, failed], [503, ['postgres', 'temporal', 'migrations']]);
    for (const [method, path, body] of [
      ['GET', '/api/v1/jobs'],
      ['POST', '/api/v1/jobs', '{}'],
      ['GET', '/api/v1/executions'],
    ] as const) {
      const answer = await api.call(method, path, body);
      assert.deepEqual([answer.status, answer.body.code, answer.headers.get('retry-after')], [503, 'postgres_away', '2'], path);
    }
    assert.equal(await api.process.stop(), 0);
  });

  test('without Temporal alone it writes, and says pending', async () => {
    const api = await stack.start({ TEMPORAL_ADDRESS: NOBODY, SYNC_BUDGET_MS: '200' });
    const startedAt = performance.now();
    const created = await api.call('POST', '/api/v1/jobs', {
      name: 'patient',
      schedule: { every: '1h' },
      target: { type: 'http', url: 'https://example.com' },
    });
    assert.deepEqual([created.status, created.body.sync], [201, 'pending'], created.text);
    assert.ok(performance.now() - startedAt < 2_000);
    assert.equal((await api.call('GET', '/api/v1/schedule/status')).status, 200);
    const triggered = await api.call('POST', '/api/v1/schedule/patient/trigger');
    assert.equal(triggered.status, 202, triggered.text);
    assert.equal((await api.call('GET', `${triggered.headers.get('location')}`)).body.live, null);
    assert.equal((await api.call('DELETE', '/api/v1/jobs/patient')).status, 200);
    assert.equal(await api.process.stop(), 0);
  });
});

describe('SIGTERM', () => {
  test('lets the request under way finish, takes no new one, and ends with 0', async () => {
    const api = await stack.start();
    await api.call('POST', '/api/v1/jobs', { name: 'slow', target: { type: 'http', url: 'https://example.com' } });
    const slow = api.call('POST', '/api/v1/schedule/slow/trigger?wait=2s');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const stopped = api.process.stop();
    await api.process.line((line) => line.msg === 'stopping');
    await assert.rejects(api.call('GET', '/health'));
    assert.equal((await slow).status, 202);
    assert.equal(await stopped, 0);
  });
});

describe('a port in use', () => {
  test('is named together with its variable', async () => {
    const api = await stack.start();
    await assert.rejects(stack.start({ PORT: new URL(api.url).port }), /set PORT to a free one/);
    await api.process.stop();
  });
});

describe('keep-alive', () => {
  test('connections are kept for 30 s and said so', async () => {
    const api = await stack.start();
    const headers = await new Promise<Record<string, unknown>>((resolve, reject) => {
      request(`${api.url}/health`, { headers: { Connection: 'keep-alive' } }, (response) => {
        response.resume();
        resolve(response.headers);
      })
        .on('error', reject)
        .end();
    });
    assert.equal(headers['keep-alive'], 'timeout=30');
    await api.process.stop();
  });
});

describe('the bootstrap key', () => {
  test('another one replaces it; the old one is refused once the memory of it has passed', async () => {
    let now = 1_000_000;
    const keys = createApiKeys({ pool, log: createLog('test', 'silent'), now: () => now });
    await keys.ensureBootstrapKey(ADMIN_KEY);
    assert.equal((await keys.find(ADMIN_KEY))?.role, 'admin');
    const other = createApiKeys({ pool, log: createLog('test', 'silent') });
    await other.ensureBootstrapKey('another-bootstrap-key-0123456789abcdef');
    assert.equal((await other.find('another-bootstrap-key-0123456789abcdef'))?.holder, 'key_bootstrap');
    assert.equal(await other.find(ADMIN_KEY), null);
    assert.equal((await keys.find(ADMIN_KEY))?.holder, 'key_bootstrap');
    now += 300_001;
    assert.equal(await keys.find(ADMIN_KEY), null);
    await keys.ensureBootstrapKey(ADMIN_KEY);
  });
  test('is never stored itself, and a known key needs no Postgres', async () => {
    const { rows } = await pool.query<{ text: string }>('SELECT api_keys::text AS text FROM api_keys');
    assert.equal(rows.length, 1);
    assert.ok(!rows[0]?.text.includes(ADMIN_KEY));
    const own = createPool(
      { DATABASE_URL: stack.databaseUrl, DATABASE_POOL: 1, DATABASE_CONNECT_TIMEOUT_MS: 5_000 },
      createLog('test', 'silent'),
      'test',
    );
    const keys = createApiKeys({ pool: own, log: createLog('test', 'silent') });
    await keys.find(ADMIN_KEY);
    await own.end();
    assert.ok(!(keys.find(ADMIN_KEY) instanceof Promise));
    await assert.rejects(async () => keys.find('unknown'));
  });
});
