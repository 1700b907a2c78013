/** The manners of the API, whatever the route: each refusal is a problem, each header as its RFC has it. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { z } from 'zod';
import { pageQuery, repeatable } from '../../src/api/query.ts';
import { reply } from '../../src/api/request.ts';
import { type RoutesOfGroup, route } from '../../src/api/route.ts';
import { JobError } from '../../src/jobs/errors.ts';
import { createReadiness } from '../../src/readiness.ts';
import { type ApiUnderTest, jsonOf, problemIn, serveApi, TEST_KEY } from './api-under-test.ts';

const echo: RoutesOfGroup = {
  group: 'jobs',
  tag: 'Echo',
  routes: [
    route({
      method: 'post',
      path: '/echo/:name',
      operationId: 'echo',
      summary: 'Says what it heard',
      body: { schema: z.unknown(), required: false },
      responses: { 200: { description: 'Heard' } },
      headers: ['Prefer'],
      handle: async ({ body, params, preferences, caller }) => reply(200, { body: body ?? null, params, preferences, caller }),
    }),
    route({
      method: 'patch',
      path: '/echo/:name',
      operationId: 'patchEcho',
      summary: 'Takes a merge patch',
      body: { schema: z.unknown(), required: true, type: 'application/merge-patch+json' },
      responses: { 200: { description: 'Heard' } },
      handle: async ({ body, ifMatch }) => reply(200, { body: body ?? null, matches3: ifMatch?.(3) ?? null }),
    }),
    route({
      method: 'get',
      path: '/echo',
      operationId: 'listEcho',
      summary: 'A long text',
      query: z.object({ ...pageQuery, state: z.enum(['active', 'paused']).optional(), tag: repeatable(z.string()).optional() }),
      responses: { 200: { description: 'A list' } },
      handle: async ({ query }) => reply(200, { query, filler: 'x'.repeat(5_000) }),
    }),
    route({
      method: 'get',
      path: '/fails/:how',
      operationId: 'fail',
      summary: 'Fails as asked',
      responses: {},
      handle: async ({ params }) => {
        if (params.how === 'postgres') throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
        if (params.how === 'data') throw Object.assign(new Error('invalid input syntax'), { code: '22P02' });
        if (params.how === 'conflict')
          throw new JobError('conflict', 'name_taken', 'Taken.', { extra: { id: 'job_1', status: 200, code: 'x' } });
        throw new Error('secret inner matter');
      },
    }),
  ],
};

let api: ApiUnderTest;
before(async () => {
  api = await serveApi([echo]);
});
after(() => api.close());

const post = (body: string | Uint8Array, headers: Record<string, string> = {}) => api.call('/echo/x', { method: 'POST', body, headers });

/** Sends bytes as they are and gives back the whole answer. */
const raw = (text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(api.url).port), '127.0.0.1', () => socket.write(Buffer.from(text, 'latin1')));
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });

describe('request ids', () => {
  test('a sane one is echoed, another one is replaced', async () => {
    const sane = await api.call('/health', { headers: { 'X-Request-Id': 'abc-1.2:3' } });
    assert.equal(sane.headers.get('x-request-id'), 'abc-1.2:3');
    for (const id of ['has blank', 'x'.repeat(129), '{"a":1}', '-x']) {
      const other = await api.call('/health', { headers: { 'X-Request-Id': id } });
      assert.match(other.headers.get('x-request-id') ?? '', /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    }
  });
});

describe('keys', () => {
  test('Bearer, in any case, and X-API-Key are taken; everything else is 401 with WWW-Authenticate', async () => {
    for (const headers of [{ Authorization: `bearer ${TEST_KEY}` }, { Authorization: '', 'X-API-Key': TEST_KEY }]) {
      assert.equal((await api.call('/echo', { headers })).status, 200);
    }
    const wrong = ['', 'Basic abc', 'Bearer', 'Bearer nope', `Bearer ${'x'.repeat(600)}`, `Bearer ${TEST_KEY} more`, TEST_KEY];
    for (const authorization of wrong) {
      const refused = await api.call('/echo', { headers: { Authorization: authorization } });
      assert.equal((await problemIn(refused)).status, 401, authorization);
      assert.match(refused.headers.get('www-authenticate') ?? '', /^Bearer/);
    }
  });
  test('health, docs and the OpenAPI document are open', async () => {
    for (const path of [
      '/health',
      '/health/live',
      '/health/ready',
      '/docs',
      '/docs/start.js',
      '/docs/swagger-ui-bundle.js',
      '/openapi.json',
      '/metrics',
    ]) {
      assert.equal((await fetch(api.url + path)).status, 200, path);
    }
  });
  test('metrics are open on this machine only: a proxied request needs the key or the token', async () => {
    const proxied = { 'X-Forwarded-For': '127.0.0.1' };
    assert.equal((await fetch(`${api.url}/metrics`, { headers: proxied })).status, 401);
    assert.equal((await fetch(`${api.url}/metrics`, { headers: { ...proxied, 'X-API-Key': TEST_KEY } })).status, 200);
    const guarded = await serveApi([], { settings: { METRICS_TOKEN: 'scrape-me' } });
    const withToken = await fetch(`${guarded.url}/metrics`, { headers: { ...proxied, Authorization: 'Bearer scrape-me' } });
    assert.equal(withToken.status, 200);
    assert.match(await withToken.text(), /# TYPE api_request_duration histogram/);
    await guarded.close();
  });
});

describe('bodies', () => {
  const hostile: [name: string, body: string | Uint8Array, status: number, code: string, path?: string][] = [
    ['cut off', '{"a": [1, 2', 400, 'malformed_json'],
    ['a comma too many', '{"a": 1,}', 400, 'malformed_json'],
    ['two values', '{} {}', 400, 'malformed_json'],
    ['a bare word', 'nope', 400, 'malformed_json'],
    ['a raw NUL', '{"a":"\0"}', 400, 'malformed_json'],
    ['an escaped NUL', '{"a":{"b":["x","\\u0000"]}}', 400, 'nul_character', '/a/b/1'],
    ['a NUL in a key', '{"a\\u0000":1}', 400, 'nul_character'],
    ['a lone surrogate', '{"a":"\\ud83d"}', 400, 'lone_surrogate', '/a'],
    ['a lone low surrogate in a key', '{"\\udc00":1}', 400, 'lone_surrogate'],
    ['invalid UTF-8', new Uint8Array([0x22, 0xff, 0x22]), 400, 'malformed_utf8'],
    ['a surrogate as UTF-8 bytes', new Uint8Array([0x22, 0xed, 0xa0, 0x80, 0x22]), 400, 'malformed_utf8'],
    ['__proto__', '{"__proto__":{"admin":true}}', 400, 'forbidden_key', '/__proto__'],
    ['__proto__ written with escapes', '{"a":[{"\\u005f_proto__":1}]}', 400, 'forbidden_key', '/a/0/__proto__'],
    ['a number beyond a double', '{"a":1e999}', 400, 'number_out_of_range', '/a'],
    ['65 levels', `${'['.repeat(65)}${']'.repeat(65)}`, 400, 'too_deep'],
    ['9,000 levels', `${'['.repeat(9_000)}${']'.repeat(9_000)}`, 400, 'too_deep'],
    ['9,000 levels cut off', '{"a":'.repeat(3_000), 400, 'malformed_json'],
    ['one byte too many', `"${'x'.repeat(19_999)}"`, 413, 'body_too_large'],
  ];
  for (const [name, body, status, code, path] of hostile) {
    test(`${name} is refused with ${status} ${code}`, async () => {
      const problem = await problemIn(await post(body));
      assert.deepEqual([problem.status, problem.code], [status, code]);
      if (path !== undefined) assert.equal(problem.errors?.[0]?.path, path);
    });
  }
  const fine: [name: string, body: string][] = [
    ['64 levels', `${'['.repeat(64)}${']'.repeat(64)}`],
    ['a whole surrogate pair', '"\\ud83d\\ude00"'],
    ['an escaped backslash before u0000', '"\\\\u0000"'],
    ['constructor and prototype as data', '{"constructor":{"prototype":1}}'],
    ['exactly the limit', `"${'x'.repeat(19_998)}"`],
    ['null', 'null'],
  ];
  for (const [name, body] of fine) {
    test(`${name} is taken as it is`, async () => {
      const answer = await post(body);
      assert.equal(answer.status, 200);
      assert.deepEqual((await jsonOf(answer)).body, JSON.parse(body));
    });
  }
  test('the position of a syntax error is told', async () => {
    const problem = await problemIn(await post('{\n  "name": "x",\n  "target": tru }'));
    assert.deepEqual([problem.line, problem.column], [3, 13]);
  });
  test('the content type is exact', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/jsonx',
      'application/merge-patch+json',
      'application/json; charset=latin1',
      '',
    ]) {
      const refused = await problemIn(await post('{}', { 'Content-Type': type }));
      assert.equal(refused.status, 415, type);
    }
    for (const type of ['application/json', 'Application/JSON; charset=UTF-8', 'application/json;charset="utf-8"']) {
      assert.equal((await post('{}', { 'Content-Type': type })).status, 200, type);
    }
    const patch = (type: string) => api.call('/echo/x', { method: 'PATCH', body: '{}', headers: { 'Content-Type': type } });
    for (const type of ['application/merge-patch+json', 'application/json']) assert.equal((await patch(type)).status, 200, type);
    assert.equal((await patch('text/plain')).status, 415);
  });
  test('a gzip body is taken, its limit counts what comes out, and a broken one is 400', async () => {
    const zipped = (text: string) => post(gzipSync(text), { 'Content-Encoding': 'gzip' });
    assert.equal((await zipped('{"a":1}')).status, 200);
    assert.equal((await problemIn(await zipped(`"${'x'.repeat(1_000_000)}"`))).status, 413);
    assert.equal((await problemIn(await post('{"a":1}', { 'Content-Encoding': 'gzip' }))).status, 400);
    assert.equal((await problemIn(await post('{}', { 'Content-Encoding': 'rot13' }))).status, 415);
  });
  test('no body is no body, with a content type or without', async () => {
    assert.equal((await jsonOf(await api.call('/echo/x', { method: 'POST' }))).body, null);
    assert.equal((await jsonOf(await api.call('/echo/x', { method: 'POST', headers: { 'Content-Type': 'application/json' } }))).body, null);
  });
});

describe('addresses', () => {
  const cases: [path: string, status: number, code: string, place?: string][] = [
    ['/echo?unknown=1', 400, 'unknown_parameter', 'query/unknown'],
    ['/echo?limit=1&limit=2', 400, 'duplicate_parameter', 'query/limit'],
    ['/echo?limit=0', 422, 'invalid_query', 'query/limit'],
    ['/echo?limit=201', 422, 'invalid_query', 'query/limit'],
    ['/echo?limit=1e2', 422, 'invalid_query', 'query/limit'],
    ['/echo?state=nope', 422, 'invalid_query', 'query/state'],
    ['/echo?state=%00', 400, 'nul_character', 'query/state'],
    ['/echo?state=%zz', 400, 'malformed_url', 'query/state'],
    ['/echo?state=%ff', 400, 'malformed_url', 'query/state'],
    ['/echo?state=%ed%a0%80', 400, 'malformed_url', 'query/state'],
    ['/echo?__proto__=1', 400, 'unknown_parameter'],
    ['/echo?constructor=1', 400, 'unknown_parameter'],
    ['/echo/%00', 400, 'malformed_url'],
    ['/echo/%', 400, 'malformed_url'],
    ['/%c3%28', 400, 'malformed_url'],
    ['/no/such/route', 404, 'no_such_route'],
    ['/Echo', 404, 'no_such_route'],
    [`/echo?q=${'x'.repeat(3_000)}`, 400, 'unknown_parameter'],
  ];
  for (const [path, status, code, place] of cases) {
    test(`GET ${path.slice(0, 40)} is ${status} ${code}`, async () => {
      const problem = await problemIn(await api.call(path));
      assert.deepEqual([problem.status, problem.code], [status, code]);
      if (place) assert.equal(problem.errors?.[0]?.path, place);
    });
  }
  test('an unknown parameter is told the nearest known one', async () => {
    assert.match((await problemIn(await api.call('/echo?stat=active'))).detail, /did you mean "state"\?/);
  });
  test('200 items are asked for, a list parameter is repeated', async () => {
    const { query } = await jsonOf(await api.call('/echo?limit=200&tag=a&tag=b%3Ac+d'));
    assert.deepEqual(query, { limit: 200, tag: ['a', 'b:c d'] });
  });
  test('an encoded slash belongs to the name', async () => {
    const heard = await jsonOf(await api.call('/echo/a%2Fb%20%C3%A9', { method: 'POST' }));
    assert.equal(heard.params.name, 'a/b é');
  });
});

describe('methods', () => {
  test('a wrong one is 405 with Allow', async () => {
    for (const method of ['DELETE', 'PUT', 'PROPFIND']) {
      const refused = await api.call('/echo/x', { method });
      assert.equal((await problemIn(refused)).status, 405);
      assert.equal(refused.headers.get('allow'), 'POST, PATCH, OPTIONS');
    }
    assert.equal((await api.call('/health', { method: 'POST' })).headers.get('allow'), 'GET, HEAD, OPTIONS');
  });
  test('HEAD is GET without a body, OPTIONS says what is there and needs no key', async () => {
    const get = await api.call('/echo', { headers: { 'Accept-Encoding': 'identity' } });
    const head = await api.call('/echo', { method: 'HEAD', headers: { 'Accept-Encoding': 'identity' } });
    assert.equal(head.status, 200);
    assert.equal(head.headers.get('content-length'), get.headers.get('content-length'));
    assert.equal(await head.text(), '');
    const options = await fetch(`${api.url}/echo`, { method: 'OPTIONS' });
    assert.deepEqual([options.status, options.headers.get('allow')], [204, 'GET, HEAD, OPTIONS']);
  });
});

describe('answers', () => {
  test('gzip is used for long texts when the client takes it, brotli never', async () => {
    const get = (encoding: string) =>
      raw(`GET /echo HTTP/1.1\r\nHost: x\r\nX-API-Key: ${TEST_KEY}\r\nAccept-Encoding: ${encoding}\r\nConnection: close\r\n\r\n`);
    const zipped = await get('br, gzip');
    assert.match(zipped, /content-encoding: gzip/i);
    assert.match(zipped, /vary: accept-encoding/i);
    const body = Buffer.from(zipped.slice(zipped.indexOf('\r\n\r\n') + 4), 'latin1');
    assert.equal(JSON.parse(gunzipSync(body).toString()).filler.length, 5_000);
    for (const encoding of ['br', 'gzip;q=0', 'identity', 'deflate'])
      assert.doesNotMatch(await get(encoding), /content-encoding/i, encoding);
    assert.doesNotMatch(
      await raw('GET /health HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n'),
      /content-encoding/i,
    );
  });
  test('helmet’s headers are there and Express is not named', async () => {
    const { headers } = await api.call('/echo');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
    assert.match(headers.get('content-security-policy') ?? '', /default-src 'none'/);
    assert.equal(headers.get('x-powered-by'), null);
    assert.match((await api.call('/docs')).headers.get('content-security-policy') ?? '', /script-src 'self'/);
  });
  test('Prefer: respond-async is applied and said', async () => {
    const answer = await api.call('/echo/x', { method: 'POST', headers: { Prefer: 'foo=bar, Respond-Async; x=y, wait=5' } });
    assert.equal(answer.headers.get('preference-applied'), 'respond-async');
    assert.deepEqual((await jsonOf(answer)).preferences, { respondAsync: true, waitMs: 5_000 });
  });
  test('If-Match compares strongly, and what is no tag is 400', async () => {
    const matches = async (header: string) =>
      (await jsonOf(await api.call('/echo/x', { method: 'PATCH', headers: { 'If-Match': header } }))).matches3;
    assert.deepEqual(await Promise.all(['"3"', '*', '"1", "3"', '"4"', 'W/"3"', '"03"'].map(matches)), [
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
    for (const header of ['3', '"3', '"1" "2"', 'x', ',']) {
      assert.equal((await api.call('/echo/x', { method: 'PATCH', headers: { 'If-Match': header } })).status, 400, header);
    }
  });
});

describe('errors', () => {
  test('Postgres away is 503 with Retry-After, unstorable data 400, our own fault 500 without its words', async () => {
    const away = await api.call('/fails/postgres');
    assert.deepEqual([(await problemIn(away)).code, away.headers.get('retry-after')], ['postgres_away', '2']);
    assert.equal((await problemIn(await api.call('/fails/data'))).status, 400);
    const ours = await problemIn(await api.call('/fails/otherwise'));
    assert.equal(ours.status, 500);
    assert.doesNotMatch(JSON.stringify(ours), /secret/);
  });
  test('further members are given, and never replace the problem’s own', async () => {
    const problem = await problemIn(await api.call('/fails/conflict'));
    assert.deepEqual([problem.status, problem.code, problem.id], [409, 'name_taken', 'job_1']);
  });
  test('what is not HTTP is answered with a problem too', async () => {
    for (const text of ['GET / HTTP/9.9\r\n\r\n', 'nonsense\r\n\r\n', 'GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n'])
      assert.match(await raw(text), /^HTTP\/1\.1 400 /, text);
    const latin = await raw(`GET /echo?state=\xe9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.match(latin, /^HTTP\/1\.1 400 /);
  });
});

describe('readiness', () => {
  test('each check has its line, a slow one fails in time, a draining process is not ready', async () => {
    const readiness = createReadiness(
      [
        { name: 'postgres', run: async () => 'ok' },
        { name: 'temporal', run: () => new Promise(() => {}) },
      ],
      { keepMs: 0, timeoutMs: 50 },
    );
    const probed = await serveApi([], { deps: { readiness } });
    const answer = await fetch(`${probed.url}/health/ready`);
    const { status, checks } = await jsonOf(answer);
    assert.deepEqual([answer.status, status], [503, 'unavailable']);
    assert.deepEqual(
      checks.map(({ name, ok }: { name: string; ok: boolean }) => [name, ok]),
      [
        ['postgres', true],
        ['temporal', false],
      ],
    );
    readiness.drain();
    assert.equal((await fetch(`${probed.url}/health/ready`)).status, 503);
    assert.equal((await fetch(`${probed.url}/health`)).status, 200);
    await probed.close();
  });
});

describe('rate limits', () => {
  test('the burst is twice the rate, the rest 429 with Retry-After; health is exempt', async () => {
    const limited = await serveApi([echo], { settings: { RATE_LIMIT_PER_SECOND: 5 } });
    const statuses = [];
    let last: Response | undefined;
    for (let index = 0; index < 12; index++) {
      last = await limited.call('/echo');
      statuses.push(last.status);
    }
    assert.equal(statuses.filter((status) => status === 200).length, 10);
    assert.equal((await problemIn(last!)).code, 'rate_limited');
    assert.equal(last!.headers.get('retry-after'), '1');
    assert.match(last!.headers.get('ratelimit-policy') ?? '', /"burst";q=10;w=1/);
    assert.equal((await limited.call('/health')).status, 200);
    await limited.close();
  });
  test('what is sustained is the rate over 20 s', async () => {
    const limited = await serveApi([echo], { settings: { RATE_LIMIT_PER_SECOND: 1, RATE_LIMIT_BURST: 2, RATE_LIMIT_BURST_S: 1 } });
    assert.equal((await limited.call('/echo')).headers.get('ratelimit-policy')?.includes('"sustained";q=2;w=2'), true);
    await limited.close();
  });
  test('0 switches them off', async () => {
    assert.equal((await api.call('/echo')).headers.get('ratelimit'), null);
  });
});

describe('the OpenAPI document', () => {
  test('is 3.1, names every route, method and problem, and leaves the operations of other groups out', async () => {
    const document = await jsonOf(await fetch(`${api.url}/openapi.json`));
    assert.equal(document.openapi, '3.1.0');
    assert.doesNotMatch(JSON.stringify(document), /9007199254740991/, 'no bounds that say nothing');
    assert.deepEqual(Object.keys(document.paths), ['/echo/{name}', '/echo', '/fails/{how}']);
    assert.deepEqual(Object.keys(document.paths['/echo/{name}']), ['post', 'patch']);
    assert.ok(document.paths['/echo/{name}'].post.responses['422'].content['application/problem+json']);
    const limit = document.paths['/echo'].get.parameters.find(({ name }: { name: string }) => name === 'limit');
    assert.equal(limit.schema.maximum, 200);
    const other = await serveApi([echo], { settings: { API_GROUPS: ['executions'] } });
    assert.equal((await other.call('/echo')).status, 404);
    await other.close();
  });
  test('browsers are led from / to the page, programs are told there is nothing', async () => {
    const browser = await api.call('/', { headers: { Accept: 'text/html,*/*' } });
    assert.deepEqual([browser.status, browser.headers.get('location')], [302, '/docs']);
    assert.equal((await api.call('/')).status, 404);
  });
});
