/** What a definition means for one execution: durations in milliseconds, and when to try again. */
import type { JobDocument } from './job-document.ts';
import { parseDuration } from './time/duration.ts';

export type ExecutionPlan = {
  timeoutMs: number;
  /** For the whole execution, retries included; null: none. */
  deadlineMs: number | null;
  maxAttempts: number;
  initialIntervalMs: number;
  backoffCoefficient: number;
  maxIntervalMs: number;
};

/** Targets up to this timeout run as local activities: the whole execution is one workflow task. */
export const SHORT_TARGET_MS = 10_000;

/** @param timeoutMs a trigger's own timeout, which goes before the definition's. */
export function planOf(document: Pick<JobDocument, 'timeout' | 'deadline' | 'retry'>, timeoutMs: number | null = null): ExecutionPlan {
  return {
    timeoutMs: timeoutMs ?? parseDuration(document.timeout),
    deadlineMs: document.deadline ? parseDuration(document.deadline) : null,
    maxAttempts: document.retry.maxAttempts,
    initialIntervalMs: parseDuration(document.retry.initialInterval),
    backoffCoefficient: document.retry.backoffCoefficient,
    maxIntervalMs: parseDuration(document.retry.maxInterval),
  };
}

/**
 * The pause before the next try: exponential, capped, with up to 10 % taken off at random so that what failed together does not
 * return together; never shorter than what the receiver asked for with Retry-After.
 * @param triesDone tries that have failed so far, at least 1.
 */
export function backoffMs(plan: ExecutionPlan, triesDone: number, retryAfterMs = 0): number {
  const grown = Math.min(plan.initialIntervalMs * plan.backoffCoefficient ** (triesDone - 1), plan.maxIntervalMs);
  return Math.max(Math.round(grown * (1 - Math.random() * 0.1)), retryAfterMs);
}
