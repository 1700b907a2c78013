/** `list`: pages of 50 out of 10,000 stored jobs, another cursor or filter each time, against bare Express and `pg` doing the same SELECT. */
import { forkHelper } from '../load/helper-process.ts';
import type { HttpLoad, HttpLoadResult } from '../load/http-load.ts';
import { alternate, percentile, ratios, readingsOf } from '../rounds.ts';
import { startAlmanac } from '../stack/almanac.ts';
import { bareOrigin, type PagePair, pairsOfPages } from './list-pages.ts';
import { onlyStatus, type Row } from './row.ts';
import { storeJobs } from './stored-jobs.ts';

export const STORED = 10_000;
const CONNECTIONS = 16;
const ROUND_MS = 4_000;
const WARM_MS = 1_500;

export const list: Row = async ({ servers, folder, rounds, say }) => {
  const almanac = await startAlmanac(await servers(), 'list', folder, ['api']);
  const bare = forkHelper<HttpLoad, never>('baseline/list.ts', almanac.env);
  const load = forkHelper<HttpLoad, HttpLoadResult>('load/http-load.ts');
  try {
    const origin = await bareOrigin(bare.child);
    say(`storing ${STORED} jobs through the API`);
    await storeJobs(almanac, load, STORED);
    const pairs = await pairsOfPages(almanac, origin);
    say(`${pairs.length} different pages; both sides answered each with the same items`);

    const side = (sideOrigin: string, path: 'ours' | 'bare') => async (durationMs: number) => {
      const requests = pairs.map((pair) => ({ path: pair[path] }));
      const result = await load.ask({
        origin: sideOrigin,
        headers: almanac.headers,
        requests,
        repeat: true,
        connections: CONNECTIONS,
        durationMs,
      });
      onlyStatus(path, result.statuses, 200, result.bodies);
      if (result.encodings.gzip !== result.count)
        throw new Error(`${path}: not every answer was gzip: ${JSON.stringify(result.encodings)}`);
      return result;
    };
    const ours = side(almanac.origin, 'ours');
    const theirs = side(origin, 'bare');
    await ours(WARM_MS);
    await theirs(WARM_MS);
    const readings = await alternate(rounds, { ours: () => ours(ROUND_MS), bare: () => theirs(ROUND_MS) });

    const rate = (results: HttpLoadResult[]) => results.map(({ count, seconds }) => count / seconds);
    const latency = (results: HttpLoadResult[], share: number) =>
      readingsOf(results.map(({ latenciesMs }) => percentile(latenciesMs, share)));
    const name = 'bare Express + pg';
    return {
      lines: [
        {
          what: '50 of 10,000 jobs',
          unit: 'requests/s',
          ours: readingsOf(rate(readings.ours)),
          beside: { name, value: readingsOf(rate(readings.bare)) },
          ratio: ratios(rate(readings.ours), rate(readings.bare)),
          bound: { atLeast: 0.7 },
        },
        { what: 'p50', unit: 'ms', ours: latency(readings.ours, 0.5), beside: { name, value: latency(readings.bare, 0.5) } },
        { what: 'p99', unit: 'ms', ours: latency(readings.ours, 0.99), beside: { name, value: latency(readings.bare, 0.99) } },
      ],
      facts: {
        connections: CONNECTIONS,
        'round s': ROUND_MS / 1_000,
        pages: pairs.length,
        'slowest page': slowest(pairs),
        'bytes ours (gzip)': Math.round(readings.ours[0]!.bytes),
        'bytes bare (gzip)': Math.round(readings.bare[0]!.bytes),
      },
    };
  } finally {
    await load.close();
    await bare.close();
    await almanac.close();
  }
};

const slowest = (pairs: PagePair[]): string => {
  const { ms, ours } = pairs.reduce((worst, pair) => (pair.ms > worst.ms ? pair : worst));
  return `${Math.round(ms)} ms ${ours.slice(0, 70)}`;
};
