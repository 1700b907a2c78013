/** Statements by which the controller finds operations that nobody sees through, and forgets old ones. They read every team: the controller serves all. */
import type { Queryable } from '../../postgres.ts';

/** Unfinished operations that nobody looks after: each is given to the caller for `leaseMs`. */
export async function operationsUnattended(database: Queryable, limit: number, leaseMs: number): Promise<{ team: string; id: string }[]> {
  const { rows } = await database.query<{ team: string; id: string }>({
    name: 'operations-unattended',
    text: `UPDATE operations o SET look_at = clock_timestamp() + make_interval(secs => $2 / 1000.0)
            WHERE o.id IN (SELECT u.id FROM operations u WHERE u.finished_at IS NULL AND u.look_at <= clock_timestamp() ORDER BY u.look_at LIMIT $1 FOR UPDATE SKIP LOCKED)
           RETURNING o.team, o.id`,
    values: [limit, leaseMs],
  });
  return rows;
}

/** Gives back operations whose workflow could not be started: somebody is to look at them again after `ms`. */
export async function operationsRelease(database: Queryable, ids: readonly string[], ms: number): Promise<void> {
  await database.query({
    name: 'operations-release',
    text: `UPDATE operations SET look_at = clock_timestamp() + make_interval(secs => $2 / 1000.0) WHERE id = ANY ($1::text[]) AND finished_at IS NULL`,
    values: [ids, ms],
  });
}

/**
 * Deletes operations that ended so long ago, with their items; the executions they made stay. Backfills are kept as long as executions are: by their items is known which slots
 * were backfilled. @returns how many
 */
export async function operationsForget(database: Queryable, days: number, backfillDays: number, limit: number): Promise<number> {
  const gone = await database.query({
    name: 'operations-forget',
    text: `DELETE FROM operations WHERE id IN (
             SELECT o.id FROM operations o
              WHERE o.finished_at < now() - make_interval(days => CASE o.kind WHEN 'backfill' THEN $2::integer ELSE $1::integer END) ORDER BY o.finished_at LIMIT $3)`,
    values: [days, backfillDays, limit],
  });
  return gone.rowCount ?? 0;
}
