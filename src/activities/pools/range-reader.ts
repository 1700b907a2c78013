/** How a range of a pool is begun: members of a slot are admitted and claimed, rows that are there are claimed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { activityInfo } from '@temporalio/activity';
import type { Config } from '../../config.ts';
import { timingsByHash } from '../../jobs/clocks/late-slot-store.ts';
import { partitionAtOf } from '../../jobs/ids.ts';
import { laterSlots } from '../../jobs/later-slots.ts';
import { type BegunCall, beginPool, beginPoolSlot, nextDueOfPool, refusePool } from '../../jobs/pools/pool-store.ts';
import { isSlot, nextSlot } from '../../jobs/time/oracle.ts';
import type { Timing } from '../../jobs/time/timing.ts';
import type { Pool } from '../../postgres.ts';
import type { PoolRange, ServeInput } from '../../workflows/pool-activities.ts';
import { withPartition } from '../partitions.ts';
import { withPatience } from '../patience.ts';
import { chunkOf } from './chunk.ts';
import { createTurns } from './turns.ts';

/** Statements under way at once: more would only make the first rows wait for the last. */
const AT_ONCE = 2;
/** A statement that lasts longer waits for the lock of a job, and keeps nobody else from beginning. */
const SLOW_MS = 250;
/** Slots of which the successor is remembered: all ranges of one ask for it. */
const REMEMBERED = 1_000;

/** The slot after one, and the timing of both; null: nobody knows it any more. */
type Successor = { successor: Date | null; timing: Timing | null };

export type RangeReader = ReturnType<typeof createRangeReader>;

export function createRangeReader({ pool, config }: { pool: Pool; config: Pick<Config, 'BUFFER_LIMIT_SLOTS' | 'BUFFER_LIMIT_TRIGGERS'> }) {
  const inTurn = createTurns({ atOnce: AT_ONCE, most: Math.floor(pool.options.max / 2), slowAfterMs: SLOW_MS });
  const timings = new Map<string, Timing>();
  const successors = new Map<string, Successor | 'no slot'>();
  /** When the row that comes due next may be begun, by this process' steady clock: timers fire a moment early. */
  const begunFrom = new WeakMap<PoolRange, number>();

  /** A pooled clock's id names its timing, which never changes. `no slot`: the clock was fired by hand, or by a server with other time zones. */
  async function successorOf(clock: string, nominal: Date): Promise<Successor | 'no slot'> {
    const key = `${clock} ${nominal.getTime()}`;
    const known = successors.get(key);
    if (known !== undefined) return known;
    const hash = clock.slice('clock_'.length);
    const timing = timings.get(hash) ?? (await withPatience(() => timingsByHash(pool, [hash]))).get(hash);
    if (!timing) return { successor: null, timing: null };
    timings.set(hash, timing);
    const successor = isSlot(timing, nominal) ? { successor: nextSlot(timing, nominal), timing } : 'no slot';
    if (successors.size >= REMEMBERED) successors.clear();
    successors.set(key, successor);
    return successor;
  }

  /** The rows of a range: those of a slot's members are named for the slot. */
  const rowsOf = (input: ServeInput, { from, to, priority }: PoolRange) => {
    const { activityId, workflowExecution } = activityInfo();
    const { workflowId, runId } = workflowExecution!;
    const named = (id: string) => (input.slot ? `${id}-${input.slot.at}` : id);
    return { team: input.team, pool: workflowId, runId, chunk: chunkOf(activityId), priority, from: named(from), to: named(to) };
  };

  return {
    /** Begins a range, whatever became of it before. */
    begin(input: ServeInput, range: PoolRange): Promise<BegunCall[]> {
      const { slot } = input;
      const rows = rowsOf(input, range);
      if (!slot) return inTurn(() => withPatience(() => beginPool(pool, rows)));
      return inTurn(async () => {
        const nominal = new Date(slot.at);
        const found = await successorOf(slot.clock, nominal);
        if (found === 'no slot') return [];
        const { successor, timing } = found;
        const later = timing ? laterSlots(timing, nominal, successor) : [];
        const members = {
          ...rows,
          from: range.from,
          to: range.to,
          clock: slot.clock,
          nominal,
          successor,
          later,
          plannedAt: range.plannedAt,
        };
        return await withPatience(() =>
          withPartition(pool, nominal, () => beginPoolSlot(pool, { ...members, bufferLimit: config.BUFFER_LIMIT_SLOTS })),
        );
      });
    },

    /** Begins rows again that were put back. */
    beginAgain(input: ServeInput, range: PoolRange, ids: readonly string[]): Promise<BegunCall[]> {
      const sorted = ids.toSorted();
      const rows = { ...rowsOf(input, range), from: sorted[0]!, to: sorted.at(-1)!, ids };
      return inTurn(() => withPatience(() => beginPool(pool, rows)));
    },

    /** Begins what has come due after `after`, once that is so by Postgres' clock. */
    async beginLater(input: ServeInput, range: PoolRange, after: string): Promise<BegunCall[]> {
      const from = begunFrom.get(range) ?? 0;
      for (let early = from - performance.now(); early > 0; early = from - performance.now()) await sleep(Math.ceil(early));
      const rows = { ...rowsOf(input, range), after };
      return inTurn(() => withPatience(() => beginPool(pool, rows)));
    },

    /** What becomes of rows that were refused when their range was begun. */
    refuse(input: ServeInput, range: PoolRange, refused: readonly BegunCall[]): Promise<BegunCall[]> {
      const rows = refused.map(({ id }) => ({ partitionAt: partitionAtOf(id)!, id }));
      const bufferLimit = config.BUFFER_LIMIT_TRIGGERS;
      return inTurn(() => withPatience(() => refusePool(pool, { ...rowsOf(input, range), rows, bufferLimit })));
    },

    /** When the next row comes due; null: none does. */
    nextDue(input: ServeInput, range: PoolRange, after: string): Promise<{ dueAt: string; inMs: number } | null> {
      return inTurn(async () => {
        const next = await withPatience(() => nextDueOfPool(pool, { ...rowsOf(input, range), after }));
        if (next) begunFrom.set(range, performance.now() + next.inMs);
        return next;
      });
    },
  };
}
