/** One attempt: claim the right to call, call the target, record what came of it. The same for local and ordinary activities. */
import { ApplicationFailure, activityInfo, cancellationSignal, heartbeat } from '@temporalio/activity';
import { type ExecutionPlan, planOf } from '../jobs/execution-plan.ts';
import { type ClaimedCall, type ClaimedRow, claimExecution } from '../jobs/execution-store.ts';
import { partitionAtOf } from '../jobs/ids.ts';
import { type Log, lazyChild } from '../log.ts';
import type { Pool } from '../postgres.ts';
import type { AttemptInput, AttemptResult } from '../workflows/execution-activities.ts';
import type { CallTarget, DefinedCall } from './call-target.ts';
import type { Interruptions } from './interruptions.ts';
import { decide, outcomeOf } from './outcome.ts';
import { withPatience } from './patience.ts';
import type { Recorder } from './record.ts';
import type { TargetOutcome } from './targets/target-call.ts';

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
    const made = { ...input, partitionAt, attempt: row.attempt, maxAttempts: row.max_attempts, plan, startedAt, interrupted: watch.signal };
    const decided = decide(made, outcome);
    const record = outcomeOf(made, outcome, decided);
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
    if (row.verdict === 'frozen')
      log.info({ execution: input.execution, jobName: row.job_name }, 'execution waits for the end of a freeze');
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
      log: lazyChild(log, { execution: input.execution, jobName: row.job_name, attempt: row.attempt }),
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
