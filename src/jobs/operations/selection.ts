/** What an operation is about: jobs or executions, named one by one or picked by the filters of their lists; frozen into items when the operation is written. */
import type { Queryable, Transaction } from '../../postgres.ts';
import { type ExecutionFilter, executionConditions } from '../execution-queries.ts';
import { jobIdOf, partitionAtOf } from '../ids.ts';
import { type JobFilter, jobConditions } from '../jobs-list.ts';
import { type BulkAction, MOST_ITEMS } from './operation-store.ts';

export type Selection =
  | { of: 'jobs'; ids: readonly string[] }
  | { of: 'jobs'; filter: JobFilter }
  | { of: 'executions'; ids: readonly string[] }
  | { of: 'executions'; filter: ExecutionFilter };

export type SampleItem = { jobId: string; jobName: string; executionId?: string; status: string };
/** `missing`: of the ids that were named, so many are not there. */
export type Chosen = { count: number; missing: number; sample: SampleItem[] };

const SAMPLE = 10;
/** Of the executions that a filter finds, these can be stopped, or retried. */
const FIT: Partial<Record<BulkAction, string>> = {
  retry: `e.status IN ('failed', 'timed_out', 'cancelled', 'terminated')`,
  cancel: `e.status IN ('queued', 'running')`,
  terminate: `e.status IN ('queued', 'running')`,
};

/** FROM and WHERE of what is selected, oldest first. */
function source(team: string, selection: Selection, action: BulkAction, values: unknown[]): { from: string; order: string } {
  const bind = (value: unknown, type?: string) => `$${values.push(value)}${type ? `::${type}` : ''}`;
  if (selection.of === 'jobs') {
    const conditions = jobConditions(team, 'filter' in selection ? selection.filter : {}, bind as (value: unknown, type: string) => string);
    const ids =
      'ids' in selection ? `JOIN (SELECT DISTINCT u.id FROM unnest(${bind(selection.ids, 'text[]')}) AS u (id)) u ON u.id = j.id` : '';
    return {
      from: `FROM jobs j ${ids} JOIN job_runtime r ON r.job_id = j.id AND r.team = j.team WHERE ${conditions.join(' AND ')}`,
      order: 'j.created_at, j.id',
    };
  }
  if ('filter' in selection) {
    const conditions = [...executionConditions(team, selection.filter, bind), FIT[action] ?? 'true'];
    return { from: `FROM job_executions e WHERE ${conditions.join(' AND ')}`, order: 'e.partition_at, e.id' };
  }
  const known = selection.ids.filter((id) => partitionAtOf(id) !== null);
  const ats = bind(
    known.map((id) => partitionAtOf(id)),
    'timestamptz[]',
  );
  return {
    from: `FROM (SELECT DISTINCT k.at, k.id FROM unnest(${ats}, ${bind(known, 'text[]')}) AS k (at, id)) k
             JOIN LATERAL (SELECT e.* FROM job_executions e WHERE e.partition_at = k.at AND e.id = k.id LIMIT 1) e ON e.team = ${bind(team)}`,
    order: 'e.partition_at, e.id',
  };
}

/** How many are selected, and the first of them. */
export async function selectionCount(database: Queryable, team: string, selection: Selection, action: BulkAction): Promise<Chosen> {
  const values: unknown[] = [];
  const { from, order } = source(team, selection, action, values);
  const columns =
    selection.of === 'jobs'
      ? `j.id AS "jobId", j.name AS "jobName", j.state AS status`
      : `e.job_id AS "jobId", e.job_name AS "jobName", e.id AS "executionId", e.status`;
  const counted = await database.query<{ count: number }>(`SELECT count(*)::integer AS count ${from}`, values);
  const { rows: sample } = await database.query<SampleItem>(`SELECT ${columns} ${from} ORDER BY ${order} LIMIT ${SAMPLE}`, values);
  const count = counted.rows[0]?.count ?? 0;
  return { count, missing: 'ids' in selection ? new Set(selection.ids).size - count : 0, sample };
}

/**
 * Writes the items of an operation. What is named is an item also when it is not there, so that its result says so.
 * @returns how many; more than MOST_ITEMS when they are too many (one more is looked for).
 */
export async function itemsSelect(
  tx: Transaction,
  team: string,
  operationId: string,
  selection: Selection,
  action: BulkAction,
): Promise<number> {
  if ('ids' in selection) return await itemsName(tx, team, operationId, selection);
  const values: unknown[] = [operationId, team, MOST_ITEMS + 1];
  const { from, order } = source(team, selection, action, values);
  const [job, execution] = selection.of === 'jobs' ? ['j.id', 'NULL'] : ['e.job_id', 'e.id'];
  const { rowCount } = await tx.query(
    `INSERT INTO operation_items (operation_id, position, team, job_id, execution_id)
     SELECT $1, row_number() OVER (ORDER BY ${order}), $2, ${job}, ${execution} ${from} ORDER BY ${order} LIMIT $3`,
    values,
  );
  return rowCount ?? 0;
}

async function itemsName(
  tx: Transaction,
  team: string,
  operationId: string,
  { of, ids }: Selection & { ids: readonly string[] },
): Promise<number> {
  const named = [...new Set(ids)];
  const { rowCount } = await tx.query({
    name: 'operation-items-name',
    text: `INSERT INTO operation_items (operation_id, position, team, job_id, execution_id)
           SELECT $2, u.position, $1, u.job_id, u.execution_id FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS u (job_id, execution_id, position)`,
    values: [
      team,
      operationId,
      of === 'jobs' ? named : named.map((id) => jobIdOf(id) ?? id),
      of === 'jobs' ? named.map(() => null) : named,
    ],
  });
  return rowCount ?? 0;
}
