import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { holds, type Line, tableOf } from '../../bench/report.ts';
import { readingsOf } from '../../bench/rounds.ts';

const line = (more: Partial<Line>): Line => ({ what: 'something', unit: 'ms', ours: 1, ...more });

describe('a limit', () => {
  test('holds at the limit itself and not beside it', () => {
    assert.equal(holds(line({ ours: 8, bound: { atMost: 8 } })), true);
    assert.equal(holds(line({ ours: 8.01, bound: { atMost: 8 } })), false);
    assert.equal(holds(line({ ours: 99, bound: { atLeast: 99 } })), true);
    assert.equal(holds(line({ ours: 98.9, bound: { atLeast: 99 } })), false);
  });

  test('is about the ratio when there is one', () => {
    const beside = { name: 'raw', value: 100 };
    assert.equal(holds(line({ ours: 69, beside, ratio: readingsOf([0.69]), bound: { atLeast: 0.7 } })), false);
    assert.equal(holds(line({ ours: 70, beside, ratio: readingsOf([0.7, 0.2, 0.9]), bound: { atLeast: 0.7 } })), true);
  });

  test('is not missed by what was not a number', () => {
    assert.equal(holds(line({ ours: Number.NaN, bound: { atMost: 8 } })), false);
    assert.equal(holds(line({})), undefined);
  });
});

test('the table has a line per figure, with spread and verdict', () => {
  const table = tableOf([
    {
      row: 'list',
      seconds: 1,
      facts: {},
      lines: [
        {
          what: 'pages',
          unit: 'requests/s',
          ours: readingsOf([1_000, 1_200, 900]),
          beside: { name: 'bare', value: readingsOf([1_500, 1_500, 1_500]) },
          ratio: readingsOf([0.6667, 0.8, 0.6]),
          bound: { atLeast: 0.7 },
        },
        { what: 'p50', unit: 'ms', ours: 0.123456 },
      ],
    },
  ]);
  const [head, , first, second] = table.split('\n');
  assert.match(head!, /^row +what +ours +beside +ratio +limit/);
  assert.match(
    first!,
    /^list +pages \[requests\/s\] +1,000 \(900–1,200\) +1,500 \(1,500–1,500\) bare +0\.667 \(0\.6–0\.8\) +>= 0\.7 +MISSED$/,
  );
  assert.match(second!, /^list +p50 \[ms\] +0\.123$/);
});
