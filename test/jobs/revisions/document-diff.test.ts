/** Both patches between two documents, whatever they are. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { applyPatch } from 'rfc6902';
import { mergePatch, sameJson } from '../../../src/jobs/job-json.ts';
import { documentDiff } from '../../../src/jobs/revisions/document-diff.ts';

const object = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })) as fc.Arbitrary<Record<string, unknown>>;

describe('the difference between two documents', () => {
  test('is shown as people read it', () => {
    const from = { name: 'a', tags: { env: 'prod', tier: '1' }, retry: { nonRetryable: ['4xx'] } };
    const to = { name: 'b', tags: { env: 'prod' }, retry: { nonRetryable: ['4xx', 'timeout'] }, priority: 2 };
    assert.deepEqual(documentDiff(from, to), {
      patch: [
        { op: 'add', path: '/priority', value: 2 },
        { op: 'replace', path: '/name', value: 'b' },
        { op: 'remove', path: '/tags/tier' },
        { op: 'add', path: '/retry/nonRetryable/-', value: 'timeout' },
      ],
      mergePatch: { name: 'b', tags: { tier: null }, retry: { nonRetryable: ['4xx', 'timeout'] }, priority: 2 },
    });
    assert.deepEqual(documentDiff(from, structuredClone(from)), { patch: [], mergePatch: {} });
  });

  test('applied to the first gives the second', () => {
    fc.assert(
      fc.property(object, object, (from, to) => {
        const { patch, mergePatch: merge } = documentDiff(from, to);
        if (patch[0]?.path !== '') {
          const applied = structuredClone(from);
          assert.ok(applyPatch(applied, structuredClone(patch)).every((error) => error === null));
          assert.ok(sameJson(applied, to));
        } else assert.deepEqual(patch, [{ op: 'replace', path: '', value: to }]);
        if (merge !== null) assert.ok(sameJson(mergePatch(from, merge), to));
      }),
    );
  });

  test('has no merge patch when something becomes null', () => {
    const { patch, mergePatch: merge } = documentDiff({ input: { a: 1 } }, { input: { a: null } });
    assert.equal(merge, null);
    assert.deepEqual(patch, [{ op: 'replace', path: '/input/a', value: null }]);
  });

  test('of keys that are no keys to everybody is true all the same', () => {
    const to = JSON.parse('{"input": {"__proto__": {"a": 1}, "constructor": 2, "a/b~c": 3}}');
    const { patch, mergePatch: merge } = documentDiff({ input: {} }, to);
    assert.deepEqual(patch, [{ op: 'replace', path: '', value: to }]);
    assert.ok(sameJson(mergePatch({ input: {} }, merge), to));
    assert.equal(({} as { a?: number }).a, undefined);
  });

  test('of long or many lists takes no time', () => {
    const list = (of: number) => Array.from({ length: 60_000 }, (_, nth) => nth * of);
    const startedAt = performance.now();
    assert.deepEqual(documentDiff({ input: list(1) }, { input: list(2) }).patch, [{ op: 'replace', path: '/input', value: list(2) }]);
    const lists = (of: number) => Array.from({ length: 40 }, () => Array.from({ length: 40 }, (_, nth) => [nth * of, [nth], [of]]));
    documentDiff({ input: lists(1) }, { input: lists(2) });
    assert.ok(performance.now() - startedAt < 10_000);
  });
});
