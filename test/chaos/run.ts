/**
 * Kills everything, again and again, and says whether the promise held:
 *   node test/chaos/run.ts [--seed N] [--minutes M] [--only worker,api,…] [--stage separate|start]
 * First with every process started by itself, two copies of ours; then with `npm start`, whose supervisor is killed too. Minutes are per stage.
 * Ends with 1 when the promise did not hold. The same seed gives the same order of kills; what is in flight at each is as it comes.
 */
import { parseArgs } from 'node:util';
import { runChaos } from './chaos.ts';
import { KINDS, openStage, type What } from './stage.ts';
import { openSupervisedStage } from './supervised-stage.ts';

const WHATS: readonly string[] = [...KINDS, 'servers', 'everything', 'supervisor'];
const STAGES: Record<string, (environment: NodeJS.ProcessEnv) => ReturnType<typeof openStage>> = {
  separate: openStage,
  start: openSupervisedStage,
};

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '3' },
    only: { type: 'string' },
    stage: { type: 'string' },
  },
});
const only = values.only?.split(',').map((name) => {
  if (!WHATS.includes(name)) throw new Error(`--only knows ${WHATS.join(', ')}; not ${name}`);
  return name as What;
});
if (values.stage && !STAGES[values.stage]) throw new Error(`--stage knows ${Object.keys(STAGES).join(', ')}; not ${values.stage}`);

const startedAt = Date.now();
const say = (sentence: string) => console.log(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${sentence}`);

for (const [name, open] of Object.entries(STAGES)) {
  if (values.stage && values.stage !== name) continue;
  if (only && name === 'separate' && only.every((what) => what === 'supervisor')) continue;
  say(`stage: ${name}`);
  const report = await runChaos({
    seed: Number(values.seed),
    forMs: Number(values.minutes) * 60_000,
    only,
    openStage: () => open({ ...process.env }),
    say,
  });
  say(`counts: ${JSON.stringify(report.counts)}`);
  say(`slowest acknowledgement ${report.slowestAcknowledgementMs} ms; quiet ${report.quietMs} ms after the load ended`);
  say(`recorded after ms: ${JSON.stringify(report.recordedAfterMs)}`);
  for (const error of report.errors) say(`logged: ${error}`);
  for (const violation of report.violations) say(`VIOLATION ${violation}`);
  say(report.violations.length === 0 ? 'the promise held' : `${report.violations.length} violations`);
  if (report.violations.length > 0) process.exitCode = 1;
}
