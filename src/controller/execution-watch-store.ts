/** Statements by which the controller finds executions that nobody moves any more. They read every team: the controller serves all. */
import type { ExecutionStart } from '../jobs/execution-store.ts';
import { inTransaction, type Pool, type Queryable } from '../postgres.ts';

/**
 * Rows that may run and of which no workflow is known, although their start should be over for `olderThanMs`: each with a workflow of its own, and one of each pool.
 * Soonest due first.
 * @param except workflow ids that are left out.
 */
export async function executionsUnstarted(
  database: Queryable,
  olderThanMs: number,
  limit: number,
  except: readonly string[] = [],
): Promise<ExecutionStart[]> {
  const found = await database.query<{ start: ExecutionStart }>(
    `SELECT start FROM (
       (SELECT start_of(e) AS start, e.due_at FROM job_executions e
         WHERE e.finished_at IS NULL AND NOT e.waiting AND e.run_id IS NULL AND e.created_at < now() - make_interval(secs => $1 / 1000.0)
           AND e.dispatch = 'dedicated' AND e.workflow_id <> ALL ($3::text[])
         ORDER BY e.due_at LIMIT $2)
       UNION ALL
       (SELECT start_of(e), p.due_at
          FROM (SELECT e.workflow_id, min(e.due_at) AS due_at FROM job_executions e
                 WHERE e.status IN ('queued', 'running') AND NOT e.waiting AND e.run_id IS NULL AND e.created_at < now() - make_interval(secs => $1 / 1000.0)
                   AND e.dispatch = 'pooled' AND e.workflow_id <> ALL ($3::text[])
                 GROUP BY e.workflow_id ORDER BY min(e.due_at) LIMIT $2) p
         CROSS JOIN LATERAL (SELECT e.* FROM job_executions e
                 WHERE e.workflow_id = p.workflow_id AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND NOT e.waiting AND e.run_id IS NULL
                 ORDER BY e.due_at LIMIT 1) e)) unstarted
      ORDER BY due_at LIMIT $2`,
    [olderThanMs, limit, except],
  );
  return found.rows.map((row) => row.start);
}

/** Jobs with waiting rows and nothing that they could wait for: nothing active, and no freeze (in a job with `allow_all` only a freeze makes them wait). */
export async function jobsWaitingForNothing(database: Queryable, limit: number): Promise<{ team: string; job_id: string }[]> {
  const found = await database.query<{ team: string; job_id: string }>(
    `SELECT r.team, r.job_id FROM job_runtime r
      WHERE (r.active <= 0 OR r.overlap = 'allow_all') AND r.waiting > 0
        AND r.job_id IN (SELECT e.job_id FROM job_executions e WHERE e.waiting AND e.finished_at IS NULL)
        AND (freeze_holding(r.team, r.job_id, clock_timestamp())).id IS NULL
      LIMIT $1`,
    [limit],
  );
  return found.rows;
}

/** Lets a job's next waiting row start, under the job's lock; null when something is active after all. */
export async function releaseNext(pool: Pool, job: { team: string; job_id: string }): Promise<ExecutionStart | null> {
  return inTransaction(pool, async (transaction) => {
    await transaction.query('SELECT 1 FROM job_runtime WHERE job_id = $1 AND team = $2 FOR UPDATE', [job.job_id, job.team]);
    const released = await transaction.query<{ released: ExecutionStart | null }>('SELECT release_next($2, $1) AS released', [
      job.job_id,
      job.team,
    ]);
    return released.rows[0]?.released ?? null;
  });
}

export type WatchedExecution = {
  team: string;
  /** For a pool, of any one of its rows. */
  id: string;
  partition_at: Date;
  workflow_id: string;
  run_id: string;
  dispatch: 'dedicated' | 'pooled';
};

/** Unfinished rows whose workflow should be at work for `olderThanMs` or longer, oldest first; of a pool's run one row. */
export async function executionsUnfinished(database: Queryable, olderThanMs: number, limit: number): Promise<WatchedExecution[]> {
  const found = await database.query<WatchedExecution>(
    `(SELECT e.team, e.id, e.partition_at, e.workflow_id, e.run_id, e.dispatch FROM job_executions e
       WHERE e.finished_at IS NULL AND NOT e.waiting AND e.run_id IS NOT NULL AND e.dispatch = 'dedicated'
         AND greatest(e.due_at, e.created_at) < now() - make_interval(secs => $1 / 1000.0)
       ORDER BY e.created_at LIMIT $2)
     UNION ALL
     (SELECT DISTINCT ON (e.workflow_id, e.run_id) e.team, e.id, e.partition_at, e.workflow_id, e.run_id, e.dispatch FROM job_executions e
       WHERE e.status IN ('queued', 'running') AND NOT e.waiting AND e.run_id IS NOT NULL AND e.dispatch = 'pooled'
         AND greatest(e.due_at, e.created_at) < now() - make_interval(secs => $1 / 1000.0)
       ORDER BY e.workflow_id, e.run_id, e.id)`,
    [olderThanMs, limit],
  );
  return found.rows;
}

/** The unfinished rows of one run of a pool. */
export async function executionsOfPoolRun(
  database: Queryable,
  of: Pick<WatchedExecution, 'team' | 'workflow_id' | 'run_id'>,
): Promise<WatchedExecution[]> {
  const found = await database.query<WatchedExecution>(
    `SELECT e.team, e.id, e.partition_at, e.workflow_id, e.run_id, e.dispatch FROM job_executions e
      WHERE e.workflow_id = $1 AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.run_id = $2 AND e.team = $3 ORDER BY e.id`,
    [of.workflow_id, of.run_id, of.team],
  );
  return found.rows;
}

/** The rows among these that have ended as terminated. */
export async function executionsTerminated(database: Queryable, rows: WatchedExecution[]): Promise<Set<string>> {
  const found = await database.query<{ id: string }>(
    `SELECT e.id FROM unnest($1::timestamptz[], $2::text[]) AS w (partition_at, id)
       CROSS JOIN LATERAL (SELECT e.id, e.status FROM job_executions e WHERE e.partition_at = w.partition_at AND e.id = w.id LIMIT 1) e
      WHERE e.status = 'terminated'`,
    [rows.map((row) => row.partition_at), rows.map((row) => row.id)],
  );
  return new Set(found.rows.map((row) => row.id));
}

/**
 * Takes the workflow away from unfinished rows because it ended, or vanished, without a record; they are started again then: one row, or all of a pool's run. Nothing happens to
 * those that another run has taken meanwhile, or that have ended. Returns whether there was any.
 */
export async function executionForgetRun(database: Queryable, row: WatchedExecution): Promise<boolean> {
  const updated = await database.query(
    row.dispatch === 'pooled'
      ? `UPDATE job_executions SET run_id = NULL
          WHERE workflow_id = $1 AND dispatch = 'pooled' AND team = $2 AND run_id = $3 AND status IN ('queued', 'running') AND NOT waiting`
      : `UPDATE job_executions SET run_id = NULL
          WHERE partition_at = $4 AND id = $1 AND team = $2 AND run_id = $3 AND status IN ('queued', 'running') AND NOT waiting`,
    row.dispatch === 'pooled' ? [row.workflow_id, row.team, row.run_id] : [row.id, row.team, row.run_id, row.partition_at],
  );
  return (updated.rowCount ?? 0) > 0;
}

/** True while the row is unfinished and still belongs to this run; of a pool any of its rows, because the one that was seen first may have ended since. */
export async function executionIsOfRun(database: Queryable, row: WatchedExecution): Promise<boolean> {
  const found = await database.query(
    row.dispatch === 'pooled'
      ? `SELECT 1 FROM job_executions
          WHERE workflow_id = $1 AND dispatch = 'pooled' AND team = $2 AND run_id = $3 AND status IN ('queued', 'running') AND NOT waiting LIMIT 1`
      : `SELECT 1 FROM job_executions
          WHERE partition_at = $4 AND id = $1 AND team = $2 AND run_id = $3 AND status IN ('queued', 'running') AND NOT waiting`,
    row.dispatch === 'pooled' ? [row.workflow_id, row.team, row.run_id] : [row.id, row.team, row.run_id, row.partition_at],
  );
  return found.rowCount === 1;
}

/** The names under which rows, or pools, have anything unfinished left. */
export async function executionsLeft(
  database: Queryable,
  named: readonly { name: string; row: Pick<WatchedExecution, 'dispatch' | 'workflow_id' | 'partition_at' | 'id'> }[],
): Promise<Set<string>> {
  const found = await database.query<{ name: string }>(
    `SELECT n.name FROM unnest($1::text[], $2::boolean[], $3::text[], $4::timestamptz[], $5::text[]) AS n (name, pooled, workflow_id, partition_at, id)
      WHERE CASE WHEN n.pooled
              THEN EXISTS (SELECT 1 FROM job_executions e WHERE e.workflow_id = n.workflow_id AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running'))
              ELSE EXISTS (SELECT 1 FROM job_executions e WHERE e.partition_at = n.partition_at AND e.id = n.id AND e.status IN ('queued', 'running')) END`,
    [
      named.map(({ name }) => name),
      named.map(({ row }) => row.dispatch === 'pooled'),
      named.map(({ row }) => row.workflow_id),
      named.map(({ row }) => row.partition_at),
      named.map(({ row }) => row.id),
    ],
  );
  return new Set(found.rows.map((one) => one.name));
}

/** Rows told to make room for a newer one (`cancel_other`) that have not gone within `graceMs`. */
export async function executionsOutstaying(database: Queryable, graceMs: number, limit: number): Promise<WatchedExecution[]> {
  const found = await database.query<WatchedExecution>(
    `SELECT e.team, e.id, e.partition_at, e.workflow_id, e.run_id, e.dispatch FROM job_executions e
      WHERE e.finished_at IS NULL AND e.cancel_by = 'almanac: cancel_other'
        AND e.cancel_requested_at < now() - make_interval(secs => $1 / 1000.0)
      LIMIT $2`,
    [graceMs, limit],
  );
  return found.rows;
}
