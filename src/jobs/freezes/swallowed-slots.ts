/** The slots that a freeze has swallowed: admit counts them as it goes, and the end of the freeze counts them again (settlement-plan.ts). */
import type { Queryable } from '../../postgres.ts';

export type SwallowedSlots = {
  count: number;
  /** Jobs that have lost any. */
  jobs: number;
  /** False: of some job there are more than anybody counts; `count` of them at least. */
  exact: boolean;
};

/** Of one freeze, so far: in stretches, and one by one where a slot was due before the freeze and came in it. */
export async function swallowedSlots(database: Queryable, freezeId: string): Promise<SwallowedSlots> {
  const { rows } = await database.query<SwallowedSlots>(
    `SELECT coalesce(sum(s.count), 0)::float8 AS count, count(DISTINCT s.job_id)::float8 AS jobs, count(*) FILTER (WHERE s.count IS NULL) = 0 AS exact
       FROM (SELECT g.job_id, g.count FROM slot_ranges g WHERE g.freeze_id = $1
             UNION ALL
             SELECT e.job_id, 1 FROM job_executions e WHERE e.freeze_id = $1 AND e.status = 'skipped') s`,
    [freezeId],
  );
  return rows[0]!;
}
