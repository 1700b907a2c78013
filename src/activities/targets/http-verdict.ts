/** What a status means for the execution: success, failure, and whether another attempt is worth while. */
import { TARGET_ERROR_TYPES, type TargetOutcome } from './target-call.ts';

export const DEFAULT_SUCCESS = '200-299';
/** A request that is wrong stays wrong; 408, 425 and 429 say "later" and are not part of this class. */
export const DEFAULT_NON_RETRYABLE: readonly string[] = ['4xx'];
const MOST_RETRY_AFTER_MS = 3_600_000;
const LATER = new Set([408, 425, 429]);

type Range = readonly [from: number, to: number];

/** Why a `success` list can't be read, or null. */
export function successProblem(success: string): string | null {
  const ranges = readRanges(success);
  const wrong = ranges === null || ranges.some(([from, to]) => from > to || from < 100 || to > 599);
  return wrong ? `${JSON.stringify(success)} is not a list of statuses from 100 to 599; write e.g. "200-299" or "200-299,304"` : null;
}

function readRanges(success: string): Range[] | null {
  const ranges: Range[] = [];
  for (const part of success.split(',')) {
    const match = /^\s*(\d{3})(?:\s*-\s*(\d{3}))?\s*$/.exec(part);
    if (!match) return null;
    ranges.push([Number(match[1]), Number(match[2] ?? match[1])]);
  }
  return ranges;
}

/** True when the status counts as success. */
export function isSuccess(status: number, success: string): boolean {
  return (readRanges(success) ?? []).some(([from, to]) => status >= from && status <= to);
}

/** Why an entry of `nonRetryable` means nothing, or null: it is a status, a class (`4xx`), or a type of error. */
export function nonRetryableProblem(entry: string): string | null {
  if (/^[1-5](xx|\d\d)$/.test(entry) || (TARGET_ERROR_TYPES as readonly string[]).includes(entry)) return null;
  return `${JSON.stringify(entry)} is neither a status ("404"), a class of statuses ("4xx") nor one of ${TARGET_ERROR_TYPES.join(', ')}`;
}

/** Whether an unsuccessful status deserves another attempt. A redirect never: it is not followed, and its answer would be the same. */
export function isStatusRetryable(status: number, nonRetryable: readonly string[]): boolean {
  if (nonRetryable.includes(String(status)) || nonRetryable.includes('http_status')) return false;
  if (status >= 300 && status < 400) return false;
  return LATER.has(status) || !nonRetryable.includes(`${Math.floor(status / 100)}xx`);
}

/** The outcome with `nonRetryable` applied to its type of error; for what statuses do not decide. */
export function withNonRetryable(outcome: TargetOutcome, nonRetryable: readonly string[]): TargetOutcome {
  if (outcome.status === 'succeeded' || !outcome.error.retryable || !nonRetryable.includes(outcome.error.type)) return outcome;
  return { ...outcome, error: { ...outcome.error, retryable: false } };
}

/**
 * Milliseconds that a `Retry-After` asks to wait (RFC 9110 10.2.3: seconds or an HTTP date), 0 to one hour; undefined when it says nothing readable.
 */
export function retryAfterMs(header: string | undefined, now = Date.now()): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d+$/.test(text)) return Math.min(Number(text) * 1000, MOST_RETRY_AFTER_MS);
  // Date.parse takes much that is no HTTP date; all three forms of one start with a weekday.
  const at = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.min(Math.max(0, at - now), MOST_RETRY_AFTER_MS);
}
