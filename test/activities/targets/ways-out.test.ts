/** The way out of notifications obeys the rules of targets, for HTTP and for plain sockets. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { createWaysOut } from '../../../src/activities/targets/ways-out.ts';
import { receiver } from './calls.ts';

const post = (url: string, more: { timeoutMs?: number; signal?: AbortSignal } = {}) => ({
  url,
  headers: { 'content-type': 'application/json' },
  body: '{}',
  timeoutMs: 30_000,
  signal: new AbortController().signal,
  ...more,
});
const resolve = async () => [{ address: '127.0.0.1', family: 4 }];

test('what is not public is reached by neither, literal or by name, and never what is denied', async () => {
  const made = await receiver((_request, response) => response.end());
  const closed = createWaysOut({ allow: [], deny: [], resolve });
  for (const host of ['127.0.0.1', 'inside.example', '[::ffff:127.0.0.1]', '169.254.169.254', '2130706433']) {
    const outcome = await closed.post(post(`http://${host}:${made.port}/`));
    assert.deepEqual([outcome.status, outcome.status === 'failed' && outcome.retryable], ['failed', false], host);
  }
  for (const host of ['127.0.0.1', 'inside.example', '[::1]', 'metadata.google.internal'])
    await assert.rejects(closed.connect(host, made.port, 30_000), { code: 'ALMANAC_ADDRESS_REFUSED' }, host);
  const open = createWaysOut({ allow: ['127.0.0.0/8'], deny: [`127.0.0.1:${made.port}`], resolve });
  await assert.rejects(open.connect('inside.example', made.port, 30_000), /own servers/);
  assert.equal((await open.post(post(`http://inside.example:${made.port}/`))).status, 'failed');
  assert.equal(made.connections(), 0);
  await Promise.all([closed.close(), open.close(), made.close()]);
});

test('a socket goes to the address that was judged', async () => {
  const server = createServer((socket) => socket.end('hello'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const ways = createWaysOut({ allow: ['127.0.0.0/8'], deny: [], resolve });
  const socket = await ways.connect('mail.example', port, 30_000);
  assert.equal(String((await once(socket, 'data'))[0]), 'hello');
  socket.destroy();
  server.close();
  await once(server, 'close');
  await assert.rejects(ways.connect('mail.example', port, 30_000), { code: 'ECONNREFUSED' });
  await ways.close();
});

test('an answer says whether the same may succeed later; a redirect is not followed, and an answer that does not come is late', async () => {
  const made = await receiver((request, response) => {
    if (request.url === '/never') return;
    const status = Number(request.url?.slice(1));
    response.writeHead(status, { location: '/200', 'retry-after': '7' }).end('because\n  of x');
  });
  const ways = createWaysOut({ allow: ['127.0.0.0/8'], deny: [] });
  const to = async (path: string, more?: Parameters<typeof post>[1]) => ways.post(post(`http://127.0.0.1:${made.port}${path}`, more));
  const retried = async (path: string) => {
    const outcome = await to(path);
    return outcome.status === 'failed' && [outcome.retryable, outcome.retryAfterMs ?? null];
  };
  assert.equal((await to('/204')).status, 'delivered');
  assert.deepEqual(await Promise.all(['/500', '/429', '/408', '/404', '/302'].map(retried)), [
    [true, 7_000],
    [true, 7_000],
    [true, 7_000],
    [false, 7_000],
    [false, 7_000],
  ]);
  assert.match((await to('/500')).detail, /^POST http:\/\/127\.0\.0\.1:\d+ answered 500 Internal Server Error: because of x$/);
  const late = await to('/never', { timeoutMs: 50 });
  assert.deepEqual([late.status, late.status === 'failed' && late.retryable], ['failed', true]);
  const ended = await to('/never', { signal: AbortSignal.timeout(50) });
  assert.deepEqual([ended.status, ended.status === 'failed' && ended.retryable], ['failed', true]);
  await Promise.all([ways.close(), made.close()]);
});
