/** A slot as callers see it. Times are RFC 3339 in UTC. */
import { formatInstant } from '../time/instant.ts';
import type { SlotOutcome } from './outcomes.ts';
import type { LedgerJob, RangeRow, SlotRow } from './timeline-store.ts';

export type RangeView = {
  reason: string;
  /** Null: as long as anybody knows. */
  from: string | null;
  to: string | null;
  freezeId: string | null;
  calendar: string | null;
  by: string | null;
  note: string | null;
};

export type SlotView = {
  slot: string;
  /** Slot and the job's own offset. */
  dueAt: string;
  outcome: SlotOutcome;
  future: boolean;
  executionId: string | null;
  startedAt: string | null;
  finishedAt: string | null;
  /** Start − due; null until it has started. */
  latenessMs: number | null;
  /** The stretch that has swallowed it, or will. */
  range: RangeView | null;
  /** What a change of clocks does to it, in the words of migration 0014; null on most days. */
  dst: string | null;
  /** Backfills and retries of this slot. */
  later: { executionId: string; trigger: string; status: string; operationId: string | null }[];
};

/** What is known of a slot. */
export type SlotWord = {
  slot: Date;
  outcome: SlotOutcome;
  row: SlotRow | null;
  range: RangeRow | null;
  mark: string | null;
  future: boolean;
};

export function slotView(job: LedgerJob, { slot, outcome, row, range, mark, future }: SlotWord): SlotView {
  const dueAt = row?.due_at ?? new Date(slot.getTime() + job.offset_s * 1_000);
  return {
    slot: formatInstant(slot),
    dueAt: formatInstant(dueAt),
    outcome,
    future,
    executionId: row?.id ?? null,
    startedAt: row?.started_at?.toISOString() ?? null,
    finishedAt: row?.finished_at?.toISOString() ?? null,
    latenessMs: row?.started_at ? row.started_at.getTime() - dueAt.getTime() : null,
    range: range && rangeView(range),
    dst: mark,
    later: [],
  };
}

export const rangeView = (range: RangeRow): RangeView => ({
  reason: range.reason,
  from: range.from_at?.toISOString() ?? null,
  to: range.to_at?.toISOString() ?? null,
  freezeId: range.freeze_id,
  calendar: range.calendar,
  by: range.by,
  note: range.note,
});
