import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BenchUsageError, parseBenchOptions, ROW_NAMES } from '../../bench/options.ts';

describe('npm run bench', () => {
  test('runs every row five times when nothing is asked for', () => {
    assert.deepEqual(parseBenchOptions([]), { rows: [...ROW_NAMES], rounds: 5, help: false });
  });

  test('runs the named rows in their own order, each once', () => {
    assert.deepEqual(parseBenchOptions(['create', 'list', 'create', '--rounds', '2']), {
      rows: ['list', 'create'],
      rounds: 2,
      help: false,
    });
  });

  test('suggests the nearest row for one that it does not know', () => {
    assert.throws(
      () => parseBenchOptions(['creat']),
      (error: Error) => error instanceof BenchUsageError && /did you mean create\?/.test(error.message),
    );
  });

  test('refuses rounds that are no whole number from 1 to 100', () => {
    for (const rounds of ['0', '101', '1.5', 'many', ''])
      assert.throws(() => parseBenchOptions(['--rounds', rounds]), BenchUsageError, rounds);
    for (const rounds of ['1', '100']) assert.equal(parseBenchOptions(['--rounds', rounds]).rounds, Number(rounds));
  });

  test('refuses options that it does not have', () => {
    assert.throws(() => parseBenchOptions(['--round', '2']), BenchUsageError);
  });
});
