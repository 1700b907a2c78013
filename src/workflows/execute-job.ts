/**
 * One execution with a workflow of its own: admit -> wait until due -> attempt, with backoff -> done.
 *
 * Admit, claim and record are statements in Postgres; this workflow holds the order, the timers and the patience. A short target runs as a
 * local activity, the usual one in the same breath as admit, so that an execution is one workflow task and six history events; a long one is an
 * ordinary activity with heartbeats. While Postgres is away nothing here holds a task slot: the workflow sleeps on durable timers (semantics.md 18).
 */
import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  isCancellation,
  proxyActivities,
  proxyLocalActivities,
  sleep,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { AttemptInput, AttemptResult, Beginning, ExecuteJobInput, ExecutionActivities, FinalStatus } from './execution-activities.ts';
import { FIRST_PAUSE_MS, jittered, longer, patiently, sleepUntil } from './patience.ts';

/** How long one local try of a statement may take: five seconds of patience inside, and some for the way. */
const STATEMENT_MS = 8_000;
/** Admit, and a short target's first try with it: the target's ten seconds and the patience of three statements. */
const BEGIN_MS = 30_000;
/** Room around the target's own timeout for claim and record. */
const AROUND_CALL_MS = 15_000;
/** Between two calls the worker of a long target reports at least this often; silence for this long means it died. */
const HEARTBEAT_MS = 10_000;
/** A try whose worker dies this often is given up. */
const MOST_CRASHES = 20;

const ONE_TRY = { retry: { maximumAttempts: 1 }, cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED };
const { record, close } = proxyLocalActivities<ExecutionActivities>({ ...ONE_TRY, startToCloseTimeout: STATEMENT_MS });
const { begin } = proxyLocalActivities<ExecutionActivities>({ ...ONE_TRY, startToCloseTimeout: BEGIN_MS });

export async function executeJob(input: ExecuteJobInput): Promise<{ decision: string; execution?: string; status?: FinalStatus | null }> {
  const beginning = await beginWhenDue(input);
  if (beginning.decision !== 'run') return beginning;
  const { execution } = beginning;
  try {
    const { status, message } = await attemptUntilDone(input.team, beginning);
    if (status === 'failed' || status === 'timed_out')
      throw ApplicationFailure.create({ type: status, message: message ?? status, nonRetryable: true });
    return { decision: 'run', execution, status };
  } catch (error) {
    if (!isCancellation(error)) throw error;
    await CancellationScope.nonCancellable(() =>
      patiently(() => close({ team: input.team, execution, status: 'cancelled', reason: 'cancelled in Temporal', message: null })),
    );
    throw error;
  }
}

async function beginWhenDue(input: ExecuteJobInput): Promise<Beginning> {
  for (;;) {
    const beginning = await patiently(() => begin('clock' in input ? { ...input, slot: slotOf(input.clock) } : input));
    if (beginning.decision !== 'early') return beginning;
    await sleepUntil(beginning.dueAt);
  }
}

/** The nominal time of the slot: Temporal appends it to the workflow id of a scheduled start. */
const slotOf = (clock: string): string => workflowInfo().workflowId.slice(clock.length + 1);

async function attemptUntilDone(
  team: string,
  { execution, dueAt, triesDone, timeoutMs, deadlineAt, long, first }: Extract<Beginning, { decision: 'run' }>,
): Promise<{ status: FinalStatus | null; message: string | null }> {
  if (!first) await sleepUntil(dueAt);
  let made = first;
  for (let tryNumber = triesDone + 1, crashes = 0; ; ) {
    const result = made ?? (await attemptOnce({ team, execution, tryNumber, deadlineAt }, timeoutMs, long));
    made = null;
    if (result === 'crashed') {
      crashes += 1;
      if (crashes > MOST_CRASHES) {
        const message = `the worker died ${crashes} times during this attempt`;
        await patiently(() => close({ team, execution, status: 'failed', reason: 'lost', message }));
        return { status: 'failed', message };
      }
      continue;
    }
    if (result.kind === 'stop') return { status: result.status, message: null };
    const { unrecorded } = result;
    const written = unrecorded ? await patiently(() => record(unrecorded)) : null;
    if (result.kind === 'finished') return { status: written ?? result.status, message: result.message };
    await sleep(result.afterMs);
    tryNumber += 1;
  }
}

/** One try. `crashed`: the worker that made it died or was stopped before it could say what came of it. */
async function attemptOnce(input: AttemptInput, timeoutMs: number, long: boolean): Promise<AttemptResult | 'crashed'> {
  const options = { ...ONE_TRY, startToCloseTimeout: timeoutMs + AROUND_CALL_MS };
  const { attempt } = long
    ? proxyActivities<ExecutionActivities>({ ...options, heartbeatTimeout: HEARTBEAT_MS })
    : proxyLocalActivities<ExecutionActivities>(options);
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = longer(pauseMs)) {
    try {
      return await attempt(input);
    } catch (error) {
      if (isCancellation(error)) throw error;
      if (error instanceof ActivityFailure && error.cause instanceof TimeoutFailure) return 'crashed';
      if (error instanceof ActivityFailure && error.cause instanceof ApplicationFailure && error.cause.type === 'WorkerStopping') continue;
      // The statement before the call found no Postgres: nothing was called.
      await sleep(jittered(pauseMs));
    }
  }
}
