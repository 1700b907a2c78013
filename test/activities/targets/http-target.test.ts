import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { after, test } from 'node:test';
import { createHttpTarget } from '../../../src/activities/targets/http-target.ts';
import type { HttpTarget } from '../../../src/activities/targets/http-target-document.ts';
import type { HttpResult } from '../../../src/activities/targets/target-call.ts';
import { aCall, bodyOf, errorOf, type Receiver, receiver } from './calls.ts';
import { CERTIFICATE, PRIVATE_KEY } from './test-certificate.ts';

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
const resultOf = (outcome: { result?: unknown }) => outcome.result as HttpResult;

test('a call sends the input as JSON under our headers and keeps the response', async () => {
  const { url } = await server(async (request, response) => {
    response.setHeader('x-seen', 'yes').setHeader('set-cookie', 'a=1').setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method: request.method, path: request.url, headers: request.headers, body: await bodyOf(request) }));
  });
  const outcome = await http.call(
    post(`${url}/close?day=1`, { headers: { 'X-Mine': 'm' } }),
    aCall({ input: { region: 'eu' }, slot: '2026-11-21T00:00:00Z' }),
  );
  assert.equal(outcome.status, 'succeeded');
  const { status, headers, body, truncated } = resultOf(outcome);
  assert.deepEqual([status, truncated, headers['x-seen'], 'set-cookie' in headers], [200, false, 'yes', false]);
  const seen = JSON.parse(body);
  assert.deepEqual([seen.method, seen.path, seen.body], ['POST', '/close?day=1', '{"region":"eu"}']);
  assert.equal(seen.headers['content-type'], 'application/json');
  assert.equal(seen.headers['x-mine'], 'm');
  assert.equal(seen.headers['idempotency-key'], 'job_0199-manual-1');
  assert.equal(seen.headers['webhook-id'], 'job_0199-manual-1');
  assert.equal(seen.headers['x-almanac-slot'], '2026-11-21T00:00:00Z');
  assert.match(seen.headers['user-agent'], /^Almanac\/\d/);
});

test('the body is the definition’s, else the input where the method takes one', async () => {
  const { url } = await server(async (request, response) => {
    response.end(JSON.stringify([request.headers['content-type'] ?? null, await bodyOf(request)]));
  });
  const sent = async (target: Partial<HttpTarget>, input: unknown) =>
    JSON.parse(resultOf(await http.call(post(url, target), aCall({ input }))).body);
  assert.deepEqual(await sent({ body: { a: 1 } }, { b: 2 }), ['application/json', '{"a":1}']);
  assert.deepEqual(await sent({ body: null }, { b: 2 }), ['application/json', 'null']);
  assert.deepEqual(await sent({}, null), [null, '']);
  assert.deepEqual(await sent({}, 0), ['application/json', '0']);
  assert.deepEqual(await sent({ method: 'GET' }, { b: 2 }), [null, '']);
  assert.deepEqual(await sent({ method: 'DELETE' }, { b: 2 }), [null, '']);
  assert.deepEqual(await sent({ method: 'DELETE', body: [1] }, null), ['application/json', '[1]']);
  assert.deepEqual(await sent({ body: 'plain' }, null), ['application/json', '"plain"']);
  assert.deepEqual(await sent({ body: 'a=1&b=2', headers: { 'Content-Type': 'application/x-www-form-urlencoded' } }, null), [
    'application/x-www-form-urlencoded',
    'a=1&b=2',
  ]);
  assert.deepEqual(await sent({ body: '☃', headers: { 'content-type': 'application/cloudevents+json' } }, null), [
    'application/cloudevents+json',
    '"☃"',
  ]);
});

test('a status outside success fails with its response and whether to try again', async () => {
  const { url } = await server((request, response) => {
    response.statusCode = Number(request.url!.slice(1));
    response.setHeader('retry-after', '7').end('why');
  });
  const at = async (status: number, own: Partial<HttpTarget> = {}) =>
    await http.call(post(`${url}/${status}?token=secret`.replace('?token=secret', ''), own), aCall());
  assert.deepEqual(errorOf(await at(503)), {
    type: 'http_status',
    message: `POST ${url}/503 answered 503 Service Unavailable`,
    retryable: true,
    retryAfterMs: 7_000,
  });
  assert.equal(resultOf(await at(503)).body, 'why');
  assert.deepEqual([errorOf(await at(404)).retryable, errorOf(await at(404)).retryAfterMs], [false, undefined]);
  assert.equal(errorOf(await at(429)).retryable, true);
  assert.equal(errorOf(await at(500, { nonRetryable: ['5xx'] })).retryable, false);
  assert.equal((await at(404, { success: '404' })).status, 'succeeded');
  assert.equal(errorOf(await at(200, { success: '201' })).type, 'http_status');
});

test('Retry-After as a date counts from now', async () => {
  const { url } = await server((_request, response) => {
    response.writeHead(503, { 'retry-after': new Date(Date.now() + 90_000).toUTCString() }).end();
  });
  const { retryAfterMs } = errorOf(await http.call(post(url), aCall()));
  assert.ok(retryAfterMs! > 85_000 && retryAfterMs! <= 90_000, String(retryAfterMs));
});

test('a redirect is an outcome: nothing follows it, least of all to a metadata address', async () => {
  let followed = 0;
  const { url } = await server((request, response) => {
    if (request.url === '/inside') followed += 1;
    response.writeHead(302, { location: request.url === '/a' ? '/inside' : 'http://169.254.169.254/latest/meta-data/' }).end();
  });
  for (const path of ['/a', '/b']) {
    const error = errorOf(await http.call({ url: url + path, method: 'GET' }, aCall()));
    assert.deepEqual([error.type, error.retryable], ['http_status', false]);
    assert.match(error.message, /302 Found \(redirects are not followed\)/);
  }
  assert.equal(followed, 0);
});

test('an error message has no query and no fragment of the URL', async () => {
  const { url } = await server((_request, response) => response.writeHead(500).end());
  assert.equal(
    errorOf(await http.call(post(`${url}/a?token=secret#x`), aCall())).message,
    `POST ${url}/a answered 500 Internal Server Error`,
  );
});

test('sockets are kept between calls, and bounded per origin', async () => {
  let most = 0;
  let now = 0;
  const made = await server((_request, response) => {
    now += 1;
    most = Math.max(most, now);
    setTimeout(() => {
      now -= 1;
      response.end('ok');
    }, 10);
  });
  const narrow = createHttpTarget({ allow: ['127.0.0.1'], deny: [], connectionsPerOrigin: 3 });
  const outcomes = await Promise.all(Array.from({ length: 12 }, () => narrow.call(post(made.url), aCall())));
  assert.ok(outcomes.every(({ status }) => status === 'succeeded'));
  for (let index = 0; index < 5; index += 1) await narrow.call(post(made.url), aCall());
  assert.deepEqual([most, made.connections()], [3, 3]);
  await narrow.close();
  await closed(made.sockets);
});

test('a refused connection, a hang-up before and within the response are network failures', async () => {
  const gone = await receiver(() => {});
  await gone.close();
  const { url } = await server((request, response) => {
    if (request.url === '/half') response.writeHead(200, { 'content-length': '100' }).write('half', () => response.destroy());
    else request.socket.destroy();
  });
  for (const target of [gone.url, `${url}/`, `${url}/half`]) {
    const error = errorOf(await http.call(post(target), aCall()));
    assert.deepEqual([error.type, error.retryable], ['network', true], error.message);
    assert.match(error.message, /^POST http.*: .+/);
  }
  assert.equal(errorOf(await http.call(post(gone.url, { nonRetryable: ['network'] }), aCall())).retryable, false);
});

test('what is no HTTP is a network failure', async () => {
  const odd = createTcpServer((socket) => socket.resume().end('SSH-2.0-OpenSSH\r\n\r\n')).listen(0, '127.0.0.1');
  await new Promise((resolve) => odd.once('listening', resolve));
  assert.equal(errorOf(await http.call(post(`http://127.0.0.1:${(odd.address() as AddressInfo).port}/`), aCall())).type, 'network');
  await new Promise((resolve) => odd.close(resolve));
});

test('headers larger than 16 KiB are too large', async () => {
  const { url } = await server((_request, response) => response.setHeader('x-big', 'x'.repeat(20_000)).end());
  assert.equal(errorOf(await http.call(post(url), aCall())).type, 'response_too_large');
});

test('a certificate nobody vouches for is a TLS failure; with its authority the call succeeds', async () => {
  const made = await receiver(
    (_request, response) => response.end('safe'),
    (listener) => createTlsServer({ key: PRIVATE_KEY, cert: CERTIFICATE }, listener),
  );
  open.push(made);
  const error = errorOf(await http.call(post(`https://127.0.0.1:${made.port}/`), aCall()));
  assert.deepEqual([error.type, error.retryable], ['tls', true]);
  assert.match(error.message, /self-signed certificate/);
  const trusting = createHttpTarget({
    allow: ['127.0.0.1', 'other.test'],
    deny: [],
    ca: [CERTIFICATE],
    resolve: async () => [{ address: '127.0.0.1', family: 4 }],
  });
  assert.equal(resultOf(await trusting.call(post(`https://127.0.0.1:${made.port}/`), aCall())).body, 'safe');
  assert.match(errorOf(await trusting.call(post(`https://other.test:${made.port}/`), aCall())).message, /does not match certificate/);
  await trusting.close();
});

test('a target that can not be sent is refused before anything is opened', async () => {
  const made = await server((_request, response) => response.end());
  const wrong: Partial<HttpTarget>[] = [
    { headers: { 'x-a': 'b\r\nc: d' } },
    { headers: { Host: 'evil' } },
    { method: 'GET', body: {} },
    { success: 'ok' },
    { nonRetryable: ['x'] },
    { method: 'TRACE' as 'GET' },
  ];
  for (const own of wrong) {
    const error = errorOf(await http.call(post(made.url, own), aCall()));
    assert.deepEqual([error.type, error.retryable], ['invalid_input', false]);
  }
  assert.equal(made.connections(), 0);
});

/** Resolves when every socket that the server holds is closed. */
async function closed(sockets: Receiver['sockets']): Promise<void> {
  await Promise.all(
    [...sockets].map((socket) => new Promise((resolve) => (socket.destroyed ? resolve(null) : socket.once('close', resolve)))),
  );
}
