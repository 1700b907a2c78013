/**
 * Kills everything, again and again, and says whether the promise held: node test/chaos/run.ts [--seed N] [--minutes M] [--only worker,api,…]
 * Ends with 1 when it did not. The same seed gives the same order of kills; what is in flight at each is as it comes.
 */
import { parseArgs } from 'node:util';
import { KILLS, runChaos, type What } from './chaos.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '3' },
    only: { type: 'string', default: KILLS.join(',') },
  },
});
const only = values.only.split(',').map((name) => {
  if (!(KILLS as readonly string[]).includes(name)) throw new Error(`--only knows ${KILLS.join(', ')}; not ${name}`);
  return name as What;
});

const startedAt = Date.now();
const say = (sentence: string) => console.log(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${sentence}`);
const report = await runChaos({
  seed: Number(values.seed),
  forMs: Number(values.minutes) * 60_000,
  only,
  environment: { ...process.env },
  say,
});

say(`counts: ${JSON.stringify(report.counts)}`);
say(`slowest acknowledgement ${report.slowestAcknowledgementMs} ms; quiet ${report.quietMs} ms after the load ended`);
for (const [kind, kills] of Map.groupBy(report.kills, (kill) => (kill.kinds.length > 1 ? 'everything' : kill.kinds[0]!)))
  say(`${kind}: ${kills.length} kills, settled after ${kills.map((kill) => kill.settledMs ?? '> 60000').join(', ')} ms`);
for (const error of report.errors) say(`logged: ${error}`);
for (const violation of report.violations) say(`VIOLATION ${violation}`);
say(report.violations.length === 0 ? 'the promise held' : `${report.violations.length} violations`);
process.exitCode = report.violations.length === 0 ? 0 : 1;
