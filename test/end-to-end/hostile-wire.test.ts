/** Hostility below JSON: bytes on the wire that no proper client sends, and targets that point where nobody may call. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type Almanac, startAlmanac } from '../support/almanac.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
let key: string;
before(async () => {
  receiver = await startReceiver((call, response) => {
    if (call.path === '/away') response.writeHead(302, { location: `${receiver.url}/secret` }).end();
    else response.end('inside');
  });
  almanac = await startAlmanac({ controllers: 0, settings: { ALMANAC_TARGET_ALLOW: 'allowed.test' } });
  key = almanac.settings.ALMANAC_BOOTSTRAP_KEY!;
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

/** Sends these bytes and answers with what comes back until the other side closes, or half a second is silent after an answer. */
const raw = (bytes: string | Buffer, { silentMs = 5_000 } = {}): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(almanac.api.url).port), '127.0.0.1', () => socket.write(bytes));
    let said = '';
    const end = () => {
      socket.destroy();
      resolve(said);
    };
    let timer = setTimeout(() => reject(new Error(`no answer to ${String(bytes).slice(0, 80)}`)), silentMs);
    socket.setEncoding('latin1').on('data', (text: string) => {
      said += text;
      clearTimeout(timer);
      timer = setTimeout(end, 300);
    });
    socket.on('close', end);
    socket.on('error', end);
  });
const head = (method: string, path: string, headers: Record<string, string | number> = {}) =>
  `${method} ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\n${Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n`;
const statusOf = (answer: string) => Number(answer.slice(9, 12));
const JSON_TYPE = { 'Content-Type': 'application/json' };
const JOB = JSON.stringify({ name: 'packed', target: { type: 'handler', name: 'heartbeat-report' } });

test('broken HTTP is refused with 4xx and the API goes on', async () => {
  const bodies: [string, string | Buffer, number[]][] = [
    ['a word', 'hello\r\n\r\n', [400]],
    ['TLS', Buffer.from([0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]), [400]],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400, 404, 405, 505]],
    ['no host', 'GET /jobs HTTP/1.1\r\n\r\n', [400]],
    ['TRACE', head('TRACE', '/api/v1/jobs'), [400, 405]],
    ['CONNECT', head('CONNECT', 'example.com:443'), [0, 400, 404, 405]],
    ['an unknown method', head('BREW', '/api/v1/jobs'), [400, 405]],
    ['a whole address', head('GET', 'http://elsewhere/api/v1/jobs'), [200, 400, 404]],
    ['a star', head('OPTIONS', '*'), [204, 400, 404]],
    ['a NUL', `GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n`, [400]],
    ['giant headers', head('GET', '/api/v1/jobs', { X: 'a'.repeat(100_000) }), [431]],
    [
      'very many headers',
      head('GET', '/api/v1/jobs', Object.fromEntries(Array.from({ length: 3_000 }, (_, n) => [`X-${n}`, n]))),
      [200, 400, 431],
    ],
    ['a giant address', head('GET', `/api/v1/jobs?q=${'a'.repeat(100_000)}`), [414, 431, 400]],
    ['two lengths', `${head('POST', '/api/v1/jobs', { ...JSON_TYPE, 'Content-Length': '1\r\nContent-Length: 2' })}{}`, [400]],
    [
      'length and chunks',
      `${head('POST', '/api/v1/jobs', { ...JSON_TYPE, 'Content-Length': 5, 'Transfer-Encoding': 'chunked' })}0\r\n\r\n`,
      [400],
    ],
    ['broken chunks', `${head('POST', '/api/v1/jobs', { ...JSON_TYPE, 'Transfer-Encoding': 'chunked' })}zz\r\nhello\r\n`, [400]],
    [
      'an endless chunk size',
      `${head('POST', '/api/v1/jobs', { ...JSON_TYPE, 'Transfer-Encoding': 'chunked' })}${'f'.repeat(40)}\r\n`,
      [400, 413],
    ],
    ['an unknown coding', `${head('POST', '/api/v1/jobs', { ...JSON_TYPE, 'Transfer-Encoding': 'gzip' })}x`, [400, 501]],
    ['a huge announced length', head('POST', '/api/v1/jobs', { ...JSON_TYPE, 'Content-Length': 99_999_999_999 }), [413]],
    ['a negative length', head('POST', '/api/v1/jobs', { ...JSON_TYPE, 'Content-Length': -1 }), [400]],
    ['an expectation', `${head('POST', '/api/v1/jobs', { ...JSON_TYPE, Expect: 'miracles', 'Content-Length': 2 })}{}`, [400, 417, 422]],
    ['an upgrade', head('GET', '/api/v1/jobs', { Connection: 'Upgrade', Upgrade: 'websocket' }), [200, 400, 426]],
  ];
  for (const [what, bytes, statuses] of bodies) {
    const answer = await raw(bytes).catch((error: Error) => error.message);
    assert.ok(statuses.includes(statusOf(answer)), `${what}: ${answer.slice(0, 300)}`);
  }
  assert.equal((await almanac.api.get('/jobs')).status, 200);
});

test('packed, mislabelled and wrongly encoded bodies are refused by their type, never half read', async () => {
  const post = async (body: Buffer | string, headers: Record<string, string>) => {
    const answer = await fetch(`${almanac.api.url}/api/v1/jobs`, {
      method: 'POST',
      body,
      headers: { authorization: `Bearer ${key}`, ...headers },
    });
    return [answer.status, answer.headers.get('content-type')?.split(';')[0]];
  };
  const problem = 'application/problem+json';
  assert.deepEqual(await post(gzipSync(JOB), { 'content-type': 'application/json', 'content-encoding': 'gzip' }), [
    201,
    'application/json',
  ]);
  assert.deepEqual(await post(gzipSync(Buffer.alloc(50_000_000)), { 'content-type': 'application/json', 'content-encoding': 'gzip' }), [
    413,
    problem,
  ]);
  assert.deepEqual(await post(JOB, { 'content-type': 'application/json', 'content-encoding': 'rot13' }), [415, problem]);
  assert.deepEqual(await post(gzipSync(JOB), { 'content-type': 'application/json' }), [400, problem]);
  assert.deepEqual(await post(JOB, { 'content-type': 'text/plain' }), [415, problem]);
  assert.deepEqual(await post(JOB, { 'content-type': 'application/x-www-form-urlencoded' }), [415, problem]);
  assert.deepEqual(await post(JOB, { 'content-type': 'application/json; charset=utf-16' }), [415, problem]);
  assert.deepEqual(await post(Buffer.from(JOB, 'utf16le'), { 'content-type': 'application/json' }), [400, problem]);
  assert.deepEqual(
    await post(Buffer.concat([Buffer.from('{"name":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]), {
      'content-type': 'application/json',
    }),
    [400, problem],
  );
  assert.deepEqual(await post(`\ufeff${JOB}`, { 'content-type': 'application/json' }).then(([status]) => Number(status) < 500), true);
  assert.deepEqual(await post(`${JOB}${JOB}`, { 'content-type': 'application/json' }), [400, problem]);
  assert.deepEqual(await post(' '.repeat(600_000), { 'content-type': 'application/json' }), [413, problem]);
  assert.deepEqual(await post('{"a":'.repeat(100_000), { 'content-type': 'application/json' }), [400, problem]);
});

test('bodies that never come hold nobody else up', async () => {
  const slow = Array.from({ length: 60 }, () => {
    const socket = connect(Number(new URL(almanac.api.url).port), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(`${head('POST', '/api/v1/jobs', { ...JSON_TYPE, 'Content-Length': 1_000 })}{"na`);
    return socket;
  });
  try {
    const started = Date.now();
    for (let n = 0; n < 10; n += 1) assert.equal((await almanac.api.get('/jobs')).status, 200);
    assert.ok(Date.now() - started < 5_000);
  } finally {
    for (const socket of slow) socket.destroy();
  }
});

/** Ways to write addresses that are not public. */
const INSIDE = [
  '127.0.0.1',
  '127.1',
  '0x7f000001',
  '2130706433',
  '017700000001',
  '[::1]',
  '[::ffff:127.0.0.1]',
  '[::ffff:7f00:1]',
  '[::]',
  '0.0.0.0',
  '0',
  '10.0.0.1',
  '192.168.1.1',
  '172.16.0.1',
  '100.64.0.1',
  '169.254.169.254',
  '[fe80::1]',
  '[fd00::1]',
  '[64:ff9b::7f00:1]',
  '[2002:7f00:1::]',
  '224.0.0.1',
  '255.255.255.255',
  '１２７.0.0.1',
  '127。0。0。1',
  '127.0.0.1.',
  'ⓛocalhost',
  'localhost.',
  '[0:0:0:0:0:ffff:127.0.0.1]',
];

test('a target or a service inside is refused at save, or its call is: nothing inside is ever called', async () => {
  const { port } = new URL(receiver.url);
  for (const [n, host] of INSIDE.entries()) {
    const url = `http://${host}:${port}/secret`;
    const created = await almanac.api.post('/jobs', { name: `inside ${n}`, target: { type: 'http', url }, retry: { maxAttempts: 1 } });
    if (created.status === 422) continue;
    assert.equal(created.status, 201, `${host}: ${created.text}`);
    const { body } = await almanac.api.post(`/schedule/${created.body.id}/trigger?wait=20s`);
    assert.equal(body.status, 'failed', `${host}: ${JSON.stringify(body)}`);
    assert.match(body.error.type, /^(address_refused|dns)$/, host);
    assert.doesNotMatch(JSON.stringify(body), /"body":"inside"/);
  }
  for (const [n, host] of INSIDE.entries()) {
    const service = await almanac.api.post('/services', { name: `inside-${n}`, baseUrl: `http://${host}:${port}` });
    if (service.status === 422) continue;
    assert.equal(service.status, 201, `${host}: ${service.text}`);
    await almanac.api.post('/jobs', {
      name: `inside by service ${n}`,
      target: { type: 'http', service: `inside-${n}`, path: '/secret' },
      retry: { maxAttempts: 1 },
    });
    const { body } = await almanac.api.post(`/schedule/inside by service ${n}/trigger?wait=20s`);
    assert.match(body.error?.type, /^(address_refused|dns)$/, `${host}: ${JSON.stringify(body)}`);
  }
  assert.deepEqual(receiver.calls, []);
});

test('a path can not lead a call away from its service', async () => {
  await almanac.api.post('/services', { name: 'fixed', baseUrl: 'https://example.com/base/' });
  for (const path of [
    '//evil.example/x',
    'https://evil.example/x',
    '/\\evil.example',
    '\\\\evil.example',
    '/../../x',
    '/%2e%2e/x',
    '@evil.example/',
    ':80@evil.example',
    '/x\r\nHost: evil',
    '/x#y',
    '?x',
    '.evil.example',
    '/a b',
  ]) {
    const { status, body, text } = await almanac.api.post('/jobs', {
      name: `path ${path}`
        .slice(0, 60)
        .replace(/\p{Cc}/gu, ' ')
        .trim(),
      target: { type: 'http', service: 'fixed', path },
    });
    assert.equal(status, 422, `${path}: ${text}`);
    assert.equal(body.errors[0].path.startsWith('/target/path'), true, text);
  }
});
