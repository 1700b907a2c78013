/**
 * Working an operation off, batch by batch. A batch is one transaction: what is done to its items, and that it is done, are committed together, so that whoever repeats it after a
 * death finds only what is left. Any process may make a pass; the lock of the operation's row lets one at a time. Temporal has nothing to do with it but to see that somebody does.
 */
import type { Log } from '../../log.ts';
import { inTransaction, isPostgresAway, type Pool, type Transaction } from '../../postgres.ts';
import { auditInsert } from '../audit.ts';
import { asJobError } from '../errors.ts';
import {
  type ItemOutcome,
  itemsDone,
  itemsPending,
  type OperationItem,
  type OperationKind,
  type OperationRow,
  operationComplete,
  operationTake,
  operationWaits,
} from './operation-store.ts';

/** What became of a batch. Items without an outcome stay for later. */
export type Applied = {
  outcomes: ItemOutcome[];
  /** Why nothing of it could be done just now. */
  waitingFor?: 'overlap' | 'paused' | 'frozen' | undefined;
  /** What follows the commit: starts and hints. Losing it costs a look of the controller, nothing more. */
  after?: () => void;
};
export type Apply = (tx: Transaction, operation: OperationRow, items: OperationItem[]) => Promise<Applied>;
/** Which items can go on now; when there is none, why not. */
export type Choice = { items: OperationItem[]; waitingFor?: Applied['waitingFor'] };
/** How a kind of operation treats its items, and how many at once. Without `choose` the next ones are taken. */
export type Applier = {
  batch: number;
  apply: Apply;
  choose?: (tx: Transaction, operation: OperationRow, next: OperationItem[]) => Promise<Choice>;
};
export type Appliers = Record<OperationKind, Applier>;

/** What a pass has found: nothing is left, or there is more after so many milliseconds. `idle`: nothing could be done, and nobody knows when something can. */
export type Pass = { done: boolean; waitMs: number; idle: boolean };

/** Whoever makes passes is taken for alive so long after each; a controller starts the workflow again after that. Milliseconds. */
const LEASE_MS = 60_000;
/** Under a rate, so much of it is done at once. */
const RATE_STRETCH_S = 1;
/** Between two looks at jobs that are busy, and at what people hold back. */
const BUSY_MS = 250;
const HELD_MS = 2_000;
/** A batch that meets locks of others for longer than this is tried again. */
const LOCK_MS = 5_000;

const DONE: Pass = { done: true, waitMs: 0, idle: false };
const MORE: Pass = { done: false, waitMs: 0, idle: false };

export type OperationRunner = ReturnType<typeof createOperationRunner>;

export function createOperationRunner({ pool, log, appliers }: { pool: Pool; log: Log; appliers: Appliers }) {
  /** Operations of which a batch has failed: so many of their items are tried one by one, to find those to blame. */
  const oneByOne = new Map<string, number>();

  /** Makes the next batch. @throws what says that Postgres is away, or busy. */
  async function pass(team: string, id: string): Promise<Pass> {
    let taken: OperationItem[] = [];
    try {
      const { applied, ...result } = await inTransaction(pool, async (tx) => {
        // a batch is looked up by keys; a planner that takes a table for tiny would walk through it once per item
        await tx.query(`SET LOCAL lock_timeout = ${LOCK_MS}; SET LOCAL enable_seqscan = off`);
        const operation = await operationTake(tx, team, id, LEASE_MS);
        if (operation?.state !== 'running') return { ...DONE, applied: null };
        if (operation.wait_ms > 0) return { done: false, waitMs: operation.wait_ms, idle: false, applied: null };
        const next = await itemsPending(tx, team, id, sizeOf(operation));
        if (next.length === 0) {
          await complete(tx, operation);
          return { ...DONE, applied: null };
        }
        const { choose, apply } = appliers[operation.kind];
        const chosen: Choice = choose ? await choose(tx, operation, next) : { items: next };
        taken = chosen.items;
        const applied = taken.length > 0 ? await apply(tx, operation, taken) : { outcomes: [], waitingFor: chosen.waitingFor };
        await itemsDone(tx, operation, applied.outcomes);
        if (applied.outcomes.length > 0) return { ...MORE, applied };
        await operationWaits(tx, operation, applied.waitingFor ?? 'overlap');
        return { done: false, waitMs: (applied.waitingFor ?? 'overlap') === 'overlap' ? BUSY_MS : HELD_MS, idle: true, applied };
      });
      applied?.after?.();
      countDown(id, result.done, taken.length);
      return result;
    } catch (error) {
      if (isPostgresAway(error) || asJobError(error)?.kind === 'unavailable' || taken.length === 0) throw error;
      if (taken.length > 1) oneByOne.set(id, taken.length);
      else await blame(team, id, taken[0]!, error);
      return MORE;
    }
  }

  function sizeOf({ id, kind, rate_per_minute: rate }: OperationRow): number {
    if (oneByOne.has(id)) return 1;
    const { batch } = appliers[kind];
    return rate === null ? batch : Math.max(1, Math.min(batch, Math.floor((rate * RATE_STRETCH_S) / 60)));
  }

  function countDown(id: string, done: boolean, made: number): void {
    const left = (oneByOne.get(id) ?? 0) - made;
    if (done || left <= 0) oneByOne.delete(id);
    else oneByOne.set(id, left);
  }

  /** An item by itself went wrong: that is its result. */
  async function blame(team: string, id: string, item: OperationItem, error: unknown): Promise<void> {
    const known = asJobError(error);
    if (!known) log.warn({ operation: id, item: item.position, error: String(error) }, 'an item of an operation failed');
    await inTransaction(pool, async (tx) => {
      const operation = await operationTake(tx, team, id, LEASE_MS);
      if (operation?.state !== 'running') return;
      const { code, message } = known ?? { code: 'failed', message: error instanceof Error ? error.message : String(error) };
      await itemsDone(tx, operation, [{ position: item.position, result: known ? 'refused' : 'failed', code, message }]);
    });
    countDown(id, false, 1);
  }

  async function complete(tx: Transaction, operation: OperationRow): Promise<void> {
    const { total, outcomes } = await operationComplete(tx, operation);
    await auditInsert(
      tx,
      { team: operation.team, name: operation.requested_by, requestId: operation.request_id ?? operation.id },
      {
        action: 'operation.completed',
        subjectKind: 'operation',
        subjectId: operation.id,
        after: { kind: operation.kind, total, outcomes },
      },
    );
  }

  return { pass };
}
