/** Statements that end things: clocks without a member, tombstones that Temporal has confirmed, deleted jobs. Locks in the common order: runtime, jobs, clocks. */
import { jobFinish } from '../jobs/job-finish.ts';
import { inTransaction, type Pool, type Queryable } from '../postgres.ts';

/**
 * Notes that a clock has no member any more: paused in Temporal at once, the job finished whose own clock it is if nothing will fire it again. (Members of a shared clock
 * are finished one by one, when their membership ends.) Nothing happens when somebody joined meanwhile.
 * @returns true when the clock was not noted as empty before.
 */
export async function endClock(pool: Pool, clockId: string): Promise<boolean> {
  return inTransaction(pool, async (transaction) => {
    await transaction.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [clockId]);
    await transaction.query('SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE', [clockId]);
    // who joins a shared clock holds its lock until it is a member: the next statement sees it
    await transaction.query('SELECT 1 FROM clocks WHERE id = $1 FOR UPDATE', [clockId]);
    const emptied = await transaction.query<{ team: string }>(
      `UPDATE clocks c SET empty_since = now(), paused = true, generation = c.generation + 1, reconcile_at = now()
        WHERE c.id = $1 AND c.empty_since IS NULL AND c.deleted_at IS NULL
          AND NOT EXISTS (SELECT 1 FROM clock_members m WHERE m.clock_id = c.id AND m.valid_to > now())
       RETURNING c.team`,
      [clockId],
    );
    const team = emptied.rows[0]?.team;
    if (team === undefined) return false;
    await jobFinish(transaction, team, clockId);
    return true;
  });
}

/** Shared clocks that fire for nobody: all their members are paused. */
export async function clocksForNobody(database: Queryable, limit: number): Promise<string[]> {
  const found = await database.query<{ id: string }>(
    `SELECT c.id FROM clocks c
      WHERE c.kind = 'pooled' AND NOT c.paused AND c.empty_since IS NULL AND c.deleted_at IS NULL
        AND NOT EXISTS (
          SELECT 1 FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id WHERE m.clock_id = c.id AND m.valid_to > now() AND r.paused_at IS NULL)
      LIMIT $1`,
    [limit],
  );
  return found.rows.map((row) => row.id);
}

/** Shows such a clock paused in Temporal. Whoever resumes a member, or joins, holds its lock meanwhile, and is seen. */
export async function clockRest(pool: Pool, clockId: string): Promise<boolean> {
  return inTransaction(pool, async (transaction) => {
    await transaction.query('SELECT 1 FROM clocks WHERE id = $1 FOR UPDATE', [clockId]);
    const rests = await transaction.query(
      `UPDATE clocks c SET paused = true, generation = c.generation + 1, reconcile_at = now() - interval '1 minute'
        WHERE c.id = $1 AND NOT c.paused AND c.empty_since IS NULL AND c.deleted_at IS NULL
          AND NOT EXISTS (
            SELECT 1 FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id WHERE m.clock_id = c.id AND m.valid_to > now() AND r.paused_at IS NULL)`,
      [clockId],
    );
    return rests.rowCount === 1;
  });
}

/** Clocks that have had no member for `afterMs`. */
export async function clocksEmpty(database: Queryable, afterMs: number, limit: number): Promise<string[]> {
  const found = await database.query<{ id: string }>(
    `SELECT id FROM clocks WHERE empty_since < now() - make_interval(secs => $1 / 1000.0) AND deleted_at IS NULL ORDER BY empty_since LIMIT $2`,
    [afterMs, limit],
  );
  return found.rows.map((row) => row.id);
}

/**
 * Makes an empty clock a tombstone, unless somebody joined it. Its row stays locked from the look at its members to the change, and joining locks it too, so that
 * a joiner either comes before and keeps the clock, or after and finds the tombstone (and takes it back by raising the generation).
 */
export async function clockBuryIfEmpty(database: Queryable, clockId: string): Promise<boolean> {
  const buried = await database.query(
    `WITH held AS (SELECT id FROM clocks WHERE id = $1 AND empty_since IS NOT NULL AND deleted_at IS NULL FOR UPDATE)
     UPDATE clocks c SET deleted_at = now(), generation = c.generation + 1, reconcile_at = now() - interval '1 minute' FROM held
      WHERE c.id = held.id AND NOT EXISTS (SELECT 1 FROM clock_members m WHERE m.clock_id = c.id AND m.valid_to > now())`,
    [clockId],
  );
  return buried.rowCount === 1;
}

/** Tombstones whose last slots, those from just before the end, are late by now and have not been looked for. */
export async function clocksToCheckLast(database: Queryable, lateMs: number, limit: number): Promise<string[]> {
  const found = await database.query<{ id: string }>(
    `SELECT id FROM clocks WHERE deleted_at < now() - make_interval(secs => $1 / 1000.0) AND checked_until < deleted_at ORDER BY deleted_at LIMIT $2`,
    [lateMs, limit],
  );
  return found.rows.map((row) => row.id);
}

/** Tombstones whose schedule is known to be gone, for `afterMs`: an execution that was just being admitted still found its membership until then. */
export async function clocksGone(database: Queryable, afterMs: number, limit: number): Promise<string[]> {
  const found = await database.query<{ id: string }>(
    `SELECT id FROM clocks
      WHERE deleted_at < now() - make_interval(secs => $1 / 1000.0) AND generation = observed_generation
        AND reconcile_at < now() - make_interval(secs => $1 / 1000.0) LIMIT $2`,
    [afterMs, limit],
  );
  return found.rows.map((row) => row.id);
}

/** Removes a confirmed tombstone, unless it was taken back. Its memberships stay: they say which slots jobs had there, until retention forgets them or the job is purged. */
export async function clockPurge(database: Queryable, clockId: string): Promise<boolean> {
  const gone = await database.query('DELETE FROM clocks WHERE id = $1 AND deleted_at IS NOT NULL AND generation = observed_generation', [
    clockId,
  ]);
  return gone.rowCount === 1;
}

/**
 * Removes deleted jobs whose own clock is gone, or whose shared one is checked to the end of their membership, and of which nothing is unfinished. Their revisions and
 * executions stay. Returns how many.
 */
export async function jobsPurge(database: Queryable, limit: number): Promise<number> {
  const purged = await database.query(
    `WITH done AS (
       SELECT r.job_id FROM jobs j JOIN job_runtime r ON r.job_id = j.id
        WHERE j.deleted_at IS NOT NULL AND r.active <= 0 AND r.waiting <= 0
          AND NOT EXISTS (SELECT 1 FROM clocks c WHERE c.id = j.id)
          AND NOT EXISTS (SELECT 1 FROM clock_members m JOIN clocks c ON c.id = m.clock_id WHERE m.job_id = j.id AND c.checked_until < m.valid_to)
          AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE e.job_id = j.id AND e.finished_at IS NULL)
        ORDER BY r.job_id LIMIT $1 FOR UPDATE OF r SKIP LOCKED
     ), left_behind AS (
       DELETE FROM clock_members m USING done WHERE m.job_id = done.job_id
     )
     DELETE FROM jobs j USING done WHERE j.id = done.job_id AND j.deleted_at IS NOT NULL`,
    [limit],
  );
  return purged.rowCount ?? 0;
}
