import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { alternate, percentile, ratios, readingsOf } from '../../bench/rounds.ts';

describe('readings', () => {
  test('have the middle value as median, or the mean of the two in the middle', () => {
    assert.deepEqual(readingsOf([3, 1, 2]), { median: 2, min: 1, max: 3, values: [3, 1, 2] });
    assert.equal(readingsOf([4, 1, 2, 3]).median, 2.5);
  });

  test('are refused when there are none', () => {
    assert.throws(() => readingsOf([]), /nothing was measured/);
  });

  test('are compared within their round only', () => {
    assert.deepEqual(ratios([10, 40], [20, 40]).values, [0.5, 1]);
  });
});

describe('a percentile', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  test('is the smallest value that so many are not above', () => {
    assert.equal(percentile(hundred, 0.5), 50);
    assert.equal(percentile(hundred, 0.99), 99);
    assert.equal(percentile(hundred, 1), 100);
    assert.equal(percentile([7], 0.01), 7);
  });
});

describe('alternating', () => {
  test('turns the order round each time and keeps the rounds apart', async () => {
    const order: string[] = [];
    const side = (name: string) => async (round: number) => {
      order.push(`${name}${round}`);
      return round;
    };
    assert.deepEqual(await alternate(3, { ours: side('o'), raw: side('r') }), { ours: [0, 1, 2], raw: [0, 1, 2] });
    assert.deepEqual(order, ['o0', 'r0', 'r1', 'o1', 'o2', 'r2']);
  });
});
