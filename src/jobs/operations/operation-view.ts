/** An operation and its items as callers see them. Times are RFC 3339 in UTC. */
import { formatInstant } from '../time/instant.ts';
import type { ItemRecord, OperationRecord } from './operation-queries.ts';
import { ITEM_RESULTS, type ItemResult, type OperationKind, type OperationState } from './operation-store.ts';

export type OperationView = {
  id: string;
  kind: OperationKind;
  state: OperationState;
  /** Of a backfill of one job. */
  jobId: string | null;
  /** Of a backfill of many: the freeze, or the bulk resume, whose catch-up it is. */
  origin: string | null;
  /** What was selected. */
  selection: unknown;
  /** How each item is treated. */
  options: unknown;
  reason: string | null;
  ratePerMinute: number | null;
  /** Why it does not go on just now: `overlap`, `paused`, `frozen`. */
  waitingFor: string | null;
  progress: { total: number; done: number; pending: number; results: Partial<Record<ItemResult, number>> };
  /** Executions it has made, by their status now; only of one operation, not in lists. */
  executions?: Record<string, number>;
  requestedBy: string;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  abortedBy: string | null;
  links: { self: string; items: string };
};

export function operationView(row: OperationRecord, executions?: Record<string, number>): OperationView {
  const self = `/api/v1/${row.kind === 'backfill' ? 'backfills' : 'bulk-operations'}/${row.id}`;
  const results = Object.fromEntries(ITEM_RESULTS.flatMap((result) => (row.outcomes[result] ? [[result, row.outcomes[result]]] : [])));
  return {
    id: row.id,
    kind: row.kind,
    state: row.state,
    jobId: row.job_id,
    origin: row.origin,
    selection: row.asked,
    options: row.params,
    reason: row.reason,
    ratePerMinute: row.rate_per_minute,
    waitingFor: row.waiting_for,
    progress: { total: row.total, done: row.done, pending: row.finished_at ? 0 : row.total - row.done, results },
    ...(executions ? { executions } : {}),
    requestedBy: row.requested_by,
    createdAt: row.created_at.toISOString(),
    startedAt: row.started_at?.toISOString() ?? null,
    finishedAt: row.finished_at?.toISOString() ?? null,
    abortedBy: row.aborted_by,
    links: { self, items: `${self}/items` },
  };
}

export type ItemView = {
  position: number;
  jobId: string;
  executionId: string | null;
  slot: string | null;
  result: ItemResult;
  /** The execution, or the backfill, that came of it. */
  made: string | null;
  code: string | null;
  message: string | null;
  doneAt: string | null;
};

export const itemView = (row: ItemRecord): ItemView => ({
  position: row.position,
  jobId: row.job_id,
  executionId: row.execution_id,
  slot: row.slot && formatInstant(row.slot),
  result: row.result,
  made: row.made,
  code: row.code,
  message: row.message,
  doneAt: row.done_at?.toISOString() ?? null,
});
