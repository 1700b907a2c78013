/** Statements that write operations: the row, its items, what became of each, its end. Reading them for people is in operation-queries.ts. */
import type { Transaction } from '../../postgres.ts';
import { newOperationId } from '../ids.ts';
import type { JobSlot } from './expected-slots.ts';

export const JOB_ACTIONS = ['pause', 'resume', 'trigger', 'delete', 'change'] as const;
export const EXECUTION_ACTIONS = ['retry', 'cancel', 'terminate'] as const;
export const BULK_ACTIONS = [...JOB_ACTIONS, ...EXECUTION_ACTIONS] as const;
export type BulkAction = (typeof BULK_ACTIONS)[number];
export type OperationKind = BulkAction | 'backfill';

export const OPERATION_STATES = ['queued', 'running', 'completed', 'aborted'] as const;
export type OperationState = (typeof OPERATION_STATES)[number];

/**
 * `succeeded`: done. `unchanged`: there was nothing to do. `skipped`: an execution was asked for and its job's overlap policy left it out. `refused`: a rule forbids it; `code` says
 * which. `failed`: it was tried and went wrong. `aborted`: the operation ended before its turn.
 */
export const ITEM_RESULTS = ['pending', 'succeeded', 'unchanged', 'skipped', 'refused', 'failed', 'aborted'] as const;
export type ItemResult = (typeof ITEM_RESULTS)[number];

/** Most items of one operation: what is more is cut into several. */
export const MOST_ITEMS = 100_000;

export type NewOperation = {
  team: string;
  kind: OperationKind;
  jobId: string | null;
  /** Of a backfill of many jobs: the freeze, or the bulk resume, whose catch-up it is. */
  origin?: string | null;
  asked: unknown;
  params: unknown;
  reason: string | null;
  ratePerMinute: number | null;
  requestedBy: string;
  requestId: string | null;
};

/** Writes the row; `itemsOf` are to be written with it. @returns its id */
export async function operationInsert(tx: Transaction, operation: NewOperation, total: number): Promise<string> {
  const id = newOperationId();
  await tx.query({
    name: 'operation-insert',
    text: `INSERT INTO operations (id, team, kind, job_id, asked, params, reason, rate_per_minute, total, requested_by, request_id, origin, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp())`,
    values: [
      id,
      operation.team,
      operation.kind,
      operation.jobId,
      JSON.stringify(operation.asked),
      JSON.stringify(operation.params),
      operation.reason,
      operation.ratePerMinute,
      total,
      operation.requestedBy,
      operation.requestId,
      operation.origin ?? null,
    ],
  });
  return id;
}

/** Slots of jobs in the order of work, behind the first `behind` items. */
export async function slotItemsInsert(
  tx: Transaction,
  team: string,
  operationId: string,
  behind: number,
  slots: readonly JobSlot[],
): Promise<void> {
  await tx.query({
    name: 'operation-slots-insert',
    text: `INSERT INTO operation_items (operation_id, position, team, job_id, slot)
           SELECT $2, $3 + s.position, $1, s.job_id, s.slot FROM unnest($4::text[], $5::timestamptz[]) WITH ORDINALITY AS s (job_id, slot, position)`,
    values: [team, operationId, behind, slots.map(({ jobId }) => jobId), slots.map(({ slot }) => slot)],
  });
}

/** An operation as the worker sees it. */
export type OperationRow = {
  id: string;
  team: string;
  kind: OperationKind;
  job_id: string | null;
  params: unknown;
  reason: string | null;
  rate_per_minute: number | null;
  state: OperationState;
  requested_by: string;
  request_id: string | null;
  /** How long its rate still keeps it waiting, milliseconds; not more than 0: it may go on. */
  wait_ms: number;
};

/** Locks an operation that is worked on, so that one pass at a time is made of it, and says that somebody looks after it for the next `leaseMs`. Null: there is none. */
export async function operationTake(tx: Transaction, team: string, id: string, leaseMs: number): Promise<OperationRow | null> {
  const { rows } = await tx.query<OperationRow>({
    name: 'operation-take',
    text: `UPDATE operations o
              SET look_at = clock_timestamp() + make_interval(secs => $3 / 1000.0), started_at = coalesce(o.started_at, clock_timestamp()),
                  state = CASE WHEN o.state = 'queued' THEN 'running' ELSE o.state END
            WHERE o.id = $2 AND o.team = $1
           RETURNING o.id, o.team, o.kind, o.job_id, o.params, o.reason, o.rate_per_minute, o.state, o.requested_by, o.request_id,
                     (extract(epoch FROM o.next_at - clock_timestamp()) * 1000)::double precision AS wait_ms`,
    values: [team, id, leaseMs],
  });
  return rows[0] ?? null;
}

export type OperationItem = { position: number; job_id: string; execution_id: string | null; slot: Date | null };

/** The next items in the order of work. The caller holds the operation's lock. */
export async function itemsPending(tx: Transaction, team: string, operationId: string, limit: number): Promise<OperationItem[]> {
  const { rows } = await tx.query<OperationItem>({
    name: 'operation-items-pending',
    text: `SELECT i.position, i.job_id, i.execution_id, i.slot FROM operation_items i
            WHERE i.operation_id = $2 AND i.team = $1 AND i.result = 'pending' ORDER BY i.position LIMIT $3`,
    values: [team, operationId, limit],
  });
  return rows;
}

/** What became of an item. */
export type ItemOutcome = {
  position: number;
  result: Exclude<ItemResult, 'pending' | 'aborted'>;
  made?: string | null;
  code?: string | null;
  message?: string | null;
};

const LONGEST_MESSAGE = 1_000;

/** Writes what became of items, and what the rate makes of it. The caller holds the operation's lock. */
export async function itemsDone(
  tx: Transaction,
  operation: Pick<OperationRow, 'team' | 'id'>,
  outcomes: readonly ItemOutcome[],
): Promise<void> {
  if (outcomes.length === 0) return;
  await tx.query({
    name: 'operation-items-done',
    text: `WITH told AS (
             SELECT d.position, d.result, d.made, d.code, d.message
               FROM unnest($3::integer[], $4::text[], $5::text[], $6::text[], $7::text[]) AS d (position, result, made, code, message)
           ), written AS (
             UPDATE operation_items i SET result = d.result, made = d.made, code = d.code, message = d.message, done_at = clock_timestamp()
               FROM told d WHERE i.operation_id = $2 AND i.team = $1 AND i.position = d.position AND i.result = 'pending'
             RETURNING i.result
           ), counted AS (
             SELECT sum(c.of_result)::integer AS done, jsonb_object_agg(c.result, c.of_result) AS results
               FROM (SELECT w.result, count(*)::integer AS of_result FROM written w GROUP BY w.result) c
           )
           UPDATE operations o
              SET done = o.done + n.done,
                  outcomes = o.outcomes || (SELECT jsonb_object_agg(r.key, coalesce((o.outcomes ->> r.key)::integer, 0) + r.value::integer) FROM jsonb_each_text(n.results) r),
                  next_at = greatest(o.next_at, clock_timestamp()) + make_interval(secs => coalesce(60.0 * n.done / o.rate_per_minute, 0)),
                  waiting_for = NULL
             FROM counted n
            WHERE o.id = $2 AND o.team = $1 AND n.done > 0`,
    values: [
      operation.team,
      operation.id,
      outcomes.map((one) => one.position),
      outcomes.map((one) => one.result),
      outcomes.map((one) => one.made ?? null),
      outcomes.map((one) => one.code ?? null),
      outcomes.map((one) => one.message?.slice(0, LONGEST_MESSAGE) ?? null),
    ],
  });
}

/** Says why it does not go on just now. */
export async function operationWaits(tx: Transaction, operation: Pick<OperationRow, 'team' | 'id'>, waitingFor: string): Promise<void> {
  await tx.query({
    name: 'operation-waits',
    text: 'UPDATE operations SET waiting_for = $3 WHERE id = $2 AND team = $1 AND waiting_for IS DISTINCT FROM $3',
    values: [operation.team, operation.id, waitingFor],
  });
}

/** Nothing of it is left. */
export async function operationComplete(
  tx: Transaction,
  operation: Pick<OperationRow, 'team' | 'id'>,
): Promise<{ total: number; outcomes: unknown }> {
  const { rows } = await tx.query<{ total: number; outcomes: unknown }>({
    name: 'operation-complete',
    text: `UPDATE operations SET state = 'completed', waiting_for = NULL, finished_at = clock_timestamp() WHERE id = $2 AND team = $1 RETURNING total, outcomes`,
    values: [operation.team, operation.id],
  });
  return rows[0]!;
}

/** Ends an unfinished operation: what has not had its turn never will. @returns false when it has ended already, null when there is none. */
export async function operationAbort(tx: Transaction, team: string, id: string, by: string): Promise<boolean | null> {
  const found = await tx.query<{ open: boolean }>({
    name: 'operation-lock',
    text: 'SELECT finished_at IS NULL AS open FROM operations WHERE id = $2 AND team = $1 FOR UPDATE',
    values: [team, id],
  });
  const open = found.rows[0]?.open ?? null;
  if (open !== true) return open;
  await tx.query({
    name: 'operation-abort',
    text: `WITH left_over AS (
             UPDATE operation_items SET result = 'aborted', done_at = clock_timestamp() WHERE operation_id = $2 AND team = $1 AND result = 'pending' RETURNING position
           )
           UPDATE operations SET state = 'aborted', waiting_for = NULL, finished_at = clock_timestamp(), aborted_by = $3,
                  outcomes = outcomes || jsonb_build_object('aborted', (SELECT count(*) FROM left_over))
            WHERE id = $2 AND team = $1`,
    values: [team, id, by],
  });
  return true;
}
