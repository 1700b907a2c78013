/**
 * What the attempt activity hands to a target and what it gets back. A call never throws for what the outside does: whatever a server or
 * a user's function makes of it is an outcome.
 */
import { RETRY_ERROR_TYPES } from '../../jobs/job-document.ts';
import type { Log } from '../../log.ts';

/** One attempt of one execution. */
export type TargetCall = {
  executionId: string;
  /** Due time of the slot, RFC 3339; null when the execution serves none. */
  slot: string | null;
  dueAt: string;
  attempt: number;
  maxAttempts: number;
  job: { id: string; name: string; team: string };
  /** JSON. */
  input: unknown;
  /** Wall clock for the whole attempt. */
  timeoutMs: number;
  /** Fires on cancel, terminate and worker shutdown. */
  signal: AbortSignal;
  heartbeat: (detail?: unknown) => void;
  log: Log;
};

/** Every kind a failed attempt can have: what a definition's `retry.nonRetryable` may list, and what only we bring about. */
export const TARGET_ERROR_TYPES = [...RETRY_ERROR_TYPES, 'cancelled', 'poisoned'] as const;
export type TargetErrorType = (typeof TARGET_ERROR_TYPES)[number];

export type TargetError = {
  type: TargetErrorType;
  message: string;
  retryable: boolean;
  /** The receiver's wish for the next attempt, at most an hour. */
  retryAfterMs?: number;
};

/** What an http target keeps of a response. */
export type HttpResult = {
  status: number;
  headers: Record<string, string>;
  /** The first 64 KiB, decoded; text, or base64 when `base64` is true. */
  body: string;
  /** True when there was more, or when what came could not be decoded to its end. */
  truncated: boolean;
  base64?: true;
  /** True when characters that Postgres can't store (NUL) were replaced by U+FFFD. */
  replaced?: true;
};

/** `result` of an http target is an `HttpResult`; of a handler its return value as JSON. */
export type TargetOutcome =
  | { status: 'succeeded'; result: unknown }
  | { status: 'failed' | 'timed_out' | 'cancelled'; error: TargetError; result?: unknown };

/** An outcome without success. */
export function failed(type: TargetErrorType, message: string, retryable: boolean): TargetOutcome {
  return { status: 'failed', error: { type, message, retryable } };
}
