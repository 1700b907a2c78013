/** Starts the workflow of one row, or finds the one that is open already: it may wait for a worker, or for Postgres. */
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { Starter } from '../jobs/execution-starts.ts';
import { type ExecutionStart, noteStarted } from '../jobs/execution-store.ts';
import type { Pool } from '../postgres.ts';

/** True when its workflow is open now; false: Temporal was away, or too slow. */
export type StartOne = (row: ExecutionStart) => Promise<boolean>;

/** Slot ids end with their nominal time, all others with a uuid. */
const isSlotId = (executionId: string): boolean => executionId.endsWith('Z');

export function createStartOne({ pool, temporal, starter }: { pool: Pool; temporal: Client; starter: Starter }): StartOne {
  /** True when the row's workflow is open; the row knows its run then. */
  async function noteOpenRun(row: ExecutionStart): Promise<boolean> {
    try {
      const run = await temporal.workflow.getHandle(row.workflowId).describe();
      if (run.status.name !== 'RUNNING') return false;
      await noteStarted(pool, [{ partitionAt: row.partitionAt, id: row.id, workflowId: row.workflowId, runId: run.runId }]);
      return true;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  return async (row) => {
    // when workers are down, Temporal has the workflow of a slot open long before we look
    if (row.dispatch === 'dedicated' && isSlotId(row.id) && (await noteOpenRun(row))) return true;
    const started = await starter.start(row);
    // the start of a pool that is open answers with its run
    return started === 'started' || (row.dispatch === 'dedicated' && (await noteOpenRun(row)));
  };
}
