import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jitterOffsetS } from '../../../src/jobs/time/jitter.ts';

test('a job keeps its offset, which is whole seconds from 0 to the jitter', () => {
  const counts = new Map<number, number>();
  for (let index = 0; index < 4_000; index += 1) {
    const offset = jitterOffsetS(`job_${index}`, 3_000);
    assert.equal(offset, jitterOffsetS(`job_${index}`, 3_000));
    counts.set(offset, (counts.get(offset) ?? 0) + 1);
  }
  assert.deepEqual([...counts.keys()].sort(), [0, 1, 2, 3]);
  for (const count of counts.values()) assert.ok(count > 800 && count < 1_200, `evenly spread: ${count}`);
});

test('without jitter there is no offset, and the offset of a known job never changes between versions', () => {
  assert.equal(jitterOffsetS('job_x', 0), 0);
  assert.equal(jitterOffsetS('job_x', 999), 0);
  assert.equal(jitterOffsetS('job_0197d0c2-0000-7000-8000-000000000001', 60_000), 16);
});
