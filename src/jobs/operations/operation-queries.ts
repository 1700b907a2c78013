/** Reading operations: lists by keyset, one with what its executions are doing, its items. */
import type { Queryable } from '../../postgres.ts';
import type { ItemResult, OperationKind, OperationState } from './operation-store.ts';

export type OperationRecord = {
  id: string;
  kind: OperationKind;
  job_id: string | null;
  origin: string | null;
  asked: Record<string, unknown>;
  params: Record<string, unknown>;
  reason: string | null;
  rate_per_minute: number | null;
  state: OperationState;
  waiting_for: string | null;
  total: number;
  done: number;
  outcomes: Partial<Record<ItemResult, number>>;
  requested_by: string;
  created_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
  aborted_by: string | null;
};

const COLUMNS = `o.id, o.kind, o.job_id, o.origin, o.asked, o.params, o.reason, o.rate_per_minute, o.state, o.waiting_for, o.total, o.done, o.outcomes, o.requested_by, o.created_at,
  o.started_at, o.finished_at, o.aborted_by`;

export type OperationKey = { at: string; id: string };
export type OperationQuery = {
  kinds: readonly OperationKind[];
  state?: readonly string[] | undefined;
  /** Of which this job is, or was, an item. */
  jobId?: string | undefined;
  limit: number;
  after?: OperationKey | undefined;
};

/** A page of operations, newest first. */
export async function operationsFind(
  database: Queryable,
  team: string,
  query: OperationQuery,
): Promise<{ rows: OperationRecord[]; next: OperationKey | null }> {
  const values: unknown[] = [team, query.kinds];
  const bind = (value: unknown) => `$${values.push(value)}`;
  const where = ['o.team = $1', 'o.kind = ANY ($2::text[])'];
  if (query.state) where.push(`o.state = ANY (${bind(query.state)}::text[])`);
  if (query.jobId !== undefined) {
    const job = bind(query.jobId);
    where.push(`EXISTS (SELECT 1 FROM operation_items i WHERE i.job_id = ${job} AND i.operation_id = o.id AND i.team = $1)`);
  }
  if (query.after) where.push(`(o.created_at, o.id) < (${bind(query.after.at)}::timestamptz, ${bind(query.after.id)}::text)`);
  const { rows } = await database.query<OperationRecord & { key: string }>(
    `SELECT ${COLUMNS}, o.created_at::text AS key FROM operations o WHERE ${where.join(' AND ')} ORDER BY o.created_at DESC, o.id DESC LIMIT ${bind(query.limit + 1)}`,
    values,
  );
  const page = rows.slice(0, query.limit);
  const last = page.at(-1);
  return { rows: page, next: rows.length > query.limit && last ? { at: last.key, id: last.id } : null };
}

/** One of these kinds, or null. */
export async function operationFind(
  database: Queryable,
  team: string,
  kinds: readonly OperationKind[],
  id: string,
): Promise<OperationRecord | null> {
  const { rows } = await database.query<OperationRecord>({
    name: 'operation-find',
    text: `SELECT ${COLUMNS} FROM operations o WHERE o.id = $2 AND o.team = $1 AND o.kind = ANY ($3::text[])`,
    values: [team, id, kinds],
  });
  return rows[0] ?? null;
}

/** How many of the executions that an operation has made have which status now. */
export async function executionsOfOperation(database: Queryable, team: string, id: string): Promise<Record<string, number>> {
  const { rows } = await database.query<{ status: string; count: number }>({
    name: 'executions-of-operation',
    text: `SELECT e.status, count(*)::integer AS count FROM job_executions e WHERE e.operation_id = $2 AND e.team = $1 GROUP BY e.status ORDER BY e.status`,
    values: [team, id],
  });
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
}

export type ItemRecord = {
  position: number;
  job_id: string;
  execution_id: string | null;
  slot: Date | null;
  result: ItemResult;
  made: string | null;
  code: string | null;
  message: string | null;
  done_at: Date | null;
};

/** Items in the order of work. */
export async function itemsFind(
  database: Queryable,
  team: string,
  id: string,
  query: { result?: readonly string[] | undefined; after?: number | undefined; limit: number },
): Promise<{ rows: ItemRecord[]; next: number | null }> {
  const { rows } = await database.query<ItemRecord>({
    name: 'operation-items-find',
    text: `SELECT i.position, i.job_id, i.execution_id, i.slot, i.result, i.made, i.code, i.message, i.done_at FROM operation_items i
            WHERE i.operation_id = $2 AND i.team = $1 AND i.position > $3 AND ($4::text[] IS NULL OR i.result = ANY ($4::text[]))
            ORDER BY i.position LIMIT $5`,
    values: [team, id, query.after ?? 0, query.result ?? null, query.limit + 1],
  });
  const page = rows.slice(0, query.limit);
  return { rows: page, next: rows.length > query.limit ? page.at(-1)!.position : null };
}
