/**
 * One execution with a workflow of its own: admit -> wait until due -> attempt, with backoff -> done.
 *
 * Admit, claim and record are statements in Postgres; this workflow holds the order, the timers and the patience. A short target runs as a
 * local activity, so that the usual execution is one workflow task (seven history events); a long one is an ordinary activity with
 * heartbeats. While Postgres is away nothing here holds a task slot: the workflow sleeps on durable timers (semantics.md 18).
 */
import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  isCancellation,
  proxyActivities,
  proxyLocalActivities,
  sleep,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { Admission, AttemptInput, AttemptResult, ExecuteJobInput, ExecutionActivities, FinalStatus } from './execution-activities.ts';

/** How long one local try of a statement may take: five seconds of patience inside, and some for the way. */
const STATEMENT_MS = 8_000;
/** Room around the target's own timeout for claim and record. */
const AROUND_CALL_MS = 15_000;
/** Between two calls the worker of a long target reports at least this often; silence for this long means it died. */
const HEARTBEAT_MS = 10_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** A try whose worker dies this often is given up. */
const MOST_CRASHES = 20;

const statements = proxyLocalActivities<ExecutionActivities>({ startToCloseTimeout: STATEMENT_MS, retry: { maximumAttempts: 1 } });

export async function executeJob(input: ExecuteJobInput): Promise<{ decision: string; execution?: string; status?: FinalStatus | null }> {
  const admission = await admitWhenDue(input);
  if (admission.decision !== 'run') return admission;
  const { execution } = admission;
  try {
    await sleepUntil(admission.dueAt);
    const { status, message } = await attemptUntilDone(input.team, admission);
    if (status === 'failed' || status === 'timed_out')
      throw ApplicationFailure.create({ type: status, message: message ?? status, nonRetryable: true });
    return { decision: 'run', execution, status };
  } catch (error) {
    if (!isCancellation(error)) throw error;
    await CancellationScope.nonCancellable(() =>
      patiently(() =>
        statements.close({ team: input.team, execution, status: 'cancelled', reason: 'cancelled in Temporal', message: null }),
      ),
    );
    throw error;
  }
}

async function admitWhenDue(input: ExecuteJobInput): Promise<Admission> {
  for (;;) {
    const admission = await patiently(() =>
      'clock' in input ? statements.admitSlot({ ...input, slot: slotOf(input.clock) }) : statements.admitQueued(input),
    );
    if (admission.decision !== 'early') return admission;
    await sleepUntil(admission.dueAt);
  }
}

/** The nominal time of the slot: Temporal appends it to the workflow id of a scheduled start. */
const slotOf = (clock: string): string => workflowInfo().workflowId.slice(clock.length + 1);

async function attemptUntilDone(
  team: string,
  { execution, triesDone, timeoutMs, deadlineMs, long }: Extract<Admission, { decision: 'run' }>,
): Promise<{ status: FinalStatus | null; message: string | null }> {
  const deadlineAt = deadlineMs === null ? null : Date.now() + deadlineMs;
  for (let tryNumber = triesDone + 1, crashes = 0; ; ) {
    const result = await attemptOnce({ team, execution, tryNumber, deadlineAt }, timeoutMs, long);
    if (result === 'crashed') {
      crashes += 1;
      if (crashes > MOST_CRASHES) {
        const message = `the worker died ${crashes} times during this attempt`;
        await patiently(() => statements.close({ team, execution, status: 'failed', reason: 'lost', message }));
        return { status: 'failed', message };
      }
      continue;
    }
    if (result.kind === 'stop') return { status: result.status, message: null };
    const { unrecorded } = result;
    const written = unrecorded ? await patiently(() => statements.record(unrecorded)) : null;
    if (result.kind === 'finished') return { status: written ?? result.status, message: result.message };
    await sleep(result.afterMs);
    tryNumber += 1;
  }
}

/** One try. `crashed`: the worker that made it died or was stopped before it could say what came of it. */
async function attemptOnce(input: AttemptInput, timeoutMs: number, long: boolean): Promise<AttemptResult | 'crashed'> {
  const options = { startToCloseTimeout: timeoutMs + AROUND_CALL_MS, retry: { maximumAttempts: 1 } };
  const { attempt } = long
    ? proxyActivities<ExecutionActivities>({
        ...options,
        heartbeatTimeout: HEARTBEAT_MS,
        cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
      })
    : proxyLocalActivities<ExecutionActivities>({ ...options, cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED });
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

/** Repeats a statement until Postgres takes it: durable pauses of 1 s growing to 60 s, so that no task slot is held meanwhile. */
async function patiently<T>(statement: () => Promise<T>): Promise<T> {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = longer(pauseMs)) {
    try {
      return await statement();
    } catch (error) {
      if (isCancellation(error) || error instanceof CancelledFailure) throw error;
      await sleep(jittered(pauseMs));
    }
  }
}

const longer = (pauseMs: number): number => Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
const jittered = (pauseMs: number): number => Math.round(pauseMs * (0.75 + Math.random() * 0.5));

async function sleepUntil(at: number): Promise<void> {
  const ms = at - Date.now();
  if (ms > 0) await sleep(ms);
}
