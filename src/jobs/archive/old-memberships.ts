/** Memberships of clocks that ended before everything that is kept: nobody asks any more which slots were expected then. */
import type { Queryable } from '../../postgres.ts';

/** Deletes a batch of memberships of all teams that ended before a moment; those of a clock that has still to look for its slots of that time stay. @returns how many */
export async function membershipsForget(database: Queryable, before: Date, limit: number): Promise<number> {
  const gone = await database.query({
    name: 'memberships-forget',
    text: `DELETE FROM clock_members WHERE (clock_id, job_id, valid_from) IN (
             SELECT m.clock_id, m.job_id, m.valid_from FROM clock_members m
              WHERE m.valid_to < $1 AND NOT EXISTS (SELECT 1 FROM clocks c WHERE c.id = m.clock_id AND c.checked_until < m.valid_to)
              ORDER BY m.valid_to LIMIT $2 FOR UPDATE SKIP LOCKED)`,
    values: [before, limit],
  });
  return gone.rowCount ?? 0;
}
