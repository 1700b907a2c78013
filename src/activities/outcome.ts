/** What an attempt came to, as record takes it: the same for executions with a workflow of their own and for those that share one. */
import { hostname } from 'node:os';
import { backoffMs, type ExecutionPlan } from '../jobs/execution-plan.ts';
import type { FinalStatus, Outcome } from '../workflows/execution-activities.ts';
import { Interruption } from './interruptions.ts';
import type { TargetOutcome } from './targets/target-call.ts';

const WORKER = `${hostname()}/${process.pid}`;

/** The try that was made. Times are milliseconds since 1970. */
export type MadeTry = {
  team: string;
  partitionAt: Date;
  execution: string;
  /** The claim. */
  attempt: number;
  /** Which try this was, from 1; a repeat after a crash is the same try. */
  tryNumber: number;
  maxAttempts: number;
  plan: ExecutionPlan;
  /** When the whole execution must have ended; null: no deadline. */
  deadlineAt: number | null;
  startedAt: Date;
  /** Fired when the call was told to stop; its reason says why. */
  interrupted: AbortSignal;
};

/** Whether the outcome ends the execution, and after which pause the next try comes if not (null: there is none). */
export function decide(made: MadeTry, outcome: TargetOutcome): { status: FinalStatus; retryInMs: number | null; reason?: string } {
  if (outcome.status === 'succeeded') return { status: 'succeeded', retryInMs: null };
  const wish = made.interrupted.reason instanceof Interruption ? made.interrupted.reason.wish : null;
  if (outcome.status === 'cancelled') return { status: 'cancelled', retryInMs: null, ...(wish === 'fenced' ? { reason: 'fenced' } : {}) };
  const { deadlineAt } = made;
  if (deadlineAt !== null && Date.now() >= deadlineAt) return { status: 'timed_out', retryInMs: null, reason: 'deadline' };
  if (!outcome.error.retryable || made.tryNumber >= made.maxAttempts) return { status: outcome.status, retryInMs: null };
  const retryInMs = backoffMs(made.plan, made.tryNumber, outcome.error.retryAfterMs);
  if (deadlineAt !== null && Date.now() + retryInMs >= deadlineAt) return { status: 'timed_out', retryInMs: null, reason: 'deadline' };
  return { status: outcome.status, retryInMs };
}

/** The outcome in the form in which record reads it. */
export function outcomeOf(made: MadeTry, outcome: TargetOutcome, decided: ReturnType<typeof decide>): Outcome {
  const responseStatus = responseStatusOf(outcome);
  return {
    team: made.team,
    partitionAt: made.partitionAt.toISOString(),
    id: made.execution,
    attempt: made.attempt,
    status: decided.status,
    final: decided.retryInMs === null,
    startedAt: made.startedAt.toISOString(),
    finishedAt: new Date().toISOString(),
    worker: WORKER,
    ...(decided.reason ? { reason: decided.reason } : {}),
    ...(outcome.result === undefined ? {} : { result: outcome.result }),
    ...(outcome.status === 'succeeded'
      ? {}
      : { error: { type: outcome.error.type, message: outcome.error.message, attempt: made.attempt } }),
    ...(responseStatus === undefined ? {} : { responseStatus }),
  };
}

/** The status of an HTTP response; a handler's result may have a `status` of its own that is none. */
function responseStatusOf({ result }: TargetOutcome): number | undefined {
  if (typeof result !== 'object' || result === null || !('status' in result)) return undefined;
  const { status } = result;
  return typeof status === 'number' && Number.isInteger(status) && status >= 100 && status <= 599 ? status : undefined;
}
