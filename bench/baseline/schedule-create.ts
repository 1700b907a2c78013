/**
 * Baseline of `create`: nothing but `client.schedule.create` in a closed loop, the same kind of schedule as Almanac's (one calendar, the same policies,
 * ids as arguments), from a process of its own over one connection.
 */
import { Client, Connection } from '@temporalio/client';

export type RawCreates = { prefix: string; crons: string[]; concurrency: number; durationMs: number };
export type RawCreated = { count: number; seconds: number; latenciesMs: number[] };

const connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS! });
const client = new Client({ connection, namespace: process.env.TEMPORAL_NAMESPACE! });

async function run({ prefix, crons, concurrency, durationMs }: RawCreates): Promise<RawCreated> {
  const latenciesMs: number[] = [];
  let next = 0;
  const startedAt = performance.now();
  const loop = async () => {
    while (performance.now() - startedAt < durationMs && next < crons.length) {
      const scheduleId = `${prefix}-${next}`;
      const cron = crons[next++]!;
      const at = performance.now();
      await client.schedule.create({
        scheduleId,
        spec: { cronExpressions: [cron], timezone: 'Europe/Berlin' },
        action: {
          type: 'startWorkflow',
          workflowType: 'executeJob',
          workflowId: scheduleId,
          taskQueue: 'nobody',
          args: [{ team: 'default', clock: scheduleId }],
        },
        policies: { overlap: 'ALLOW_ALL', catchupWindow: 60_000 },
        state: { note: scheduleId },
      });
      latenciesMs.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, loop));
  return { count: latenciesMs.length, seconds: (performance.now() - startedAt) / 1_000, latenciesMs };
}

process.on('message', (question: RawCreates) => {
  run(question).then(
    (result) => process.send?.({ result }),
    (error: Error) => process.send?.({ error: error.stack ?? String(error) }),
  );
});
process.once('disconnect', () => process.exit());
