/** The hand-written side of `execute`: its worker and its starter, each a process of its own, on the same servers. */
import { once } from 'node:events';
import type { HandwrittenStarted, HandwrittenStarts } from '../baseline/handwritten-start.ts';
import { forkHelper } from '../load/helper-process.ts';
import type { Almanac } from '../stack/almanac.ts';
import { until } from '../stack/processes.ts';
import { CONCURRENCY } from './execute.ts';

/** Milliseconds since 1970. */
export type Ended = { sentAt: number; endedAt: number };
/** As many as Almanac's worker has by default (WORKER_SLOTS). */
const SLOTS = 100;
const END_MS = 120_000;

export async function startHandwritten({ env, pool }: Almanac) {
  const worker = forkHelper<object, Record<string, number>>('baseline/handwritten-worker.ts', { ...env, SLOTS: String(SLOTS) });
  await once(worker.child, 'message');
  const starter = forkHelper<HandwrittenStarts, HandwrittenStarted>('baseline/handwritten-start.ts', env);
  let runs = 0;

  const runner =
    (workflow: HandwrittenStarts['workflow']) =>
    async (count: number, ratePerS?: number): Promise<Ended[]> => {
      runs += 1;
      const ids = Array.from({ length: count }, (_, index) => `${workflow}-${runs}-${index}`);
      const { sentAt } = await starter.ask({ workflow, ids, concurrency: CONCURRENCY, ...(ratePerS ? { ratePerS } : {}) });
      const ends: Record<string, number> = {};
      await until('all hand-written workflows', END_MS, async () => {
        Object.assign(ends, await worker.ask({}));
        return ids.every((id) => id in ends);
      });
      return ids.map((id, index) => ({ sentAt: sentAt[index]!, endedAt: ends[id]! }));
    };

  return {
    slots: SLOTS,
    plain: runner('handwrittenPlain'),
    withRow: runner('handwrittenWithRow'),
    rows: async () => (await pool.query<{ rows: number }>('SELECT count(*)::int AS rows FROM handwritten_executions')).rows[0]!.rows,
    close: async () => {
      await starter.close();
      await worker.close();
    },
  };
}
