/** How a range of a pool is begun: members of a slot are admitted and claimed, rows that are there are claimed. */
import { activityInfo } from '@temporalio/activity';
import pLimit from 'p-limit';
import type { Config } from '../../config.ts';
import { timingsByHash } from '../../jobs/clocks/late-slot-store.ts';
import { type BegunCall, beginPool, beginPoolSlot } from '../../jobs/pools/pool-store.ts';
import { nextSlot } from '../../jobs/time/oracle.ts';
import type { Timing } from '../../jobs/time/timing.ts';
import type { Pool } from '../../postgres.ts';
import type { PoolRange, ServeInput } from '../../workflows/pool-activities.ts';
import { withPartition } from '../partitions.ts';
import { withPatience } from '../patience.ts';

/** Statements under way at once: more would only make the first rows wait for the last. */
const AT_ONCE = 2;
/** Slots of which the successor is remembered: all ranges of one ask for it. */
const REMEMBERED = 1_000;

export type RangeReader = ReturnType<typeof createRangeReader>;

export function createRangeReader({ pool, config }: { pool: Pool; config: Pick<Config, 'BUFFER_LIMIT_SLOTS' | 'BUFFER_LIMIT_TRIGGERS'> }) {
  const inTurn = pLimit(AT_ONCE);
  const timings = new Map<string, Timing>();
  const successors = new Map<string, Date | null>();

  /** A pooled clock's id names its timing, which never changes. */
  async function successorOf(clock: string, nominal: Date): Promise<Date | null> {
    const key = `${clock} ${nominal.getTime()}`;
    const known = successors.get(key);
    if (known !== undefined) return known;
    const hash = clock.slice('clock_'.length);
    const timing = timings.get(hash) ?? (await withPatience(() => timingsByHash(pool, [hash]))).get(hash);
    if (!timing) return null;
    timings.set(hash, timing);
    const successor = nextSlot(timing, nominal);
    if (successors.size >= REMEMBERED) successors.clear();
    successors.set(key, successor);
    return successor;
  }

  return {
    /** Begins a range. `ids`: only these, which were put back. */
    begin(input: ServeInput, range: PoolRange, ids?: readonly string[]): Promise<BegunCall[]> {
      const { workflowId, runId } = activityInfo().workflowExecution!;
      const where = { team: input.team, pool: workflowId, runId, priority: range.priority };
      return inTurn(async () => {
        if (ids) {
          const sorted = ids.toSorted();
          const bufferLimit = config.BUFFER_LIMIT_TRIGGERS;
          return await withPatience(() => beginPool(pool, { ...where, from: sorted[0]!, to: sorted.at(-1)!, ids, bufferLimit }));
        }
        const { from, to } = range;
        if (!input.slot)
          return await withPatience(() => beginPool(pool, { ...where, from, to, bufferLimit: config.BUFFER_LIMIT_TRIGGERS }));
        const { clock, at } = input.slot;
        const nominal = new Date(at);
        const successor = await successorOf(clock, nominal);
        const question = { ...where, from, to, clock, nominal, successor, bufferLimit: config.BUFFER_LIMIT_SLOTS };
        return await withPatience(() => withPartition(pool, nominal, () => beginPoolSlot(pool, question)));
      });
    },
  };
}
