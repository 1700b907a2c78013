/** The statements on executions: admit, claim, record, close. The rules are in migrations/0003, 0004 and 0015; these are their typed callers. */
import type { Queryable } from '../postgres.ts';
import type { JobDocument } from './job-document.ts';
import { laterOf } from './later-slots.ts';
import type { Timing } from './time/timing.ts';

/** What a workflow start needs to know of a row (`start_of` in SQL). */
export type ExecutionStart = {
  team: string;
  id: string;
  partitionAt: string;
  workflowId: string;
  queue: string;
  /** Not before this time. */
  dueAt: string;
  priority: number;
  jobName: string;
  /** `pooled`: the workflow is that of a pool, shared with other rows. */
  dispatch: 'dedicated' | 'pooled';
};

export type AdmittedRow = {
  decision: 'run' | 'wait' | 'skipped' | 'ended' | 'duplicate' | 'paused' | 'early';
  id: string;
  reason: string | null;
  due_at: Date;
  tries: number;
  generation: string;
  job_name: string;
  document: JobDocument | null;
  /** A trigger's own timeout. */
  timeout_ms?: string | null;
};
export type AdmittedSlot = AdmittedRow | { decision: 'stale'; timing_hash: string; timing: Timing };

/** Admits one slot of a clock for all its members; the arguments and decisions are described at `admit_slot` and `admit_due_slot`. */
export async function admitSlot(
  database: Queryable,
  slot: {
    team: string;
    clock: string;
    nominal: Date;
    timingHash: string | null;
    successor: Date | null;
    /** As in `beginSlot`. */
    later?: readonly Date[];
    workflowId: string | null;
    runId: string | null;
    bufferLimit: number;
  },
): Promise<AdmittedSlot[]> {
  const { rows } = await database.query<AdmittedSlot>({
    name: 'admit-due-slot',
    text: `SELECT decision, id, reason, due_at, tries, generation, job_name, document, timing_hash, timing
             FROM admit_due_slot($1, $2, $3, $4, $5, $6, $7, $8)`,
    values: [slot.team, slot.clock, slot.nominal, slot.timingHash, laterOf(slot), slot.workflowId, slot.runId, slot.bufferLimit],
  });
  return rows;
}

/** What a claim gives the right to call. */
export type ClaimedCall = {
  attempt: number;
  document: JobDocument;
  input: unknown;
  has_input: boolean;
  timeout_ms: string | null;
  slot: Date | null;
  due_at: Date;
  job_id: string;
  job_name: string;
  max_attempts: number;
  service: { baseUrl: string; headers: Record<string, string> } | null;
};
export type ClaimedRow = ClaimedCall & {
  /** `frozen`: it waits, and is started again when the freeze is over. */
  verdict: 'run' | 'recorded' | 'cancelled' | 'paused' | 'frozen' | 'ended' | 'fenced';
  status: string;
  error: { type: string; message: string } | null;
  released: ExecutionStart | null;
};

/** Takes the right to make one call, immediately before it (semantics.md 3). */
export async function claimExecution(
  database: Queryable,
  claim: { team: string; partitionAt: Date; id: string; runId: string; tryNumber: number },
): Promise<ClaimedRow> {
  const { rows } = await database.query<ClaimedRow>({
    name: 'claim-execution',
    text: `SELECT verdict, attempt, status, error, document, input, has_input, timeout_ms, slot, due_at, job_id, job_name, max_attempts, service, released
             FROM claim_execution($1, $2, $3, $4, $5)`,
    values: [claim.team, claim.partitionAt, claim.id, claim.runId, claim.tryNumber],
  });
  return rows[0]!;
}

/** When the try after those that are recorded may come, if anything but the backoff says so, and when the first began. */
export type LaterTry = { retry_at: Date | null; started_at: Date | null };

export async function findLaterTry(database: Queryable, partitionAt: Date, id: string): Promise<LaterTry | null> {
  const { rows } = await database.query<LaterTry>({
    name: 'find-later-try',
    text: 'SELECT retry_at, started_at FROM job_executions WHERE partition_at = $1 AND id = $2',
    values: [partitionAt, id],
  });
  return rows[0] ?? null;
}

export type RecordedRow = {
  id: string;
  /** False: a newer claim owns the row, or it had ended. */
  applied: boolean;
  status: string;
  reason: string | null;
  job_name: string;
  trigger: string;
  started_at: Date;
  finished_at: Date | null;
  due_at: Date;
  released: ExecutionStart | null;
};

/** Writes outcomes of attempts, one or many in one statement; see `record_outcomes`. */
export async function recordOutcomes(database: Queryable, outcomes: readonly object[]): Promise<RecordedRow[]> {
  const { rows } = await database.query<RecordedRow>({
    name: 'record-outcomes',
    text: 'SELECT id, applied, status, reason, job_name, trigger, started_at, finished_at, due_at, released FROM record_outcomes($1)',
    values: [JSON.stringify(outcomes)],
  });
  return rows;
}

export type CancelVerdict = 'not_found' | 'finished' | 'requested' | 'cancelled';

/** Asks an execution to stop; see `cancel_execution`. */
export async function cancelExecution(
  database: Queryable,
  row: { team: string; partitionAt: Date; id: string; by: string },
): Promise<{ verdict: CancelVerdict; workflow_id: string | null; run_id: string | null; released: ExecutionStart | null }> {
  const { rows } = await database.query<{
    verdict: CancelVerdict;
    workflow_id: string | null;
    run_id: string | null;
    released: ExecutionStart | null;
  }>({
    name: 'cancel-execution',
    text: 'SELECT verdict, workflow_id, run_id, released FROM cancel_execution($1, $2, $3, $4)',
    values: [row.team, row.partitionAt, row.id, row.by],
  });
  return rows[0]!;
}

export type ClosedRow = {
  applied: boolean;
  status: string;
  workflow_id: string | null;
  run_id: string | null;
  released: ExecutionStart | null;
};

/** Makes an unfinished row terminal at once and fences whatever comes later. Null: there is no such row. */
export async function closeExecution(
  database: Queryable,
  row: { team: string; partitionAt: Date; id: string; status: string; reason: string | null; error: object | null; by: string },
): Promise<ClosedRow | null> {
  const { rows } = await database.query<ClosedRow>({
    name: 'close-execution',
    text: 'SELECT applied, status, workflow_id, run_id, released FROM close_execution($1, $2, $3, $4, $5, $6, $7)',
    values: [row.team, row.partitionAt, row.id, row.status, row.reason, row.error ? JSON.stringify(row.error) : null, row.by],
  });
  return rows[0] ?? null;
}

export type StartedRow = { partitionAt: string; id: string; workflowId: string; runId: string };

/** Notes that rows' workflows were started, unless a run of theirs has said so itself already. Many rows, one statement. */
export async function noteStarted(database: Queryable, rows: readonly StartedRow[]): Promise<void> {
  await database.query({
    name: 'note-started',
    text: `UPDATE job_executions e SET run_id = s.run_id
             FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[]) AS s(partition_at, id, workflow_id, run_id)
            WHERE e.partition_at = s.partition_at AND e.id = s.id AND e.workflow_id = s.workflow_id
              AND e.run_id IS NULL AND e.status IN ('queued', 'running') AND NOT e.waiting`,
    values: [
      rows.map((row) => row.partitionAt),
      rows.map((row) => row.id),
      rows.map((row) => row.workflowId),
      rows.map((row) => row.runId),
    ],
  });
}

/** True when the row has a run already, or needs none any more. */
export async function executionIsStarted(database: Queryable, row: Pick<StartedRow, 'partitionAt' | 'id'>): Promise<boolean> {
  const { rowCount } = await database.query({
    name: 'execution-is-unstarted',
    text: `SELECT 1 FROM job_executions e
            WHERE e.partition_at = $1 AND e.id = $2 AND e.run_id IS NULL AND e.status IN ('queued', 'running') AND NOT e.waiting`,
    values: [row.partitionAt, row.id],
  });
  return rowCount === 0;
}

/** What became of watched executions: a wish to cancel, an end from outside, a newer claim. */
export async function interruptedExecutions(
  database: Queryable,
  watched: readonly { partitionAt: Date; id: string; attempt: number }[],
): Promise<{ id: string; attempt: number; cancelled: boolean }[]> {
  const { rows } = await database.query<{ id: string; attempt: number; cancelled: boolean }>({
    name: 'interrupted-executions',
    text: `SELECT e.id, w.attempt, e.cancel_requested_at IS NOT NULL AS cancelled
             FROM unnest($1::timestamptz[], $2::text[], $3::integer[]) AS w(partition_at, id, attempt)
             JOIN job_executions e ON e.partition_at = w.partition_at AND e.id = w.id
            WHERE e.cancel_requested_at IS NOT NULL OR e.status NOT IN ('queued', 'running') OR e.attempt <> w.attempt`,
    values: [watched.map((w) => w.partitionAt), watched.map((w) => w.id), watched.map((w) => w.attempt)],
  });
  return rows;
}
