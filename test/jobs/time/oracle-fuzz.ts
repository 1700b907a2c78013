/**
 * The oracle against a real Temporal server, at length, by hand:
 *   node test/jobs/time/oracle-fuzz.ts <address of a dev server> [cases = 10000] [seed]
 * Prints every difference with its spec, and ends with 1 when there was one.
 */
import { Client, Connection } from '@temporalio/client';
import fc from 'fast-check';
import { firstDifference, mirror, oracleTimes, serverTimes } from './matching-times.ts';
import { caseArbitrary } from './timing-arbitrary.ts';

const [address = '127.0.0.1:7233', cases = '10000', seed = String(Date.now() % 1_000_000)] = process.argv.slice(2);
const client = new Client({ connection: await Connection.connect({ address }) });
const all = fc.sample(caseArbitrary(), { numRuns: Number(cases), seed: Number(seed) });
console.log(`${all.length} cases, seed ${seed}`);

let done = 0;
let times = 0;
let different = 0;
const started = performance.now();
async function compareOnward(): Promise<void> {
  for (let next = all.pop(); next; next = all.pop()) {
    const handle = await mirror(client, next.timing, next.from, next.to);
    const theirs = await serverTimes(client, handle.scheduleId, next.from, next.to);
    await handle.delete();
    const difference = firstDifference(oracleTimes(next.timing, next.from, next.to), theirs);
    times += theirs.length;
    if (difference) {
      different += 1;
      console.log(
        `${JSON.stringify({ crons: next.crons, intervals: next.timing.intervals, dates: next.timing.dates, zone: next.timing.timezone })} after ${new Date(next.from * 1000).toISOString()}: ${difference}`,
      );
    }
    done += 1;
    if (done % 500 === 0)
      console.log(`${done} done, ${times} times compared, ${different} different, ${Math.round((performance.now() - started) / 1000)} s`);
  }
}
await Promise.all(Array.from({ length: 8 }, compareOnward));
console.log(`${done} cases, ${times} times compared, ${different} different`);
await client.connection.close();
process.exitCode = different === 0 ? 0 : 1;
