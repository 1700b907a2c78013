/**
 * `execute`: short `handler` executions, triggered through the API and read from their rows, against a hand-written workflow with one activity, with and
 * without a row of its own. Throughput is a burst: from the first request to the last end of the work. Latency is taken at a low fixed rate.
 */
import { alternate, percentile, ratios, readingsOf } from '../rounds.ts';
import { startAlmanac } from '../stack/almanac.ts';
import { type Ended, startHandwritten } from './execute-handwritten.ts';
import { startOurs } from './execute-ours.ts';
import type { Row } from './row.ts';

/** Executions of one burst. */
export const BURST = 300;
export const CONCURRENCY = 16;
export const RATE_PER_S = 5;
const AT_RATE = 25;
/** Bursts before the first that counts: code that has run a few times only is no measure of anything. */
export const WARM_BURSTS = 2;
/** Temporal looks at every workflow task and activity again when its ten seconds are over, and a burst's are over at the same time. */
export const REST_MS = 12_000;

export const execute: Row = async ({ servers, folder, rounds, say }) => {
  const almanac = await startAlmanac(await servers(), 'execute', folder, ['api', 'worker', 'controller']);
  const ours = await startOurs(almanac, BURST);
  const theirs = await startHandwritten(almanac);
  try {
    const sides = { ours: ours.run, row: theirs.withRow, plain: theirs.plain };
    for (let burst = 0; burst < WARM_BURSTS; burst += 1) for (const run of Object.values(sides)) await run(BURST);
    say(`bursts of ${BURST}`);
    const bursts = await alternate(
      rounds,
      { ours: () => sides.ours(BURST), row: () => sides.row(BURST), plain: () => sides.plain(BURST) },
      REST_MS,
    );
    say(`${RATE_PER_S} per second`);
    const calm = await alternate(rounds, {
      ours: () => sides.ours(AT_RATE, RATE_PER_S),
      row: () => sides.row(AT_RATE, RATE_PER_S),
      plain: () => sides.plain(AT_RATE, RATE_PER_S),
    });

    const rates = (side: keyof typeof sides) => bursts[side].map(rateOf);
    const latency = (side: keyof typeof sides, share: number) =>
      readingsOf(calm[side].map((ended) => percentile(latenciesOf(ended), share)));
    const line = (side: 'row' | 'plain', name: string) => ({
      what: 'handler executions',
      unit: 'executions/s',
      ours: readingsOf(rates('ours')),
      beside: { name, value: readingsOf(rates(side)) },
      ratio: ratios(rates('ours'), rates(side)),
    });
    const row = 'hand-written, with a row';
    const plain = 'hand-written, no row';
    return {
      lines: [
        { ...line('row', row), bound: { atLeast: 1.3 } },
        line('plain', plain),
        { what: `p50 at ${RATE_PER_S}/s`, unit: 'ms', ours: latency('ours', 0.5), beside: { name: row, value: latency('row', 0.5) } },
        { what: `p99 at ${RATE_PER_S}/s`, unit: 'ms', ours: latency('ours', 0.99), beside: { name: row, value: latency('row', 0.99) } },
        { what: `p50 at ${RATE_PER_S}/s`, unit: 'ms', ours: latency('ours', 0.5), beside: { name: plain, value: latency('plain', 0.5) } },
        { what: 'rows succeeded in one attempt', unit: '%', ours: await ours.share(), bound: { atLeast: 100 } },
      ],
      facts: { burst: BURST, concurrency: CONCURRENCY, slots: theirs.slots, 'own rows': await theirs.rows() },
    };
  } finally {
    await theirs.close();
    await ours.close();
    await almanac.close();
  }
};

/** Executions per second of a burst. */
export const rateOf = (ended: readonly Ended[]): number => {
  const from = Math.min(...ended.map(({ sentAt }) => sentAt));
  const to = Math.max(...ended.map(({ endedAt }) => endedAt));
  return (ended.length / (to - from)) * 1_000;
};

const latenciesOf = (ended: readonly Ended[]): number[] => ended.map(({ sentAt, endedAt }) => endedAt - sentAt);
