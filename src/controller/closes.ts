/**
 * Loop: rows whose workflow has ended without a record: terminated or timed out in Temporal, failed outside an attempt, or lost (semantics.md 14, 15, 19). Temporal's own
 * status decides, asked by describe; the list (visibility) lags. The latest run of the workflow id is asked, since a reset or a later start makes another run.
 *
 * What an ended workflow means for its unfinished row:
 *   terminated, timed out, cancelled, failed → the row ends the same way.
 *   completed, or not there at all → nobody has said what came of the execution, so it is started again under the same id: the target may be called twice, but
 *   it is never not called (semantics.md: at least once). After MOST_RESTARTS of these the row ends as failed, reason `lost`.
 */
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { Starter } from '../jobs/execution-starts.ts';
import { closeExecution } from '../jobs/execution-store.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import {
  executionForgetRun,
  executionIsOfRun,
  executionsLeft,
  executionsOfPoolRun,
  executionsOutstaying,
  executionsTerminated,
  executionsUnfinished,
  type WatchedExecution,
} from './execution-watch-store.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import { together } from './together.ts';
import { createWatchList } from './watch-list.ts';

/** Younger rows are not asked about: most have ended by then. */
const OLDER_THAN_MS = 3_000;
/** Rows read per pass; far more than are asked about. */
const ROWS = 5_000;
const WIDTH = 4;
/** How long `cancel_other` waits before the old execution is terminated, milliseconds (semantics.md 15). */
const CANCEL_GRACE_MS = 30_000;
const MOST_RESTARTS = 5;

/** How a row ends when its workflow ended so. */
const ENDS: Record<string, { status: string; message: string }> = {
  TERMINATED: { status: 'terminated', message: 'the workflow was terminated in Temporal' },
  TIMED_OUT: { status: 'timed_out', message: 'the workflow timed out in Temporal' },
  CANCELLED: { status: 'cancelled', message: 'the workflow was cancelled in Temporal' },
  FAILED: { status: 'failed', message: 'the workflow failed in Temporal before an outcome was recorded' },
};

/** A row by itself, or the pool it belongs to. */
const nameOf = (row: WatchedExecution): string => (row.dispatch === 'pooled' ? row.workflow_id : row.id);

export function createCloses(deps: { pool: Pool; temporal: Client; starter: Starter; servers: Servers; log: Log }): Loop {
  const { pool, temporal, starter, servers, log } = deps;
  const watchList = createWatchList<WatchedExecution>({ idOf: (row) => `${nameOf(row)} ${row.run_id}` });
  /** Those that were started again and have not ended since. */
  const restarts = new Map<string, { times: number; row: WatchedExecution }>();

  async function close(row: WatchedExecution, status: string, reason: string, message: string): Promise<void> {
    const closed = await closeExecution(pool, {
      team: row.team,
      id: row.id,
      partitionAt: row.partition_at,
      status,
      reason,
      error: { type: reason, message },
      by: 'almanac',
    });
    restarts.delete(nameOf(row));
    if (closed?.applied) log.info({ execution: row.id, status, reason }, message);
    if (closed?.released) await starter.start(closed.released);
  }

  /** A pool's workflow is that of all its rows. */
  async function closeAll(row: WatchedExecution, status: string, reason: string, message: string): Promise<void> {
    const rows = row.dispatch === 'pooled' ? await executionsOfPoolRun(pool, row) : [row];
    for (const each of rows) await close(each, status, reason, message);
  }

  /** Status of the latest run of the row's workflow; null when Temporal knows none. */
  async function latestRun(row: WatchedExecution): Promise<{ status: string; runId: string } | null> {
    try {
      const described = await temporal.workflow.getHandle(row.workflow_id).describe();
      return { status: described.status.name, runId: described.runId };
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return null;
      throw error;
    }
  }

  async function startAgain(row: WatchedExecution): Promise<void> {
    const times = (restarts.get(nameOf(row))?.times ?? 0) + 1;
    if (times > MOST_RESTARTS) return closeAll(row, 'failed', 'lost', `its workflow ended ${times} times without an outcome`);
    if (!(await executionForgetRun(pool, row))) return;
    restarts.set(nameOf(row), { times, row });
    log.warn({ execution: nameOf(row), times }, 'the workflow of an execution ended without an outcome; it is started again');
  }

  /** Forgets restarts of what has ended. What is watched has not; nor has what is about to be started again, which is watched under its next run. */
  async function forgetRestarts(watched: readonly WatchedExecution[]): Promise<void> {
    const names = new Set(restarts.size > 0 ? watched.map(nameOf) : []);
    const unseen = [...restarts].filter(([name]) => !names.has(name)).map(([name, { row }]) => ({ name, row }));
    if (unseen.length === 0) return;
    const left = await executionsLeft(pool, unseen);
    for (const { name } of unseen) if (!left.has(name)) restarts.delete(name);
  }

  async function look(row: WatchedExecution): Promise<void> {
    const run = await latestRun(row);
    if (run && (run.status === 'RUNNING' || run.status === 'PAUSED' || run.status === 'CONTINUED_AS_NEW')) return;
    // a record is always committed before its workflow ends, so that a row which is unfinished now was left so
    if (!(await executionIsOfRun(pool, row))) return;
    const end = run && ENDS[run.status];
    if (end) return closeAll(row, end.status, `workflow_${end.status}`, end.message);
    return startAgain(row);
  }

  /** A workflow whose row has been terminated must not go on; it would end by itself at its next claim. A pool has other rows: its worker aborts the one call. */
  async function terminate(row: WatchedExecution, reason: string): Promise<void> {
    if (row.dispatch === 'pooled') return;
    try {
      await temporal.workflow.getHandle(row.workflow_id, row.run_id).terminate(reason);
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  }

  async function endOutstaying(): Promise<void> {
    for (const row of await executionsOutstaying(pool, CANCEL_GRACE_MS, 50)) {
      await close(row, 'terminated', 'cancel_other', 'it had not ended 30 s after it was asked to make room for a newer execution');
      if (row.run_id) await terminate(row, 'cancel_other: no end within 30 s');
    }
  }

  return createLoop({
    name: 'closes',
    intervalMs: 1_000,
    needs: ['Postgres', 'Temporal'],
    servers,
    log,
    pass: async (signal) => {
      await alone(pool, 'closes', async () => {
        await endOutstaying();
        const unfinished = await executionsUnfinished(pool, OLDER_THAN_MS, ROWS);
        const gone = watchList.see(unfinished, { whole: unfinished.length < ROWS });
        if (gone.length > 0) {
          const terminated = await executionsTerminated(pool, gone);
          for (const row of gone) if (terminated.has(row.id)) await terminate(row, 'the execution was terminated');
        }
        await forgetRestarts(unfinished);
        await together(watchList.due(), WIDTH, look, { signal, goOn: () => !servers.temporal.isAway() });
      });
      return undefined;
    },
  });
}
