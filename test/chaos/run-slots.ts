/**
 * No slot escapes, whoever dies:
 *   npm run chaos:slots [-- --seed N --jobs N --minutes M]
 * Ends with 1 when a slot was lost, accounted for twice, or started twice.
 */
import { parseArgs } from 'node:util';
import { runSlotChaos } from './slots.ts';
import { openStage } from './stage.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '500' },
    minutes: { type: 'string', default: '5' },
  },
});
const startedAt = Date.now();
const say = (sentence: string) => console.log(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${sentence}`);

const report = await runSlotChaos({
  seed: Number(values.seed),
  jobs: Number(values.jobs),
  forMs: Number(values.minutes) * 60_000,
  kills: ['worker', 'controller', 'api', 'temporal'],
  openStage: () => openStage({ ...process.env }, 1),
  uncommittedMs: 2_000,
  say,
});
say(`counts: ${JSON.stringify(report.counts)}`);
say(report.accountedMs === null ? 'NOT all accounted for' : `all accounted for ${report.accountedMs} ms after the end`);
for (const error of report.errors.slice(0, 10)) say(`logged: ${error}`);
if (report.errors.length > 10) say(`and ${report.errors.length - 10} more lines of errors`);
for (const violation of report.violations.slice(0, 50)) say(`VIOLATION ${violation}`);
say(report.violations.length === 0 ? 'no slot escaped' : `${report.violations.length} violations`);
if (report.violations.length > 0) process.exitCode = 1;
