/** Statements by which the controller finds jobs of one timing that are to share a clock, or to have one each again (semantics.md 21). They read every team. */
import { type Dispatch, OFTEN } from '../jobs/dispatch-choice.ts';
import { pooledClockId } from '../jobs/ids.ts';
import type { Queryable } from '../postgres.ts';

/** Jobs of one timing that leave the choice to us and whose calls are short. */
export type DispatchGroup = { timing_hash: string; to: Dispatch };

/**
 * Groups that are to move. Up: `from` jobs and more, of which some have a clock of their own. Down: fewer than `below`, of which some share a clock that nobody asked for by
 * name and that does not fire often. A group that turns does so at most once in `holdMs`; one that has turned goes on until all have followed.
 */
export async function groupsToMove(
  database: Queryable,
  limits: { from: number; below: number; holdMs: number; limit: number },
): Promise<DispatchGroup[]> {
  const found = await database.query<DispatchGroup>(
    `WITH sized AS MATERIALIZED (
       SELECT m.timing_hash, count(*) AS jobs, count(*) FILTER (WHERE m.clock_id = m.job_id) AS own
         FROM clock_members m WHERE m.valid_to = 'infinity' GROUP BY m.timing_hash
       HAVING (count(*) >= $1 AND count(*) FILTER (WHERE m.clock_id = m.job_id) > 0) OR count(*) FILTER (WHERE m.clock_id <> m.job_id) BETWEEN 1 AND $2 - 1
     ), groups AS (
       SELECT s.timing_hash,
              count(*) FILTER (WHERE a.auto) AS jobs,
              count(*) FILTER (WHERE a.auto AND m.clock_id = m.job_id) AS own,
              count(*) FILTER (WHERE a.auto AND m.clock_id <> m.job_id AND r.dispatch_reason IS DISTINCT FROM $5) AS shared,
              bool_or(r.dispatch_wish = 'pooled') AS asked
         FROM sized s
         JOIN clock_members m ON m.timing_hash = s.timing_hash AND m.valid_to = 'infinity'
         JOIN job_runtime r ON r.job_id = m.job_id
        CROSS JOIN LATERAL (SELECT r.dispatch_wish = 'auto' AND r.poolable AND r.enabled AS auto) a
        GROUP BY s.timing_hash
     ), wanted AS (
       SELECT g.timing_hash, CASE WHEN g.jobs >= $1 AND g.own > 0 THEN 'pooled' WHEN g.jobs < $2 AND g.shared > 0 AND NOT g.asked THEN 'dedicated' END AS "to"
         FROM groups g
     )
     SELECT w.timing_hash, w."to" FROM wanted w JOIN timings t ON t.hash = w.timing_hash
      WHERE w."to" IS NOT NULL
        AND (t.converted_to IS NOT DISTINCT FROM w."to" OR t.converted_at IS NULL OR t.converted_at <= now() - make_interval(secs => $3 / 1000.0))
      ORDER BY w.timing_hash LIMIT $4`,
    [limits.from, limits.below, limits.holdMs, limits.limit, OFTEN.reason],
  );
  return found.rows;
}

/** Notes that a group turns, before its first job moves: death half-way leaves it to the next pass to go on. */
export async function groupTurn(database: Queryable, { timing_hash: hash, to }: DispatchGroup): Promise<void> {
  await database.query('UPDATE timings SET converted_at = now(), converted_to = $2 WHERE hash = $1 AND converted_to IS DISTINCT FROM $2', [
    hash,
    to,
  ]);
}

/** Jobs of a group that have not followed yet. */
export async function groupJobs(
  database: Queryable,
  { timing_hash: hash, to }: DispatchGroup,
  limit: number,
): Promise<{ id: string; team: string }[]> {
  const found = await database.query<{ id: string; team: string }>(
    `SELECT m.job_id AS id, m.team FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
      WHERE m.timing_hash = $1 AND m.valid_to = 'infinity' AND r.dispatch_wish = 'auto' AND r.poolable AND r.enabled
        AND (m.clock_id = m.job_id) = ($2 = 'pooled')
      ORDER BY m.job_id LIMIT $3`,
    [hash, to, limit],
  );
  return found.rows;
}

/** Whether the shared clock of a timing is there, and whether Temporal is known to have it. */
export async function sharedClockState(database: Queryable, timingHash: string): Promise<'absent' | 'pending' | 'ready'> {
  const found = await database.query<{ ready: boolean }>(
    `SELECT generation = observed_generation AS ready FROM clocks WHERE id = $1 AND deleted_at IS NULL AND empty_since IS NULL`,
    [pooledClockId(timingHash)],
  );
  if (!found.rows[0]) return 'absent';
  return found.rows[0].ready ? 'ready' : 'pending';
}
