/**
 * Starts the workflows of pools: one start per pool, however many rows ask for it. A pool that is open already takes who comes later (USE_EXISTING), so that a
 * start made twice is none too many; what is remembered here only spares Temporal the question.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { LimitFunction } from 'p-limit';
import type { Log } from '../log.ts';
import { isPostgresAway, type Pool } from '../postgres.ts';
import { isTemporalAway } from '../temporal.ts';
import type { ExecutionStart } from './execution-store.ts';
import { poolTaskQueueFor } from './ids.ts';
import { notePoolsStarted } from './pool-start-store.ts';

/** A pool's workflow begins this long before its rows are due, and waits for the exact time by itself. */
const LEAD_MS = 1_000;
/** Rows that their workflow has not claimed after this time are told its run: the controller looks for those that have none a second later. */
const NOTE_AFTER_MS = 1_000;
/** Whoever asks again for a pool within this time of its start is answered from memory; later ones ask Temporal, because an operator may have ended it (semantics.md 17). */
const REMEMBERED_MS = 2_000;
const MOST_REMEMBERED = 10_000;

export type PoolStarts = ReturnType<typeof createPoolStarts>;

export function createPoolStarts({ pool, temporal, log, inLine }: { pool: Pool; temporal: Client; log: Log; inLine: LimitFunction }) {
  const underway = new Map<string, Promise<'started' | 'pending'>>();
  const known = new Map<string, { runId: string; until: number }>();
  let unnoted = new Map<string, string>();
  let noting: Promise<void> | null = null;
  let hurry = new AbortController();

  /** Losing this costs the controller a look, nothing more. */
  function note(poolId: string, runId: string): void {
    unnoted.set(poolId, runId);
    noting ??= sleep(NOTE_AFTER_MS, undefined, { signal: hurry.signal })
      .catch(() => {})
      .then(() => {
        const pools = unnoted;
        unnoted = new Map();
        noting = null;
        return notePoolsStarted(pool, pools);
      })
      .catch((error: unknown) => log.debug({ error: String(error) }, 'starts of pools could not be noted'));
  }

  function remember(poolId: string, runId: string): void {
    known.delete(poolId);
    known.set(poolId, { runId, until: Date.now() + REMEMBERED_MS });
    if (known.size > MOST_REMEMBERED) known.delete(known.keys().next().value as string);
    note(poolId, runId);
  }

  async function begin(row: ExecutionStart): Promise<'started' | 'pending'> {
    try {
      await inLine(async () => {
        const delayMs = Date.parse(row.dueAt) - LEAD_MS - Date.now();
        const handle = await temporal.workflow.start('servePool', {
          workflowId: row.workflowId,
          taskQueue: poolTaskQueueFor(row.queue),
          args: [{ team: row.team }],
          workflowIdReusePolicy: 'ALLOW_DUPLICATE',
          workflowIdConflictPolicy: 'USE_EXISTING',
          staticSummary: 'a pool of executions',
          priority: { priorityKey: row.priority },
          ...(delayMs > 0 ? { startDelay: delayMs } : {}),
        });
        remember(row.workflowId, handle.firstExecutionRunId);
      });
      return 'started';
    } catch (error) {
      const away = isTemporalAway(error) || isPostgresAway(error);
      log[away ? 'info' : 'warn']({ pool: row.workflowId, error: String(error) }, 'a pool could not be started yet; the controller will');
      return 'pending';
    }
  }

  /**
   * Starts the pool of a row, unless that is under way or known to be done. With `again` it is started whatever is known: rows were written after its start went out.
   * `pending`: Temporal is away; the controller looks again.
   */
  function start(row: ExecutionStart, again = false): Promise<'started' | 'pending'> {
    const { workflowId } = row;
    const before = underway.get(workflowId);
    if (before && !again) return before;
    const past = known.get(workflowId);
    if (past && !again && Date.now() < past.until) {
      note(workflowId, past.runId);
      return Promise.resolve('started');
    }
    const starting = (before ? before.then(() => begin(row)) : begin(row)).finally(() => {
      if (underway.get(workflowId) === starting) underway.delete(workflowId);
    });
    underway.set(workflowId, starting);
    return starting;
  }

  /** Notes at once what is still to be noted. */
  async function drain(): Promise<void> {
    hurry.abort();
    await noting;
    hurry = new AbortController();
  }

  return { start, drain };
}
