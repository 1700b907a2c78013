/** What rows are told of their pool: that its workflow has been started, or that they have another one. */
import type { Queryable } from '../postgres.ts';
import type { StartedRow } from './execution-store.ts';

/** Notes the run of each pool in those of its rows that no run has claimed yet. Many pools, one statement. */
export async function notePoolsStarted(database: Queryable, runs: ReadonlyMap<string, string>): Promise<void> {
  await database.query({
    name: 'note-pools-started',
    text: `UPDATE job_executions e SET run_id = s.run_id
             FROM unnest($1::text[], $2::text[]) AS s(workflow_id, run_id)
            WHERE e.workflow_id = s.workflow_id AND e.dispatch = 'pooled' AND e.status IN ('queued', 'running') AND e.run_id IS NULL AND NOT e.waiting`,
    values: [[...runs.keys()], [...runs.values()]],
  });
}

/** Gives those of a pool's rows to another pool that nobody has begun; answers how many. Whoever begins a row looks at its pool again, so that it is begun in one of both. */
export async function moveToPool(
  database: Queryable,
  rows: readonly Pick<StartedRow, 'partitionAt' | 'id'>[],
  from: string,
  to: string,
): Promise<number> {
  const inOrder = rows.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const { rowCount } = await database.query({
    name: 'move-to-pool',
    text: `UPDATE job_executions e SET workflow_id = $4, run_id = NULL, chunk = NULL
             FROM unnest($1::timestamptz[], $2::text[]) AS m(partition_at, id)
            WHERE e.partition_at = m.partition_at AND e.id = m.id AND e.workflow_id = $3 AND e.status = 'queued' AND e.attempt = 0`,
    values: [inOrder.map((row) => row.partitionAt), inOrder.map((row) => row.id), from, to],
  });
  return rowCount ?? 0;
}
