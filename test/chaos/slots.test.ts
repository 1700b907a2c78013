/** The short form of test/chaos/run-slots.ts: 40 jobs, and two of worker, controller, API and Temporal are killed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from './random.ts';
import { slotJob } from './slot-jobs.ts';
import { accounting, runSlotChaos } from './slots.ts';
import { openStage, type What } from './stage.ts';

test('every slot of jobs of mixed schedules is accounted for exactly once, and none starts twice, whoever is killed', async (t) => {
  const seed = Date.now() % 100_000;
  const kills = createRandom(seed).shuffled<What>(['worker', 'controller', 'api', 'temporal']).slice(0, 2);
  const report = await runSlotChaos({
    seed,
    jobs: 40,
    forMs: 25_000,
    kills,
    openStage: () => openStage({ ...process.env }, 1),
    // other tests run beside this one
    uncommittedMs: 3_000,
    say: (sentence) => t.diagnostic(sentence),
  });
  t.diagnostic(`${JSON.stringify(report.counts)}; all accounted for ${report.accountedMs} ms after the end`);
  assert.deepEqual(report.violations, []);
  assert.equal(report.kills.length, 2);
  assert.ok(report.counts.slots! > 40);
});

test('the account finds a slot that is lost, one that is there twice, and one that is there otherwise than its job says', () => {
  const [plain, excluded] = [slotJob(3, ''), slotJob(6, '')].map((job, n) => ({ ...job, id: `job_${n}`, from: 1_000_000 }));
  const due = (everyS: number) => Math.ceil(1_000_000 / (everyS * 1_000)) * everyS * 1_000;
  const at = { plain: due(10), excluded: due(15) };
  const range = { from: at.excluded, to: at.excluded + 1_000 };
  const of = (rows: [string, number][], ranges: [string, { from: number; to: number }[]][]) =>
    accounting([plain!, excluded!], { rows: new Map(rows), ranges: new Map(ranges) }, 1_019_999).length;
  assert.equal(
    of(
      [
        [`job_0 ${at.plain}`, 1],
        [`job_0 ${at.plain + 10_000}`, 1],
      ],
      [['job_1', [range]]],
    ),
    0,
  );
  assert.equal(of([[`job_0 ${at.plain}`, 1]], [['job_1', [range]]]), 1, 'lost');
  assert.equal(
    of(
      [
        [`job_0 ${at.plain}`, 2],
        [`job_0 ${at.plain + 10_000}`, 1],
      ],
      [['job_1', [range]]],
    ),
    1,
    'twice',
  );
  assert.equal(
    of(
      [
        [`job_0 ${at.plain}`, 1],
        [`job_0 ${at.plain + 10_000}`, 1],
        [`job_1 ${at.excluded}`, 1],
      ],
      [['job_1', [range]]],
    ),
    1,
    'row and range',
  );
  assert.equal(
    of(
      [
        [`job_0 ${at.plain}`, 1],
        [`job_0 ${at.plain + 10_000}`, 1],
        [`job_1 ${at.excluded}`, 1],
      ],
      [],
    ),
    1,
    'a row in place of a range',
  );
});
