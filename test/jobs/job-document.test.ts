import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { FieldError } from '../../src/jobs/errors.ts';
import { JobError } from '../../src/jobs/errors.ts';
import { parseJobDocument } from '../../src/jobs/job-document.ts';
import { mergePatch, sameJson } from '../../src/jobs/job-json.ts';
import { HTTP_TARGET as target } from './jobs-under-test.ts';

const RULES = { team: 'default', inputLimitBytes: 1_000, urlProblem: () => null, headerProblems: () => [] };
const parse = (body: unknown) => parseJobDocument(body, RULES);
const errorsOf = (body: unknown): FieldError[] => {
  try {
    parse(body);
  } catch (error) {
    assert.ok(error instanceof JobError, String((error as Error).stack));
    assert.equal(error.kind, 'invalid');
    return error.errors ?? [];
  }
  return [];
};
const codesOf = (body: unknown) => errorsOf(body).map((error) => `${error.path} ${error.code}`);
const job = (more: object) => ({ name: 'a', target, ...more });

describe('a job document', () => {
  test('with name and target alone gets every default', () => {
    assert.deepEqual(parse({ name: 'a', target }), {
      name: 'a',
      team: 'default',
      tags: {},
      dispatch: 'auto',
      priority: 3,
      enabled: true,
      overlap: 'skip',
      catchUp: { policy: 'last', window: '1h' },
      target: { type: 'http', url: 'https://example.com/hook', method: 'POST', headers: {}, success: '200-299' },
      timeout: '10s',
      retry: { maxAttempts: 3, initialInterval: '1s', backoffCoefficient: 2, maxInterval: '1m', nonRetryable: ['4xx'] },
    });
  });

  test('parses to itself, to the letter', () => {
    const full = parse({
      retry: { nonRetryable: ['404', 'timeout'], initialInterval: 'PT2M' },
      target: {
        headers: { 'X-A': '1' },
        service: 'invoicing',
        path: '/close',
        type: 'http',
        body: null,
        method: 'PUT',
        success: '200-204, 404',
      },
      schedule: {
        jitter: '30s',
        timezone: 'europe/berlin',
        cron: ['0 2 * * *', '@daily'],
        every: 'PT90S',
        endAt: '2030-01-01T00:00:00+01:00',
      },
      input: { b: 1, a: [null] },
      deadline: '600s',
      pauseAfterFailures: 5,
      name: 'é'.normalize('NFD'),
      tags: { env: 'prod' },
      category: 'batch',
      service: 'invoicing',
      description: 'd',
    });
    assert.equal(JSON.stringify(parse(JSON.parse(JSON.stringify(full)))), JSON.stringify(full));
    assert.equal(full.retry.maxInterval, '2m');
    assert.equal(full.name, 'é'.normalize('NFC'));
    assert.equal(full.deadline, '10m');
  });

  test('refuses by name what comes later', () => {
    const later = job({
      concurrency: { key: 'db', limit: 1 },
      schedule: { cron: '* * * * *' },
      target: { ...target, callback: {} },
    });
    assert.deepEqual(codesOf(later).sort(), ['/concurrency not_supported_yet', '/target/callback not_supported_yet']);
    for (const type of ['workflow', 'steps'])
      assert.deepEqual(codesOf({ name: 'a', target: { type } }), ['/target/type not_supported_yet']);
  });

  test('says who is told what, each kind once, and refuses unknown words with the nearest', () => {
    const notify = [{ on: ['failed', 'missed', 'failed'], channel: 'ops-slack' }];
    assert.deepEqual(parse(job({ notify })).notify, [{ on: ['failed', 'missed'], channel: 'ops-slack' }]);
    const [error] = errorsOf(job({ notify: [{ on: ['faild'], channel: 'ops' }] }));
    assert.equal(error?.path, '/notify/0/on/0');
    assert.match(error?.message ?? '', /did you mean "failed"/);
    assert.deepEqual(codesOf(job({ notify: [{ on: [], channel: 'ops' }] })), ['/notify/0/on too_small']);
    assert.deepEqual(codesOf(job({ notify: [{ on: ['failed'], chanel: 'ops' }] })).sort(), [
      '/notify/0/chanel unknown_key',
      '/notify/0/channel required',
    ]);
  });

  test('takes "pooled" for calls of up to 10 s, and says so for longer ones', () => {
    assert.equal(parse(job({ dispatch: 'pooled', timeout: '10s' })).dispatch, 'pooled');
    assert.equal(parse(job({ dispatch: 'auto', timeout: '11s' })).dispatch, 'auto');
    const [error] = errorsOf(job({ dispatch: 'pooled', timeout: '10001ms' }));
    assert.deepEqual(
      [error?.path, error?.code, error?.message],
      ['/dispatch', 'not_poolable', 'dispatch "pooled" needs an http or handler target with a timeout of at most 10s'],
    );
  });

  test('names the nearest known key for every unknown one, at any depth', () => {
    const errors = errorsOf({
      name: 'a',
      scheduel: {},
      descripton: '',
      retry: { maxAtempts: 1 },
      catchUp: { windw: '1h' },
      target: { ...target, header: {} },
      schedule: { crom: '* * * * *', every: '1m' },
    });
    const sentences = Object.fromEntries(errors.map((error) => [error.path, error.message]));
    assert.match(sentences['/scheduel']!, /did you mean "schedule"/);
    assert.match(sentences['/descripton']!, /did you mean "description"/);
    assert.match(sentences['/retry/maxAtempts']!, /did you mean "maxAttempts"/);
    assert.match(sentences['/catchUp/windw']!, /did you mean "window"/);
    assert.match(sentences['/target/header']!, /did you mean "headers"/);
    assert.match(sentences['/schedule/crom']!, /did you mean "cron"/);
    assert.ok(errors.every((error) => error.code === 'unknown_key'));
  });

  test('says that keys set by Almanac are to be left out', () => assert.deepEqual(codesOf(job({ state: 'active' })), ['/state read_only']));

  test('takes names of any script up to 200 characters, without control characters, blanks at the ends or the look of an id', () => {
    for (const name of ['夜間バッチ', '👩‍🚀'.repeat(40), 'x'.repeat(200), 'a/b?c#d', 'Job_x'.slice(3)])
      assert.deepEqual(codesOf({ name, target }), [], name);
    for (const name of ['', ' a', 'a ', 'a\nb', 'a\u0000', 'a\u2028b', 'x'.repeat(201), 'job_1', '..', '\ud800'])
      assert.equal(codesOf({ name, target }).length, 1, JSON.stringify(name));
  });

  test('limits input by its bytes as JSON', () => {
    assert.deepEqual(codesOf(job({ input: 'ä'.repeat(499) })), []);
    assert.deepEqual(codesOf(job({ input: 'ä'.repeat(500) })), ['/input too_large']);
  });

  test('refuses values that cannot be kept, however deep, without running out of stack', () => {
    const nest = (depth: number) => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown;
    assert.deepEqual(codesOf(job({ input: nest(90) })), []);
    assert.deepEqual(codesOf(job({ input: nest(50_000) })), [' invalid']);
    assert.deepEqual(codesOf(job({ input: { a: JSON.parse('1e999') } })), ['/input/a invalid']);
    assert.deepEqual(codesOf(job({ input: ['a\u0000'] })), ['/input/0 invalid']);
    assert.deepEqual(codesOf(job({ description: '\udfff' })), ['/description invalid']);
  });

  test('takes exactly one of url and service', () => {
    const http = (more: object) => codesOf({ name: 'a', target: { type: 'http', ...more } });
    assert.deepEqual(http({}), ['/target invalid']);
    assert.deepEqual(http({ url: 'https://a.example', service: 's' }), ['/target/service invalid']);
    assert.deepEqual(http({ url: 'https://a.example', path: '/x' }), ['/target/path invalid']);
    assert.deepEqual(http({ service: 's' }), []);
  });

  test('refuses urls and paths that could lead elsewhere', () => {
    const url = (text: string) => codesOf({ name: 'a', target: { type: 'http', url: text } }).length;
    for (const bad of ['ftp://a.example', 'https://u:p@a.example', '/x', 'https://a.example/#x', 'https://a.example/ x', 'javascript:1'])
      assert.equal(url(bad), 1, bad);
    const path = (text: string) => codesOf({ name: 'a', target: { type: 'http', service: 's', path: text } }).length;
    for (const bad of ['x', '//evil.example', '/\\evil', '/a/../b', '/%2e%2E/b', '/a b', '/a#b', '/.']) assert.equal(path(bad), 1, bad);
    for (const good of ['/', '/a?b=../c', '/a..b', '/.well-known']) assert.equal(path(good), 0, good);
  });

  test('refuses headers that no request can carry', () => {
    const headers = (value: object) => codesOf({ name: 'a', target: { ...target, headers: value } });
    assert.deepEqual(headers({ 'a b': 'x' }), ['/target/headers/a b invalid']);
    assert.deepEqual(headers({ a: 'x\r\ny' }), ['/target/headers/a invalid']);
    assert.deepEqual(headers({ a: 'x', A: 'y' }), ['/target/headers/A invalid']);
    assert.equal(headers(Object.fromEntries(Array.from({ length: 51 }, (_, index) => [`h${index}`, 'x']))).length, 1);
  });

  test('refuses numbers and durations out of range, both edges probed', () => {
    for (const [good, bad] of [
      [{ priority: 1 }, { priority: 0 }],
      [{ priority: 5 }, { priority: 6 }],
      [{ timeout: '100ms' }, { timeout: '99ms' }],
      [{ timeout: '7d' }, { timeout: '7d1ms' }],
      [{ retry: { maxAttempts: 1 } }, { retry: { maxAttempts: 0 } }],
      [{ catchUp: { window: '1s' } }, { catchUp: { window: '999ms' } }],
      [{ retry: { initialInterval: '1m', maxInterval: '1m' } }, { retry: { initialInterval: '61s', maxInterval: '1m' } }],
    ]) {
      assert.deepEqual(codesOf(job(good!)), [], JSON.stringify(good));
      assert.equal(codesOf(job(bad!)).length, 1, JSON.stringify(bad));
    }
  });

  test('is only for the team of the caller', () => assert.deepEqual(codesOf(job({ team: 'billing' })), ['/team unknown_team']));
});

describe('mergePatch', () => {
  test('merges objects, removes with null, replaces everything else (RFC 7396, appendix A)', () => {
    const cases: [unknown, unknown, unknown][] = [
      [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
      [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
      [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
      [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
      [{ a: 'foo' }, null, null],
      [{ e: null }, { a: 1 }, { e: null, a: 1 }],
      [[1, 2], { a: 'b', c: null }, { a: 'b' }],
      [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
    ];
    for (const [target, patch, result] of cases) assert.deepEqual(mergePatch(target, patch), result);
  });

  test('takes __proto__ for a key like any other', () => {
    const merged = mergePatch({}, JSON.parse('{"__proto__": {"polluted": true}}')) as { polluted?: boolean };
    assert.equal(merged.polluted, undefined);
    assert.equal(JSON.stringify(merged), '{"__proto__":{"polluted":true}}');
  });
});

test('sameJson ignores the order of keys and nothing else', () => {
  assert.ok(sameJson({ a: 1, b: [1, { c: null }] }, { b: [1, { c: null }], a: 1 }));
  for (const [a, b] of [
    [{ a: 1 }, { a: 1, b: undefined }],
    [
      [1, 2],
      [2, 1],
    ],
    [{}, []],
    [null, {}],
    [{ a: undefined }, { b: undefined }],
  ])
    assert.ok(!sameJson(a, b), JSON.stringify([a, b]));
});
