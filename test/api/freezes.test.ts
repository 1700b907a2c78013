/** Freezes over HTTP: addresses, tags, keys, pages, and what a client may send. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
before(async () => {
  stack = await createApiStack();
  api = await stack.start();
  const made = await api.call('POST', '/api/v1/jobs', {
    name: 'nightly',
    category: 'reports',
    target: { type: 'http', url: 'https://example.com/' },
  });
  assert.equal(made.status, 201, made.text);
});
after(() => stack.close());

const FREEZES = '/api/v1/freezes';
const BODY = { scope: 'category', targets: ['reports'], reason: 'audit' };
const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();

test('a freeze has an address and a tag, is read, changed with If-Match, ended, and kept', async () => {
  const made = await api.call('POST', FREEZES, { ...BODY, to: inHours(2) });
  assert.equal(made.status, 201, made.text);
  const address = new URL(made.headers.get('location')!, api.url).pathname;
  assert.equal(address, `${FREEZES}/${made.body.id}`);
  assert.equal(made.headers.get('etag'), '"1"');
  const read = await api.call('GET', address);
  assert.deepEqual([read.status, read.body.state, read.headers.get('etag')], [200, 'active', '"1"']);
  const patch = { to: inHours(4) };
  const headers = { 'If-Match': '"1"', 'Content-Type': 'application/merge-patch+json' };
  const changed = await api.call('PATCH', address, patch, headers);
  assert.deepEqual([changed.status, changed.body.version, changed.headers.get('etag')], [200, 2, '"2"']);
  const stale = await api.call('PATCH', address, { reason: 'other' }, { 'If-Match': '"1"' });
  assert.deepEqual([stale.status, stale.body.code], [412, 'version_mismatch']);
  assert.equal((await api.call('DELETE', address)).status, 409);
  assert.equal((await api.call('POST', `${address}/end`, {}, { 'If-Match': '"1"' })).status, 412);
  const ended = await api.call('POST', `${address}/end`);
  assert.deepEqual([ended.status, ended.body.state], [200, 'ended']);
  assert.equal((await api.call('POST', `${address}/end`)).status, 409);
  assert.equal((await api.call('GET', address)).body.state, 'ended');
});

test('the same request with the same key makes one freeze, and ends it once; a dry run with that key is another request', async () => {
  const key = { 'Idempotency-Key': 'freeze-1' };
  const body = { ...BODY, from: inHours(1) };
  const answers = await Promise.all(Array.from({ length: 5 }, () => api.call('POST', FREEZES, body, key)));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([201]));
  assert.equal(new Set(answers.map((answer) => answer.body.id)).size, 1);
  const dry = await api.call('POST', FREEZES, { ...body, dryRun: true }, key);
  assert.deepEqual([dry.status, dry.body.code], [422, 'idempotency_key_reused']);
  const plan = await api.call('POST', FREEZES, { ...body, dryRun: true });
  assert.equal(plan.status, 200);
  assert.deepEqual(plan.body.jobs, {
    count: 1,
    sample: [{ id: (plan.body.jobs as { sample: { id: string }[] }).sample[0]!.id, name: 'nightly' }],
  });
  assert.equal((await api.call('DELETE', `${FREEZES}/${answers[0]!.body.id}`)).status, 204);

  const { body: now } = await api.call('POST', FREEZES, BODY);
  const end = () => api.call('POST', `${FREEZES}/${now.id}/end`, {}, { 'Idempotency-Key': 'end-1' });
  const [first, second] = [await end(), await end()];
  assert.deepEqual([first.status, second.status, second.headers.get('idempotency-replayed'), second.text], [200, 200, 'true', first.text]);
});

test('pages go on where the last one ended, and only with the filter they were made for', async () => {
  const ids: unknown[] = [];
  for (const hours of [5, 6, 7]) ids.unshift((await api.call('POST', FREEZES, { ...BODY, from: inHours(hours) })).body.id);
  const page = (query: string) => api.call('GET', `${FREEZES}?state=upcoming&limit=1${query}`);
  const seen: unknown[] = [];
  let cursor = '';
  for (let pages = 0; pages < 3; pages += 1) {
    const { body } = await page(cursor && `&cursor=${cursor}`);
    seen.push(...body.items.map(({ id }) => id));
    cursor = body.nextCursor as string;
  }
  assert.deepEqual([seen, cursor], [ids, null]);
  const { body } = await page('');
  assert.equal((await api.call('GET', `${FREEZES}?state=ended&limit=1&cursor=${body.nextCursor}`)).body.code, 'bad_cursor');
  assert.deepEqual((await api.call('GET', `${FREEZES}?state=upcoming&job=nightly&scope=category`)).body.items.length, 3);
  assert.equal((await api.call('GET', `${FREEZES}?job=nobody`)).status, 404);
  assert.match((await api.call('GET', `${FREEZES}?state=activ`)).text, /did you mean \\"active\\"/);
});

test('nonsense is answered with what would be right, never with a 500', async () => {
  const texts: [unknown, number][] = [
    [undefined, 422],
    [[], 422],
    ['{"scope":', 400],
    [{ ...BODY, scope: 7 }, 422],
    [{ ...BODY, targets: 'reports' }, 422],
    [{ ...BODY, targets: [null] }, 422],
    [{ ...BODY, targets: Array.from({ length: 1_001 }, (_, n) => `c${n}`) }, 422],
    [{ ...BODY, targets: ['a\u0000b'] }, 400],
    [{ ...BODY, targets: ['%', '_', "'; DROP TABLE freezes; --"] }, 422],
    [{ ...BODY, scope: 'tag', targets: [':', 'a:b:c', ':x'] }, 422],
    [{ ...BODY, scope: 'jobs', targets: ['job_', 'job_00000000-0000-7000-8000-000000000000'] }, 422],
    [{ ...BODY, reason: 'x'.repeat(1_001) }, 422],
    [{ ...BODY, from: '2026-02-31T00:00:00Z' }, 422],
    [{ ...BODY, to: '0001-01-01T00:00:00Z' }, 422],
    [{ ...BODY, to: inHours(100 * 366 * 24) }, 422],
    ['{"scope":"category","targets":["reports"],"reason":"x","from":1e400}', 400],
    [{ ...BODY, drain: 'yes' }, 422],
    [{ ...BODY, catchUp: 'all' }, 422],
    [`{"reason":"${'x'.repeat(10_000_000)}"}`, 413],
  ];
  for (const [body, status] of texts) {
    const answer = await api.call('POST', FREEZES, body, body === undefined ? { 'Content-Type': 'application/json' } : {});
    assert.equal(answer.status, status, `${JSON.stringify(body)?.slice(0, 100)}: ${answer.text.slice(0, 300)}`);
  }
  for (const id of ['x', 'frz_', `frz_${'0'.repeat(5_000)}`, '%20', 'é'.normalize()]) {
    const path = `${FREEZES}/${encodeURIComponent(id)}`;
    const statuses = [
      (await api.call('GET', path)).status,
      (await api.call('PATCH', path, { reason: 'x' })).status,
      (await api.call('POST', `${path}/end`)).status,
      (await api.call('DELETE', path)).status,
    ];
    assert.deepEqual(statuses, [404, 404, 404, 404], id.slice(0, 20));
  }
  assert.equal((await api.call('PUT', `${FREEZES}/x`, BODY)).status, 405);
});
