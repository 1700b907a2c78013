/**
 * Loop: rows that may run and that nobody has started: the process that admitted them died, Temporal was away, or their start was lost. Also waiting rows that wait
 * for nothing any more (semantics.md 14, 16, 17). One-offs are started as soon as they are seen, however far ahead: Temporal keeps the time.
 */
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { Starter } from '../jobs/execution-starts.ts';
import { type ExecutionStart, noteStarted } from '../jobs/execution-store.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { executionsUnstarted, jobsWaitingForNothing, releaseNext } from './execution-watch-store.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import { together } from './together.ts';

/** A row's own process has this long to start it, milliseconds (semantics.md 16). */
const OWN_START_MS = 2_000;
const BATCH = 200;
const WIDTH = 8;

export function createStarts(deps: { pool: Pool; temporal: Client; starter: Starter; servers: Servers; log: Log }): Loop {
  const { pool, temporal, starter, servers, log } = deps;
  const goOn = () => !servers.temporal.isAway();

  /** A start that is refused because a run is open already means: that run is the one; it may wait for a worker, or for Postgres. */
  async function noteOpenRun(row: ExecutionStart): Promise<void> {
    try {
      const run = await temporal.workflow.getHandle(row.workflowId).describe();
      if (run.status.name === 'RUNNING') {
        await noteStarted(pool, [{ partitionAt: row.partitionAt, id: row.id, workflowId: row.workflowId, runId: run.runId }]);
      }
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  }

  async function startOne(row: ExecutionStart): Promise<void> {
    if ((await starter.start(row)) === 'pending') await noteOpenRun(row);
  }

  return createLoop({
    name: 'starts',
    intervalMs: 1_000,
    needs: ['Postgres', 'Temporal'],
    servers,
    log,
    pass: async (signal) => {
      const result = await alone(pool, 'starts', async () => {
        for (const job of await jobsWaitingForNothing(pool, BATCH)) {
          const released = await releaseNext(pool, job);
          if (released) log.info({ execution: released.id }, 'a waiting execution had nothing to wait for; it starts now');
        }
        const rows = await executionsUnstarted(pool, OWN_START_MS, BATCH);
        await together(rows, WIDTH, startOne, { signal, goOn });
        return rows.length === BATCH && goOn() ? ('again' as const) : undefined;
      });
      return result;
    },
  });
}
