/**
 * Sees an operation through: a backfill, or one thing done to many jobs or executions. The items and what became of them are rows; this workflow only has somebody work on them
 * until none is left, whoever dies meanwhile. It waits where the operation's rate, a busy job or a freeze says so.
 */
import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  isCancellation,
  makeContinueAsNewFunc,
  proxyActivities,
  sleep,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { OperationActivities, OperationInput, WorkedOff } from './operation-activities.ts';
import { FIRST_PAUSE_MS, jittered, longer, patiently } from './patience.ts';

/** A worker reports every second; silence for this long means that it died. */
const HEARTBEAT_MS = 5_000;
/** An activity works for half a minute at most; one batch may wait for locks. */
const WORK_MS = 300_000;

const { workOffOperation, abortOperation } = proxyActivities<OperationActivities>({
  retry: { maximumAttempts: 1 },
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  startToCloseTimeout: WORK_MS,
  heartbeatTimeout: HEARTBEAT_MS,
});
const continueAsRunOperation = makeContinueAsNewFunc<typeof runOperation>({ workflowType: 'runOperation' });

export async function runOperation({ team, operation }: OperationInput): Promise<void> {
  try {
    for (
      let worked = await work({ team, operation, idleMs: 0 });
      !worked.done;
      worked = await work({ team, operation, idleMs: worked.idleMs })
    ) {
      if (worked.waitMs > 0) await sleep(worked.waitMs);
      if (workflowInfo().continueAsNewSuggested) await continueAsRunOperation({ team, operation });
    }
  } catch (error) {
    if (!isCancellation(error)) throw error;
    // whoever cancels it in Temporal means the operation
    await CancellationScope.nonCancellable(() => patiently(() => abortOperation({ team, operation })));
    throw error;
  }
}

/** Repeats until a worker has got through: one that died or was told to stop is replaced at once, a Postgres that is away is waited for. */
async function work(input: OperationInput & { idleMs: number }): Promise<WorkedOff> {
  for (let pauseMs = FIRST_PAUSE_MS; ; ) {
    try {
      return await workOffOperation(input);
    } catch (error) {
      if (isCancellation(error)) throw error;
      if (error instanceof ActivityFailure && error.cause instanceof TimeoutFailure) continue;
      if (error instanceof ActivityFailure && error.cause instanceof ApplicationFailure && error.cause.type === 'WorkerStopping') continue;
      await sleep(jittered(pauseMs));
      pauseMs = longer(pauseMs);
    }
  }
}
