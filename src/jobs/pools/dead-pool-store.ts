/** The statements by which a worker takes over pools that died with another one. They read every team: a worker serves all of its queues. */
import type { Queryable, Transaction } from '../../postgres.ts';

/** Waits until nobody else takes over pools, five seconds at most; held until the transaction ends. */
export async function lockTakeOver(transaction: Transaction): Promise<void> {
  await transaction.query(`SET LOCAL lock_timeout = '5s'`);
  await transaction.query(`SELECT pg_advisory_xact_lock(hashtextextended('almanac-dead-pools', 0))`);
}

/** A pool with calls under way: what its workflow is, and which parts of which workers have made claims of its unfinished rows, also of those that were put back. */
export type BusyPool = { team: string; pool: string; queue: string; priority: number; clock: string | null; chunks: string[] };

/** The pools of these queues in which calls are under way, or were when their worker died. */
export async function busyPools(database: Queryable, queues: readonly string[]): Promise<BusyPool[]> {
  const { rows } = await database.query<BusyPool>(
    `SELECT e.team, e.workflow_id AS pool, e.queue, min(e.priority) AS priority,
            substring(e.workflow_id FROM '^(clock_[0-9a-f]{32})-[0-9]{4}-') AS clock, array_agg(DISTINCT e.chunk) AS chunks
       FROM job_executions e
      WHERE e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.chunk IS NOT NULL AND e.queue = ANY ($1::text[])
      GROUP BY e.team, e.workflow_id, e.queue
     HAVING bool_or(e.status = 'running')`,
    [queues],
  );
  return rows;
}

/** Gives the unfinished rows of a pool to its new run: nobody's claim is seen in them any more, unless the run has begun them meanwhile. */
export async function giveToRun(database: Queryable, { team, pool, chunks }: BusyPool, runId: string): Promise<void> {
  await database.query(
    `UPDATE job_executions SET run_id = $4, chunk = NULL
      WHERE workflow_id = $2 AND dispatch = 'pooled' AND status IN ('queued', 'running') AND team = $1 AND NOT waiting
        AND (chunk IS NULL OR chunk = ANY ($3::text[]))`,
    [team, pool, chunks, runId],
  );
}
