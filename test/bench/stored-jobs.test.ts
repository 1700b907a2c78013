import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { distantCron, jobBody } from '../../bench/rows/stored-jobs.ts';
import { pssIn } from '../../bench/stack/process-tree.ts';
import { parseJobDocument } from '../../src/jobs/job-document.ts';

describe('the jobs of the bench', () => {
  test('have a cron of their own each', () => {
    const crons = Array.from({ length: 40_000 }, (_, index) => distantCron(index));
    assert.equal(new Set(crons).size, crons.length);
  });

  test('are months away from firing, in every month of the year', () => {
    for (let month = 0; month < 12; month += 1) {
      const now = new Date(Date.UTC(2026, month, 15));
      for (const index of [0, 1]) {
        const firing = Number(distantCron(index, now).split(' ')[3]) - 1;
        const ahead = (firing - month + 12) % 12;
        assert.ok(ahead >= 5 && ahead <= 6, `${month} → ${firing}`);
      }
    }
  });

  test('are documents that Almanac takes', () => {
    const rules = { team: 'default', inputLimitBytes: 1_000, urlProblem: () => null, headerProblems: () => [] };
    for (const index of [0, 1, 9_999]) assert.doesNotThrow(() => parseJobDocument(jobBody(index, 'test'), rules));
  });
});

describe('memory', () => {
  test('is the line Pss of smaps_rollup, in KiB', () => {
    assert.equal(pssIn('Rss:    2000 kB\nPss:               1234 kB\nPss_Dirty:  99 kB\n'), 1_234);
    assert.throws(() => pssIn('Rss: 1 kB\n'), /no Pss/);
  });
});

test('no baseline is served by anything of ours but the statement that both sides run', () => {
  for (const file of ['list', 'schedule-create', 'handwritten-worker', 'handwritten-workflow', 'handwritten-start']) {
    const text = readFileSync(new URL(`../../bench/baseline/${file}.ts`, import.meta.url), 'utf8');
    const ours = [...text.matchAll(/from '(\.\.[^']*)'/g)].map(([, from]) => from);
    assert.deepEqual(ours, file === 'list' ? ['../../src/jobs/jobs-list.ts'] : [], file);
  }
});
