import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  isStatusRetryable,
  isSuccess,
  nonRetryableProblem,
  retryAfterMs,
  successProblem,
  withNonRetryable,
} from '../../../src/activities/targets/http-verdict.ts';
import { failed } from '../../../src/activities/targets/target-call.ts';

test('success is a list of statuses and ranges, ends included', () => {
  for (const status of [200, 299, 304]) assert.equal(isSuccess(status, '200-299, 304'), true);
  for (const status of [199, 300, 303, 305]) assert.equal(isSuccess(status, '200-299, 304'), false);
});

test('a success list that means nothing is refused', () => {
  for (const good of ['200', '200-299', '200-299,304', ' 201 , 202 ']) assert.equal(successProblem(good), null);
  for (const bad of ['', '2xx', '299-200', '99', '600', '200-', '200,,201', '-200'])
    assert.match(successProblem(bad) ?? '', /write e\.g\./, bad);
});

test('408, 425, 429 and 5xx are tried again; other 4xx and redirects are not', () => {
  for (const status of [408, 425, 429, 500, 502, 503, 599]) assert.equal(isStatusRetryable(status, ['4xx']), true, String(status));
  for (const status of [301, 302, 304, 307, 400, 401, 404, 409, 424, 426, 428, 430, 499])
    assert.equal(isStatusRetryable(status, ['4xx']), false, String(status));
});

test('nonRetryable names statuses and classes, and replaces the default', () => {
  assert.equal(isStatusRetryable(404, []), true);
  assert.equal(isStatusRetryable(503, ['5xx']), false);
  assert.equal(isStatusRetryable(404, ['404']), false);
  assert.equal(isStatusRetryable(403, ['404']), true);
  assert.equal(isStatusRetryable(429, ['429']), false);
  assert.equal(isStatusRetryable(500, ['http_status']), false);
});

test('nonRetryable names types of error', () => {
  const dns = failed('dns', 'x', true);
  assert.equal(withNonRetryable(dns, ['tls']), dns);
  assert.deepEqual(withNonRetryable(dns, ['dns']), failed('dns', 'x', false));
  for (const entry of ['4xx', '404', 'timeout', 'tls', 'handler']) assert.equal(nonRetryableProblem(entry), null);
  for (const entry of ['6xx', '40x', 'TLS', 'oops', '']) assert.match(nonRetryableProblem(entry) ?? '', /neither/);
});

test('Retry-After is seconds or a date, never more than an hour', () => {
  const now = Date.parse('2026-11-21T10:00:00Z');
  assert.equal(retryAfterMs('0', now), 0);
  assert.equal(retryAfterMs(' 120 ', now), 120_000);
  assert.equal(retryAfterMs('3600', now), 3_600_000);
  assert.equal(retryAfterMs('3601', now), 3_600_000);
  assert.equal(retryAfterMs('99999999999999999999', now), 3_600_000);
  assert.equal(retryAfterMs('Sat, 21 Nov 2026 10:00:30 GMT', now), 30_000);
  assert.equal(retryAfterMs('Sat Nov 21 10:00:30 2026 GMT', now), 30_000);
  assert.equal(retryAfterMs('Sat, 21 Nov 2026 09:00:00 GMT', now), 0);
  assert.equal(retryAfterMs('Sun, 22 Nov 2026 10:00:00 GMT', now), 3_600_000);
  for (const nonsense of [undefined, '', '-1', '1.5', 'soon', '0x10', '2026-11-21T11:00:00Z', 'Sat, nonsense'])
    assert.equal(retryAfterMs(nonsense, now), undefined);
});
