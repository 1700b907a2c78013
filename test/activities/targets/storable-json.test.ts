import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storableJson, storableMessage, storableText } from '../../../src/activities/targets/storable-json.ts';

test('NUL and lone surrogates become U+FFFD, in keys too, and it is said', () => {
  assert.deepEqual(storableJson({ 'a\0': ['x\ud800y', '\udc00'] }), { value: { 'a\ufffd': ['x\ufffdy', '\ufffd'] }, replaced: true });
  assert.deepEqual(storableText('a\0b\ud800'), { text: 'a\ufffdb\ufffd', replaced: true });
});

test('what only looks like such an escape stays as it is', () => {
  for (const value of ['\\u0000', '\\\\ud800', '😀', '\u0001 \n " \\', { a: '\\\\u0000\\' }])
    assert.deepEqual(storableJson(value), { value, replaced: false });
  assert.deepEqual(storableJson('\\\0'), { value: '\\\ufffd', replaced: true });
});

test('64 KiB are kept whole, one byte more is marked', () => {
  const fits = 'x'.repeat(64 * 1024 - 2);
  assert.equal(storableJson(fits).value, fits);
  const { value } = storableJson(`${fits}x`);
  assert.deepEqual(value, { truncated: true, bytes: 64 * 1024 + 1, preview: `"${fits}x` });
});

test('a preview never ends inside a character', () => {
  const { preview } = storableJson('é'.repeat(40_000)).value as { preview: string };
  assert.match(preview, /^"é+$/);
});

test('undefined is null, dates are texts, and what is no JSON throws', () => {
  assert.equal(storableJson(undefined).value, null);
  assert.equal(storableJson(new Date(0)).value, '1970-01-01T00:00:00.000Z');
  const cycle: { self?: unknown } = {};
  cycle.self = cycle;
  for (const value of [cycle, 1n, () => 1, Symbol('x')]) assert.throws(() => storableJson(value), TypeError);
});

test('a message is cut and storable', () => {
  assert.equal(storableMessage('a\0'), 'a\ufffd');
  assert.equal(storableMessage('😀'.repeat(3_000)).isWellFormed(), true);
  assert.ok(storableMessage('x'.repeat(10_000)).length <= 4_001);
});
