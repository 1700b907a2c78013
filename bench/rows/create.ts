/** `create`: POST /api/v1/jobs, each job with a cron of its own, against raw `schedule.create` at equal concurrency. Only replies that say `synced` count. */
import { alternate, percentile, ratios, readingsOf } from '../rounds.ts';
import { allInTemporal, CONCURRENCY, REST_MS, sampleOf, seenInTemporal, startCreating } from './creating.ts';
import type { Row } from './row.ts';

const ROUND_MS = 4_000;
const SAMPLED = 100;

export const create: Row = async (context) => {
  const creating = await startCreating('create', context);
  try {
    await creating.warm();
    await allInTemporal(creating.almanac);
    const readings = await alternate(
      context.rounds,
      {
        ours: async () => {
          const { jobs, seconds, latenciesMs } = await creating.ours(ROUND_MS);
          await allInTemporal(creating.almanac);
          return { count: jobs.filter(({ sync }) => sync === 'synced').length, replies: jobs.length, jobs, seconds, latenciesMs };
        },
        raw: async () => {
          const { count, seconds, latenciesMs } = await creating.raw(ROUND_MS);
          return { count, replies: count, jobs: [], seconds, latenciesMs };
        },
      },
      REST_MS,
    );
    const rates = (side: 'ours' | 'raw') => readings[side].map(({ count, seconds }) => count / seconds);
    const latency = (side: 'ours' | 'raw', share: number) =>
      readingsOf(readings[side].map(({ latenciesMs }) => percentile(latenciesMs, share)));
    const replies = readings.ours.reduce((sum, round) => sum + round.replies, 0);
    const synced = readings.ours.reduce((sum, round) => sum + round.count, 0);
    const sampled = sampleOf(
      readings.ours.flatMap(({ jobs }) => jobs),
      SAMPLED,
    );
    const seen = await seenInTemporal(creating.almanac, sampled);
    const name = 'raw schedule.create';
    return {
      lines: [
        {
          what: 'jobs with a cron',
          unit: 'synced/s',
          ours: readingsOf(rates('ours')),
          beside: { name, value: readingsOf(rates('raw')) },
          ratio: ratios(rates('ours'), rates('raw')),
          bound: { atLeast: 0.7 },
        },
        { what: 'p50', unit: 'ms', ours: latency('ours', 0.5), beside: { name, value: latency('raw', 0.5) } },
        { what: 'p99', unit: 'ms', ours: latency('ours', 0.99), beside: { name, value: latency('raw', 0.99) } },
        { what: 'replies that say synced', unit: '%', ours: (synced / replies) * 100, bound: { atLeast: 99 } },
        { what: 'sampled schedules seen in Temporal', unit: '', ours: seen, bound: { atLeast: sampled.length } },
      ],
      facts: { concurrency: CONCURRENCY, 'round s': ROUND_MS / 1_000, replies, sampled: sampled.length, ...creating.cpu() },
    };
  } finally {
    await creating.close();
  }
};
