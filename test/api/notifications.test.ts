/** Channels, rules and deliveries over HTTP: statuses, entity tags, idempotency. What they do is in test/jobs/notifications. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
before(async () => {
  stack = await createApiStack();
  api = await stack.start();
});
after(() => stack.close());

const hook = (name: string) => ({ type: 'webhook', name, url: 'https://example.com/hook' });

test('a channel is made once for one key, found at its Location, changed under its tag, and gone after DELETE', async () => {
  const key = { 'Idempotency-Key': 'k1' };
  const made = await api.call('POST', '/api/v1/channels', hook('c1'), key);
  assert.deepEqual([made.status, made.headers.get('etag')], [201, '"1"']);
  const again = await api.call('POST', '/api/v1/channels', hook('c1'), key);
  assert.deepEqual([again.status, again.text, again.headers.get('idempotency-replayed')], [201, made.text, 'true']);
  const taken = await api.call('POST', '/api/v1/channels', hook('c1'));
  assert.deepEqual([taken.status, taken.body.code, taken.body.id], [409, 'name_taken', made.body.id]);
  const place = made.headers.get('location')!;
  const seen = await api.call('GET', place);
  assert.deepEqual([seen.status, seen.body.secret], [200, '********']);
  assert.equal((await api.call('GET', place, undefined, { 'If-None-Match': '"1"' })).status, 304);
  const changed = await api.call('PATCH', place, { description: 'd' }, { 'If-Match': '"1"' });
  assert.deepEqual([changed.status, changed.headers.get('etag')], [200, '"2"']);
  assert.equal((await api.call('PATCH', place, { description: 'e' }, { 'If-Match': '"1"' })).status, 412);
  assert.equal((await api.call('PUT', '/api/v1/channels/c1', seen.body, { 'If-Match': '"2"' })).status, 200);
  assert.equal((await api.call('DELETE', place, undefined, { 'If-Match': '"2"' })).status, 412);
  assert.equal((await api.call('DELETE', place)).status, 204);
  assert.equal((await api.call('GET', place)).status, 404);
});

test('lists go on page by page, and a cursor belongs to its filter', async () => {
  for (const name of ['l1', 'l2', 'l3']) await api.call('PUT', `/api/v1/channels/${name}`, hook(name));
  const first = await api.call('GET', '/api/v1/channels?limit=2');
  const second = await api.call('GET', `/api/v1/channels?limit=2&cursor=${first.body.nextCursor}`);
  assert.deepEqual(
    [...first.body.items, ...second.body.items].map(({ name }) => name),
    ['l1', 'l2', 'l3'],
  );
  assert.equal(second.body.nextCursor, null);
  for (let round = 0; round < 2; round += 1) {
    // a name that never resolves (RFC 6761)
    await api.call('PATCH', '/api/v1/channels/l1', { url: 'https://nothing.invalid/hook' });
    const tested = await api.call('POST', '/api/v1/channels/l1/test');
    assert.deepEqual([tested.status, tested.body.kind, tested.body.state], [200, 'test', 'failed']);
  }
  const page = await api.call('GET', '/api/v1/deliveries?channel=l1&limit=1');
  assert.equal((await api.call('GET', `/api/v1/deliveries?channel=l1&limit=1&cursor=${page.body.nextCursor}`)).body.items.length, 1);
  assert.equal((await api.call('GET', `/api/v1/deliveries?channel=l2&limit=1&cursor=${page.body.nextCursor}`)).status, 400);
  const id = page.body.items[0]!.id as string;
  assert.equal((await api.call('GET', `/api/v1/deliveries/${id}`)).body.id, id);
  const redelivered = await api.call('POST', `/api/v1/deliveries/${id}/redeliver`);
  assert.deepEqual([redelivered.status, redelivered.headers.get('location')], [202, `/api/v1/deliveries/${id}`]);
  assert.equal((await api.call('POST', `/api/v1/deliveries/${id}/redeliver`)).status, 409);
});

test('the rules of the team and the mute of a job are read and written', async () => {
  await api.call('PUT', '/api/v1/channels/ruled', hook('ruled'));
  assert.deepEqual((await api.call('GET', '/api/v1/notification-rules')).body.rules, []);
  const rules = { rules: [{ on: ['failed'], channel: 'ruled', filter: { category: ['batch'] } }] };
  const put = await api.call('PUT', '/api/v1/notification-rules', rules, { 'If-Match': '"0"' });
  assert.deepEqual([put.status, put.headers.get('etag')], [200, '"1"']);
  assert.equal((await api.call('PUT', '/api/v1/notification-rules', rules, { 'If-Match': '"0"' })).status, 412);
  const used = await api.call('DELETE', '/api/v1/channels/ruled');
  assert.deepEqual([used.status, used.body.code], [409, 'channel_in_use']);
  await api.call('POST', '/api/v1/jobs', { name: 'j', target: { type: 'http', url: 'https://example.com' } });
  const muted = await api.call('PUT', '/api/v1/jobs/j/mute', { until: '2030-01-01T00:00:00+01:00' });
  assert.deepEqual([muted.status, muted.body.mutedUntil], [200, '2029-12-31T23:00:00.000Z']);
  assert.equal((await api.call('DELETE', '/api/v1/jobs/j/mute')).body.mutedUntil, null);
  assert.equal((await api.call('GET', '/api/v1/jobs/j/mute')).body.mutedUntil, null);
  const { body } = await api.call('GET', '/openapi.json');
  assert.ok('/api/v1/channels/{channel}/test' in (body.paths as object) && 'Channel' in (body.components as { schemas: object }).schemas);
});
