/** One attempt: claim the right to call, call the target, record what came of it. The same for local and ordinary activities. */
import { hostname } from 'node:os';
import { ApplicationFailure, activityInfo, cancellationSignal, heartbeat } from '@temporalio/activity';
import { backoffMs, type ExecutionPlan, planOf } from '../jobs/execution-plan.ts';
import { type ClaimedCall, type ClaimedRow, claimExecution } from '../jobs/execution-store.ts';
import { partitionAtOf } from '../jobs/ids.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import type { AttemptInput, AttemptResult, FinalStatus, Outcome } from '../workflows/execution-activities.ts';
import type { CallTarget, DefinedCall } from './call-target.ts';
import { Interruption, type Interruptions } from './interruptions.ts';
import { withPatience } from './patience.ts';
import type { Recorder } from './record.ts';
import type { TargetOutcome } from './targets/target-call.ts';

const WORKER = `${hostname()}/${process.pid}`;
/** Ordinary activities report this often; the workflow takes 10 s of silence for a death. */
const HEARTBEAT_EVERY_MS = 3_000;

/** After a crash the pause before the next try is not known any more; the shortest usual one will do. */
const AGAIN_MS = 1_000;

export type AttemptDeps = { pool: Pool; log: Log; callTarget: CallTarget; recorder: Recorder; interruptions: Interruptions };

export type Attempt = ReturnType<typeof createAttempt>;

export function createAttempt({ pool, log, callTarget, recorder, interruptions }: AttemptDeps) {
  /** Claims the right to call, then calls; or says why there is no call. */
  async function next(input: AttemptInput): Promise<AttemptResult> {
    const partitionAt = partitionAtOf(input.execution)!;
    const { runId } = activityInfo().workflowExecution!;
    const row = await withPatience(() =>
      claimExecution(pool, { team: input.team, partitionAt, id: input.execution, runId, tryNumber: input.tryNumber }),
    );
    return row.verdict === 'run' ? await claimed(input, row) : notClaimed(row, input);
  }

  /** Makes the call that is claimed, at once, and records what came of it. */
  async function claimed(input: AttemptInput, row: ClaimedCall): Promise<AttemptResult> {
    const partitionAt = partitionAtOf(input.execution)!;
    const plan = planOf(row.document, row.timeout_ms ? Number(row.timeout_ms) : null);
    const startedAt = new Date();
    const watch = interruptions.watch({ partitionAt, id: input.execution, attempt: row.attempt });
    const outcome = await beating(() => callTarget(callOf(input, row, plan, watch.signal)));
    watch.end();
    if (cancellationSignal().aborted && isWorkerStopping(outcome)) {
      // Nothing is recorded: another worker repeats this try under the same id.
      throw ApplicationFailure.create({ type: 'WorkerStopping', message: 'the worker stopped during the call' });
    }
    const decided = decide(input, row, plan, outcome, watch.signal);
    const record: Outcome = {
      team: input.team,
      partitionAt: partitionAt.toISOString(),
      id: input.execution,
      attempt: row.attempt,
      status: decided.status,
      final: decided.retryInMs === null,
      startedAt: startedAt.toISOString(),
      finishedAt: new Date().toISOString(),
      worker: WORKER,
      ...(decided.reason ? { reason: decided.reason } : {}),
      ...(outcome.result === undefined ? {} : { result: outcome.result }),
      ...(outcome.status === 'succeeded'
        ? {}
        : { error: { type: outcome.error.type, message: outcome.error.message, attempt: row.attempt } }),
      ...(responseStatusOf(outcome) === undefined ? {} : { responseStatus: responseStatusOf(outcome)! }),
    };
    const written = await recorder.record(record).catch((error) => {
      log.warn({ execution: input.execution, error: String(error) }, 'an outcome could not be recorded yet; its workflow keeps it');
      return 'unrecorded' as const;
    });
    const kept = written === 'unrecorded' ? { unrecorded: record } : {};
    if (written !== 'unrecorded' && written !== null && written !== 'running') {
      return { kind: 'finished', status: written, message: outcome.status === 'succeeded' ? null : outcome.error.message };
    }
    if (decided.retryInMs !== null) return { kind: 'retry', afterMs: decided.retryInMs, ...kept };
    return { kind: 'finished', status: decided.status, message: outcome.status === 'succeeded' ? null : outcome.error.message, ...kept };
  }

  function notClaimed(row: ClaimedRow, input: AttemptInput): AttemptResult {
    recorder.startReleased(row.released);
    if (row.verdict === 'recorded') {
      // This try ended before a crash, and its outcome is in the row: go on from there, never call again (semantics.md 23).
      return { kind: 'retry', afterMs: AGAIN_MS };
    }
    const status = row.verdict === 'cancelled' ? 'cancelled' : row.verdict === 'paused' ? 'skipped' : null;
    if (status) log.info({ execution: input.execution, jobName: row.job_name, status }, 'execution finished');
    return { kind: 'stop', status };
  }

  function callOf(input: AttemptInput, row: ClaimedCall, plan: ExecutionPlan, interrupted: AbortSignal): DefinedCall {
    const left = input.deadlineAt === null ? plan.timeoutMs : input.deadlineAt - Date.now();
    return {
      target: row.document.target,
      service: row.service,
      executionId: input.execution,
      slot: row.slot ? row.slot.toISOString() : null,
      dueAt: row.due_at.toISOString(),
      attempt: row.attempt,
      maxAttempts: plan.maxAttempts,
      job: { id: row.job_id, name: row.job_name, team: input.team },
      input: row.has_input ? row.input : (row.document.input ?? null),
      nonRetryable: row.document.retry.nonRetryable,
      timeoutMs: Math.max(1, Math.min(plan.timeoutMs, left)),
      signal: AbortSignal.any([interrupted, cancellationSignal()]),
      heartbeat: (detail?: unknown) => heartbeat(detail),
      log: log.child({ execution: input.execution, jobName: row.job_name, attempt: row.attempt }),
    };
  }

  return { next, claimed };
}

/** Reports life while the call runs, for the workflows of long targets; a local activity has nobody to report to. */
async function beating<T>(call: () => Promise<T>): Promise<T> {
  if (activityInfo().isLocal) return await call();
  const timer = setInterval(() => heartbeat(), HEARTBEAT_EVERY_MS);
  try {
    return await call();
  } finally {
    clearInterval(timer);
  }
}

const isWorkerStopping = (outcome: TargetOutcome): boolean =>
  outcome.status === 'cancelled' && /WORKER_SHUTDOWN/.test(String(cancellationSignal().reason));

function responseStatusOf(outcome: TargetOutcome): number | undefined {
  const result = outcome.result;
  return typeof result === 'object' && result !== null && 'status' in result && typeof result.status === 'number'
    ? result.status
    : undefined;
}

/** Whether the outcome ends the execution, and after which pause the next try comes if not. */
function decide(
  input: AttemptInput,
  row: ClaimedCall,
  plan: ExecutionPlan,
  outcome: TargetOutcome,
  interrupted: AbortSignal,
): { status: FinalStatus; retryInMs: number | null; reason?: string } {
  if (outcome.status === 'succeeded') return { status: 'succeeded', retryInMs: null };
  const wish = interrupted.reason instanceof Interruption ? interrupted.reason.wish : null;
  if (outcome.status === 'cancelled') return { status: 'cancelled', retryInMs: null, ...(wish === 'fenced' ? { reason: 'fenced' } : {}) };
  const deadlinePassed = input.deadlineAt !== null && Date.now() >= input.deadlineAt;
  if (deadlinePassed) return { status: 'timed_out', retryInMs: null, reason: 'deadline' };
  if (!outcome.error.retryable || input.tryNumber >= row.max_attempts) return { status: outcome.status, retryInMs: null };
  const retryInMs = backoffMs(plan, input.tryNumber, outcome.error.retryAfterMs);
  if (input.deadlineAt !== null && Date.now() + retryInMs >= input.deadlineAt)
    return { status: 'timed_out', retryInMs: null, reason: 'deadline' };
  return { status: outcome.status, retryInMs };
}
