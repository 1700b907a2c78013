/** What is told to the rows of a pool when its workflow has been started. */
import type { Queryable } from '../postgres.ts';

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
