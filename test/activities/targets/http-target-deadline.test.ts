import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { after, test } from 'node:test';
import { createHttpTarget } from '../../../src/activities/targets/http-target.ts';
import type { HttpTarget } from '../../../src/activities/targets/http-target-document.ts';
import { aCall, errorOf, type Receiver, receiver } from './calls.ts';

const http = createHttpTarget({ allow: ['127.0.0.0/8', '::1/128'], deny: [] });
const open: Receiver[] = [];
after(async () => {
  await http.close();
  await Promise.all(open.map((each) => each.close()));
});

async function server(listener: RequestListener): Promise<Receiver> {
  const made = await receiver(listener);
  open.push(made);
  return made;
}
const post = (url: string, own: Partial<HttpTarget> = {}): HttpTarget => ({ url, method: 'POST', ...own });

test('a slow server is timed out by the wall clock, and its socket is closed', async () => {
  const { url, sockets } = await server(() => {});
  const start = performance.now();
  const outcome = await http.call(post(url), aCall({ timeoutMs: 150 }));
  const took = performance.now() - start;
  assert.deepEqual([outcome.status, errorOf(outcome).type, errorOf(outcome).retryable], ['timed_out', 'timeout', true]);
  assert.match(errorOf(outcome).message, /within the timeout of 150ms/);
  assert.ok(took >= 145 && took < 400, `${took} ms`);
  await closed(sockets);
});

test('a server that drips headers or body is timed out too', async () => {
  const { url } = await server((request, response) => {
    if (request.url === '/body') response.writeHead(200);
    const timer = setInterval(() => (request.url === '/body' ? response.write('x') : response.socket!.write('')), 20);
    response.on('close', () => clearInterval(timer));
  });
  for (const path of ['/body', '/headers'])
    assert.equal((await http.call(post(url + path), aCall({ timeoutMs: 150 }))).status, 'timed_out');
});

test('a name that never resolves and a handshake that never ends are timed out', async () => {
  const silent = createTcpServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
  await new Promise((resolve) => silent.once('listening', resolve));
  const mute = createHttpTarget({ allow: ['127.0.0.1'], deny: [], resolve: () => new Promise(() => {}) });
  assert.equal((await mute.call(post('http://silent.example/'), aCall({ timeoutMs: 100 }))).status, 'timed_out');
  await mute.close();
  const tls = createHttpTarget({ allow: ['127.0.0.1'], deny: [] });
  assert.equal(
    (await tls.call(post(`https://127.0.0.1:${(silent.address() as AddressInfo).port}/`), aCall({ timeoutMs: 100 }))).status,
    'timed_out',
  );
  await tls.close();
  await new Promise((resolve) => silent.close(resolve));
});

test('a cancel in the middle of a body is an outcome within 100 ms', async () => {
  const controller = new AbortController();
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const { url, sockets } = await server((_request, response) => {
    response.write('begin');
    resolve();
  });
  const pending = http.call(post(url), aCall({ signal: controller.signal }));
  await begun;
  const start = performance.now();
  controller.abort(new Error('cancelled by ada'));
  const outcome = await pending;
  assert.ok(performance.now() - start < 100, `${performance.now() - start} ms`);
  assert.deepEqual(outcome, { status: 'cancelled', error: { type: 'cancelled', message: 'cancelled by ada', retryable: false } });
  await closed(sockets);
});

test('a call cancelled before it begins sends nothing', async () => {
  const made = await server((_request, response) => response.end());
  assert.equal((await http.call(post(made.url), aCall({ signal: AbortSignal.abort() }))).status, 'cancelled');
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(made.connections(), 0);
});

/** Resolves when every socket that the server holds is closed. */
async function closed(sockets: Receiver['sockets']): Promise<void> {
  await Promise.all(
    [...sockets].map((socket) => new Promise((resolve) => (socket.destroyed ? resolve(null) : socket.once('close', resolve)))),
  );
}
