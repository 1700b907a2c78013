/** Reading executions: lists by keyset, one row, its attempts. Lists come from the table, never from Temporal. */
import type { Queryable } from '../postgres.ts';
import { EXECUTION_COLUMNS, type ExecutionRow } from './execution-view.ts';

export type ExecutionFilter = {
  jobId?: string | undefined;
  status?: readonly string[] | undefined;
  trigger?: readonly string[] | undefined;
  queue?: string | undefined;
  reason?: string | undefined;
  /** The backfill or bulk operation that asked for them. */
  operationId?: string | undefined;
  /** Half-open range of slot or creation time, by which executions are kept. */
  from?: Date | undefined;
  to?: Date | undefined;
  /** Substring of the job's name, any case. */
  q?: string | undefined;
};
export type ExecutionQuery = ExecutionFilter & { team: string; limit: number; after?: ExecutionKey | undefined };
/** Where a page ended: time and id, newest first. Both never change, so pages neither repeat nor lose rows while executions run. */
export type ExecutionKey = { at: string; id: string };

/** Which of a team's executions are meant, as conditions on `job_executions e`. `value` takes a value and answers its place. */
export function executionConditions(team: string, query: ExecutionFilter, value: (given: unknown) => string): string[] {
  const where = [`e.team = ${value(team)}`];
  if (query.jobId) where.push(`e.job_id = ${value(query.jobId)}`);
  if (query.status) where.push(`e.status = ANY(${value(query.status)})`);
  if (query.trigger) where.push(`e.trigger = ANY(${value(query.trigger)})`);
  if (query.queue) where.push(`e.queue = ${value(query.queue)}`);
  if (query.reason) where.push(`e.reason = ${value(query.reason)}`);
  // as the index says it
  if (query.operationId) where.push(`e.operation_id = ${value(query.operationId)} AND e.operation_id IS NOT NULL`);
  if (query.from) where.push(`e.partition_at >= ${value(query.from)}`);
  if (query.to) where.push(`e.partition_at < ${value(query.to)}`);
  if (query.q) where.push(`e.job_name ILIKE ${value(`%${query.q.replaceAll(/[\\%_]/g, '\\$&')}%`)}`);
  return where;
}

/** A page of executions, newest first. */
export async function findExecutions(
  database: Queryable,
  query: ExecutionQuery,
): Promise<{ rows: ExecutionRow[]; next: ExecutionKey | null }> {
  const values: unknown[] = [];
  const value = (given: unknown) => `$${values.push(given)}`;
  const where = executionConditions(query.team, query, value);
  if (query.after) {
    const at = value(query.after.at);
    where.push(`e.partition_at <= ${at}::timestamptz AND (e.partition_at, e.id) < (${at}::timestamptz, ${value(query.after.id)})`);
  }
  const { rows } = await database.query<ExecutionRow>(
    `SELECT ${EXECUTION_COLUMNS} FROM job_executions e WHERE ${where.join(' AND ')}
      ORDER BY e.partition_at DESC, e.id DESC LIMIT ${value(query.limit + 1)}`,
    values,
  );
  const page = rows.slice(0, query.limit);
  const last = page.at(-1);
  return { rows: page, next: rows.length > query.limit && last ? { at: last.partition_at.toISOString(), id: last.id } : null };
}

export async function findExecution(
  database: Queryable,
  key: { team: string; partitionAt: Date; id: string },
): Promise<ExecutionRow | null> {
  const { rows } = await database.query<ExecutionRow>({
    name: 'find-execution',
    text: `SELECT ${EXECUTION_COLUMNS} FROM job_executions e WHERE e.partition_at = $2 AND e.id = $3 AND e.team = $1`,
    values: [key.team, key.partitionAt, key.id],
  });
  return rows[0] ?? null;
}

export type AttemptRow = {
  attempt: number;
  status: string;
  started_at: Date;
  finished_at: Date;
  response_status: number | null;
  error: { type: string; message: string } | null;
  worker: string | null;
};

export async function findAttempts(database: Queryable, key: { team: string; partitionAt: Date; id: string }): Promise<AttemptRow[]> {
  const { rows } = await database.query<AttemptRow>(
    `SELECT attempt, status, started_at, finished_at, response_status, error, worker FROM job_attempts
      WHERE partition_at = $2 AND execution_id = $3 AND team = $1 ORDER BY attempt`,
    [key.team, key.partitionAt, key.id],
  );
  return rows;
}

/** The newest executions of a job that can be retried: ended without success. */
export async function findRetryable(database: Queryable, team: string, jobId: string): Promise<ExecutionRow | null> {
  const { rows } = await database.query<ExecutionRow>(
    `SELECT ${EXECUTION_COLUMNS} FROM job_executions e
      WHERE e.team = $1 AND e.job_id = $2 AND e.status IN ('failed', 'timed_out', 'cancelled', 'terminated')
      ORDER BY e.partition_at DESC, e.id DESC LIMIT 1`,
    [team, jobId],
  );
  return rows[0] ?? null;
}

/** The job behind an id or name: its id, and whether its definition still stands. A deleted job is found by id as long as executions tell of it. */
export async function findJobOfExecutions(
  database: Queryable,
  team: string,
  idOrName: string,
): Promise<{ id: string; name: string } | null> {
  const { rows } = await database.query<{ id: string; name: string }>({
    name: 'find-job-of-executions',
    text: `(SELECT j.id, j.name FROM jobs j WHERE j.team = $1 AND (j.id = $2 OR (j.name = $2 AND j.deleted_at IS NULL)) LIMIT 1)
           UNION ALL
           (SELECT e.job_id, e.job_name FROM job_executions e WHERE e.team = $1 AND e.job_id = $2 ORDER BY e.partition_at DESC LIMIT 1)
           LIMIT 1`,
    values: [team, idOrName],
  });
  return rows[0] ?? null;
}

/** The input of a revision: what an execution without input of its own was given. */
export async function inputOfRevision(database: Queryable, team: string, jobId: string, generation: string): Promise<unknown> {
  const { rows } = await database.query<{ input: unknown }>(
    'SELECT document -> $4 AS input FROM job_revisions WHERE team = $1 AND job_id = $2 AND generation = $3',
    [team, jobId, generation, 'input'],
  );
  return rows[0]?.input ?? null;
}
