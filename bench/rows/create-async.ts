/** `create-async`: the same POST with `Prefer: respond-async`, against raw `schedule.create`; then the wait until Temporal has all of them. */
import { alternate, percentile, ratios, readingsOf } from '../rounds.ts';
import { allInTemporal, CONCURRENCY, type CreatedJob, REST_MS, sampleOf, seenInTemporal, startCreating } from './creating.ts';
import type { Row } from './row.ts';

const ROUND_MS = 2_000;
const SAMPLED = 100;
const TRUE_S = 60;

export const createAsync: Row = async (context) => {
  const creating = await startCreating('create-async', context);
  const jobs: CreatedJob[] = [];
  try {
    await creating.warm({ prefer: 'respond-async' });
    await allInTemporal(creating.almanac);
    const readings = await alternate(
      context.rounds,
      {
        ours: async () => {
          const result = await creating.ours(ROUND_MS, { prefer: 'respond-async' });
          jobs.push(...result.jobs);
          return {
            count: result.jobs.length,
            seconds: result.seconds,
            latenciesMs: result.latenciesMs,
            drainS: await allInTemporal(creating.almanac),
          };
        },
        raw: async () => ({ ...(await creating.raw(ROUND_MS)), drainS: 0 }),
      },
      REST_MS,
    );
    const rates = (side: 'ours' | 'raw') => readings[side].map(({ count, seconds }) => count / seconds);
    const latency = (side: 'ours' | 'raw', share: number) =>
      readingsOf(readings[side].map(({ latenciesMs }) => percentile(latenciesMs, share)));
    const sampled = sampleOf(jobs, SAMPLED);
    const seen = await seenInTemporal(creating.almanac, sampled);
    const name = 'raw schedule.create';
    return {
      lines: [
        {
          what: 'jobs with respond-async',
          unit: 'replies/s',
          ours: readingsOf(rates('ours')),
          beside: { name, value: readingsOf(rates('raw')) },
          ratio: ratios(rates('ours'), rates('raw')),
          bound: { atLeast: 5 },
        },
        { what: 'p99', unit: 'ms', ours: latency('ours', 0.99), beside: { name, value: latency('raw', 0.99) } },
        {
          what: 'all true in Temporal after',
          unit: 's',
          ours: Math.max(...readings.ours.map(({ drainS }) => drainS)),
          bound: { atMost: TRUE_S },
        },
        { what: 'sampled schedules seen in Temporal', unit: '', ours: seen, bound: { atLeast: sampled.length } },
      ],
      facts: {
        concurrency: CONCURRENCY,
        'round s': ROUND_MS / 1_000,
        jobs: jobs.length,
        ...creating.cpu(),
        'most per round': Math.max(...readings.ours.map(({ count }) => count)),
      },
    };
  } finally {
    await creating.close();
  }
};
