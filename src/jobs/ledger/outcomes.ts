/** The words for what becomes of a slot, before and after it is due (semantics.md 1, 24). */
import type { ExecutionStatus } from '../execution-view.ts';

/** Why a slot has no execution; the reason of a `skipped` row or of a range. */
export const SKIP_REASONS = [
  'skipped_overlap',
  'paused',
  'frozen',
  'excluded',
  'dst_gap',
  'dst_repeat',
  'missed',
  'buffer_dropped',
  'concurrency',
  'outside_window',
] as const;
export type SkipReason = (typeof SKIP_REASONS)[number];

const RAN = ['queued', 'running', 'succeeded', 'failed', 'timed_out', 'cancelled', 'terminated'] as const;

/**
 * One word per slot. What ran has its execution's status; what did not has its reason, as the ledger says or, ahead, as it would say now.
 *   skipped       for a reason that is not among the others
 *   expected      ahead, and nothing known now keeps it from running
 *   pending       due a moment ago and not decided yet
 *   archived      its month has left the database: what became of it stands in the archive
 *   unaccounted   due longer ago than that: the ledger has lost it, which must never be
 */
export const SLOT_OUTCOMES = [...RAN, ...SKIP_REASONS, 'skipped', 'expected', 'pending', 'archived', 'unaccounted'] as const;
export type SlotOutcome = (typeof SLOT_OUTCOMES)[number];

const KNOWN = new Set<string>(SLOT_OUTCOMES);

/** Of a row. A queued execution of a slot that is not due yet (a one-off) is expected. */
export const outcomeOfRow = (status: ExecutionStatus, reason: string | null, future: boolean): SlotOutcome => {
  if (status === 'skipped') return reason !== null && KNOWN.has(reason) ? (reason as SkipReason) : 'skipped';
  return status === 'queued' && future ? 'expected' : status;
};

/** Of a range. */
export const outcomeOfRange = (reason: string): SlotOutcome => (KNOWN.has(reason) ? (reason as SkipReason) : 'skipped');

/** A slot that was due longer ago than this has a row, or has been lost: it is looked for after 15 s, every second. Milliseconds. */
export const DECIDED_WITHIN_MS = 60_000;
