/** Works off an operation for a while: batch after batch, with a heartbeat, until it has to wait, is done, or others should have their turn. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { OperationRunner } from '../../jobs/operations/operation-runner.ts';
import { operationAbort } from '../../jobs/operations/operation-store.ts';
import { inTransaction, type Pool } from '../../postgres.ts';
import type { OperationActivities, WorkedOff } from '../../workflows/operation-activities.ts';
import { withPatience } from '../patience.ts';

const HEARTBEAT_MS = 1_000;
/** So long at a stretch: a worker that is told to stop need not wait for more than a batch, and the history says now and then that it goes on. */
const STRETCH_MS = 30_000;
/** Shorter waits are made here, longer ones by the workflow. */
const SHORT_MS = 1_000;
/** While nothing can be done it is looked at less and less often, at least once in this time. */
const LONGEST_IDLE_MS = 10_000;

export function createWorkOff({
  pool,
  runner,
  stopping,
}: {
  pool: Pool;
  runner: OperationRunner;
  stopping: AbortSignal;
}): OperationActivities {
  return {
    async workOffOperation({ team, operation, idleMs: idledMs }): Promise<WorkedOff> {
      const context = Context.current();
      const beat = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
      const until = Date.now() + STRETCH_MS;
      try {
        for (let idleMs = idledMs; ; ) {
          context.cancellationSignal.throwIfAborted();
          if (stopping.aborted) throw ApplicationFailure.retryable('the worker is told to stop', 'WorkerStopping');
          const pass = await withPatience(() => runner.pass(team, operation));
          if (pass.done) return { done: true, waitMs: 0, idleMs: 0 };
          idleMs = pass.idle ? Math.min(Math.max(pass.waitMs, Math.ceil(idleMs * 1.5)), LONGEST_IDLE_MS) : 0;
          const waitMs = pass.idle ? idleMs : pass.waitMs;
          if (waitMs > SHORT_MS || Date.now() >= until) return { done: false, waitMs, idleMs };
          if (waitMs > 0)
            await sleep(waitMs, undefined, { signal: AbortSignal.any([context.cancellationSignal, stopping]) }).catch(() => {});
        }
      } finally {
        clearInterval(beat);
      }
    },

    async abortOperation({ team, operation }): Promise<void> {
      await withPatience(() => inTransaction(pool, (tx) => operationAbort(tx, team, operation, 'somebody in Temporal')));
    },
  };
}
