import assert from 'node:assert/strict';
import { test } from 'node:test';
import { headerProblems, requestHeaders } from '../../../src/activities/targets/http-request-headers.ts';
import { keptHeaders } from '../../../src/activities/targets/http-response-headers.ts';
import { aCall } from './calls.ts';

test('headers of a user that are fine have no problem', () => {
  assert.deepEqual(
    headerProblems({ Authorization: 'Bearer x', 'Content-Type': 'text/plain', Accept: 'a/b', 'X-My': 'tab\tand space' }),
    [],
  );
});

for (const name of [
  'Host',
  'content-length',
  'Connection',
  'Transfer-Encoding',
  'TE',
  'Upgrade',
  'Keep-Alive',
  'Proxy-Authorization',
  'Trailer',
  'Expect',
  'User-Agent',
  'X-Almanac-Attempt',
  'x-almanac-anything',
  'Webhook-Id',
  'webhook-signature',
  'Idempotency-Key',
  'traceparent',
  'accept-encoding',
]) {
  test(`${name} can not be set by a user`, () => assert.equal(headerProblems({ [name]: 'x' })[0]?.header, name));
}

test('line breaks, NUL and other scripts are refused in names and values', () => {
  for (const value of ['a\r\nX-Evil: 1', 'a\nb', 'a\0b', 'ü', '\u2028', '\ud800', '\x7f'])
    assert.match(headerProblems({ 'x-a': value })[0]?.message ?? '', /percent-encode/);
  for (const name of ['', 'a b', 'a:b', 'a\r\nb', 'ü', 'x'.repeat(101)])
    assert.match(headerProblems({ [name]: 'x' })[0]?.message ?? '', /not a header name/);
});

test('a name that differs only in case is a repeat, and there is a limit to number and size', () => {
  assert.match(headerProblems({ 'X-A': '1', 'x-a': '2' })[0]?.message ?? '', /twice/);
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`x-${index}`, '']));
  assert.deepEqual(headerProblems(many(100)), []);
  assert.match(headerProblems(many(101))[0]?.message ?? '', /too many/);
  assert.match(headerProblems({ 'x-a': 'x'.repeat(17_000) })[0]?.message ?? '', /too large/);
});

test('a job name of any script travels percent-encoded and comes back', () => {
  const name = 'Büro 50% 日本語 😀';
  const headers = requestHeaders(aCall({ job: { id: 'j', name, team: 't' } }), {}, null);
  assert.match(headers['x-almanac-job-name']!, /^[\x20-\x7e]+$/);
  assert.equal(decodeURIComponent(headers['x-almanac-job-name']!), name);
  assert.equal(requestHeaders(aCall(), {}, null)['x-almanac-job-name'], 'nightly');
});

test('every attempt has the same ids, the same trace and a span of its own', () => {
  const [first, second] = [1, 2].map((attempt) => requestHeaders(aCall({ attempt, slot: '2026-11-21T00:00:00Z' }), {}, null));
  for (const name of ['webhook-id', 'idempotency-key', 'x-almanac-execution-id']) assert.equal(first![name], second![name]);
  assert.match(first!.traceparent!, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  assert.equal(first!.traceparent!.slice(0, 35), second!.traceparent!.slice(0, 35));
  assert.notEqual(first!.traceparent, second!.traceparent);
  assert.equal(second!['x-almanac-attempt'], '2');
  assert.equal(second!['x-almanac-slot'], '2026-11-21T00:00:00Z');
  assert.ok(!('x-almanac-slot' in requestHeaders(aCall(), {}, null)));
  assert.ok(Math.abs(Number(first!['webhook-timestamp']) - Date.now() / 1000) < 5);
});

test('of a response, cookies and credentials are dropped and the rest is bounded', () => {
  const kept = keptHeaders({ 'set-cookie': ['a=1'], authorization: 'x', 'x-api-key': 'k', etag: '"1"', 'x-list': 'a', link: 'l' });
  assert.deepEqual(kept, { etag: '"1"', 'x-list': 'a', link: 'l' });
  const many = Object.fromEntries(Array.from({ length: 80 }, (_, index) => [`x-${index}`, 'v']));
  assert.equal(Object.keys(keptHeaders(many)).length, 50);
  assert.deepEqual(keptHeaders({ a: '1', big: 'x'.repeat(9_000), z: '2' }), { a: '1' });
});
