/** The execution document: a row as callers see it (design: "The execution document"). Times are RFC 3339 in UTC. */
import type { Config } from '../config.ts';
import type { AttemptRow } from './execution-queries.ts';

export const TERMINAL_STATUSES = ['succeeded', 'failed', 'timed_out', 'cancelled', 'terminated', 'skipped'] as const;
export const EXECUTION_STATUSES = ['queued', 'running', ...TERMINAL_STATUSES] as const;
export const EXECUTION_TRIGGERS = ['schedule', 'manual', 'backfill', 'retry', 'once', 'batch'] as const;
export type ExecutionStatus = (typeof EXECUTION_STATUSES)[number];

export type ExecutionRow = {
  partition_at: Date;
  id: string;
  team: string;
  job_id: string;
  job_name: string;
  generation: string;
  trigger: string;
  slot: Date | null;
  due_at: Date;
  status: ExecutionStatus;
  waiting: boolean;
  reason: string | null;
  attempt: number;
  tries: number;
  max_attempts: number;
  priority: number;
  queue: string;
  dispatch: 'dedicated' | 'pooled';
  workflow_id: string | null;
  run_id: string | null;
  chunk: string | null;
  retry_of: string | null;
  label: string | null;
  operation_id: string | null;
  freeze_id: string | null;
  freeze_reason: string | null;
  requested_by: string | null;
  input: unknown;
  has_input: boolean;
  created_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
  cancel_requested_at: Date | null;
  cancel_by: string | null;
  result: unknown;
  error: { type: string; message: string; attempt: number | null } | null;
};

/** The columns of ExecutionRow, for every statement that reads whole executions. */
export const EXECUTION_COLUMNS = `e.partition_at, e.id, e.team, e.job_id, e.job_name, e.generation, e.trigger, e.slot, e.due_at, e.status, e.waiting, e.reason,
  e.attempt, e.tries, e.max_attempts, e.priority, e.queue, e.dispatch, e.workflow_id, e.run_id, e.chunk, e.retry_of, e.label, e.operation_id, e.requested_by, e.input, e.has_input,
  e.created_at, e.started_at, e.finished_at, e.cancel_requested_at, e.cancel_by, e.result, e.error,
  e.freeze_id, (SELECT f.reason FROM freezes f WHERE f.id = e.freeze_id) AS freeze_reason`;

export type ExecutionView = {
  id: string;
  jobId: string;
  jobName: string;
  generation: number;
  team: string;
  trigger: string;
  slot: string | null;
  dueAt: string;
  status: ExecutionStatus;
  /** Queued behind another execution of the job, as its overlap policy says. */
  waiting: boolean;
  reason: string | null;
  attempt: number;
  maxAttempts: number;
  priority: number;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  durationMs: number | null;
  /** start − (slot + offset); null until it has started. */
  latenessMs: number | null;
  dispatch: 'dedicated' | 'pooled';
  queue: string;
  workflowId: string | null;
  runId: string | null;
  /** Which activity of a shared workflow made its call, and on which worker; null: it has a workflow of its own, or has not been called. */
  chunk: string | null;
  retryOf: string | null;
  /** What for, in the words of who asked. */
  label: string | null;
  /** The backfill or bulk operation that asked for it. */
  operationId: string | null;
  /** The freeze for whose end it waits or waited, or because of which it was skipped. */
  freeze: { id: string; reason: string | null } | null;
  requestedBy: string | null;
  cancelRequestedAt: string | null;
  cancelledBy: string | null;
  /** Input of its own (a trigger's, a retry's); absent when the definition's input is used. */
  input?: unknown;
  result: unknown;
  error: { type: string; message: string; attempt: number | null } | null;
  links: { self: string; job: string; temporal: string | null };
};

export type ExecutionLinks = Pick<Config, 'TEMPORAL_UI_URL' | 'TEMPORAL_NAMESPACE'>;

export function executionView(row: ExecutionRow, links: ExecutionLinks): ExecutionView {
  const { started_at: started, finished_at: finished } = row;
  return {
    id: row.id,
    jobId: row.job_id,
    jobName: row.job_name,
    generation: Number(row.generation),
    team: row.team,
    trigger: row.trigger,
    slot: timeOf(row.slot),
    dueAt: row.due_at.toISOString(),
    status: row.status,
    waiting: row.waiting,
    reason: row.reason,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    priority: row.priority,
    createdAt: row.created_at.toISOString(),
    startedAt: timeOf(started),
    finishedAt: timeOf(finished),
    durationMs: started && finished ? finished.getTime() - started.getTime() : null,
    latenessMs: started ? started.getTime() - row.due_at.getTime() : null,
    dispatch: row.dispatch,
    queue: row.queue,
    workflowId: row.workflow_id,
    runId: row.run_id,
    chunk: row.chunk,
    retryOf: row.retry_of,
    label: row.label,
    operationId: row.operation_id,
    freeze: row.freeze_id === null ? null : { id: row.freeze_id, reason: row.freeze_reason },
    requestedBy: row.requested_by,
    cancelRequestedAt: timeOf(row.cancel_requested_at),
    cancelledBy: row.cancel_by,
    ...(row.has_input ? { input: row.input } : {}),
    result: row.result,
    error: row.error,
    links: {
      self: `/api/v1/executions/${row.job_id}/${row.id}`,
      job: `/api/v1/jobs/${row.job_id}`,
      temporal: webUiLink(row, links),
    },
  };
}

/** One attempt as callers see it. */
export const attemptView = (attempt: AttemptRow) => ({
  attempt: attempt.attempt,
  status: attempt.status,
  startedAt: attempt.started_at.toISOString(),
  finishedAt: attempt.finished_at.toISOString(),
  durationMs: attempt.finished_at.getTime() - attempt.started_at.getTime(),
  responseStatus: attempt.response_status,
  error: attempt.error,
  worker: attempt.worker,
});

function webUiLink(row: ExecutionRow, { TEMPORAL_UI_URL: base, TEMPORAL_NAMESPACE: namespace }: ExecutionLinks): string | null {
  if (!base || !row.workflow_id || !row.run_id) return null;
  const place = [namespace, 'workflows', row.workflow_id, row.run_id].map(encodeURIComponent).join('/');
  return `${base.replace(/\/$/, '')}/namespaces/${place}/history`;
}

const timeOf = (time: Date | null): string | null => time?.toISOString() ?? null;
