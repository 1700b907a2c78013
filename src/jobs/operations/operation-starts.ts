/** Starts the workflow that sees an operation through. Made twice it is none too many: the id is the operation's, and its rows say what is left. */
import type { Client } from '@temporalio/client';
import type { Log } from '../../log.ts';
import { isTemporalAway } from '../../temporal.ts';
import { taskQueueFor } from '../ids.ts';

/** Every installation has workers of this queue. */
const QUEUE = 'default';
/** Ahead of executions: an operation is what people wait for, and takes little. */
const PRIORITY = 1;

export type OperationStarts = ReturnType<typeof createOperationStarts>;

export function createOperationStarts({ temporal, log }: { temporal: Client; log: Log }) {
  /** True when its workflow runs now. */
  async function start(team: string, id: string): Promise<boolean> {
    try {
      await temporal.workflow.start('runOperation', {
        workflowId: id,
        taskQueue: taskQueueFor(QUEUE),
        args: [{ team, operation: id }],
        workflowIdReusePolicy: 'ALLOW_DUPLICATE',
        workflowIdConflictPolicy: 'USE_EXISTING',
        staticSummary: 'an operation on many things',
        priority: { priorityKey: PRIORITY },
      });
      return true;
    } catch (error) {
      log[isTemporalAway(error) ? 'info' : 'warn'](
        { operation: id, error: String(error) },
        'an operation could not be started yet; the controller will',
      );
      return false;
    }
  }

  return { start };
}
