/** Statements that end things: clocks without a member, tombstones that Temporal has confirmed, deleted jobs. Locks in the common order: runtime, jobs, clocks. */
import { inTransaction, type Pool, type Queryable } from '../postgres.ts';

/**
 * Notes that a clock has no member any more: paused in Temporal at once, its job finished if nothing will fire it again. Nothing happens when somebody joined meanwhile.
 * @returns true when the clock was not noted as empty before.
 */
export async function endClock(pool: Pool, clockId: string): Promise<boolean> {
  return inTransaction(pool, async (transaction) => {
    await transaction.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [clockId]);
    await transaction.query('SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE', [clockId]);
    const emptied = await transaction.query<{ team: string }>(
      `UPDATE clocks c SET empty_since = now(), paused = true, generation = c.generation + 1, reconcile_at = now()
        WHERE c.id = $1 AND c.empty_since IS NULL AND c.deleted_at IS NULL
          AND NOT EXISTS (SELECT 1 FROM clock_members m WHERE m.clock_id = c.id AND m.valid_to > now())
       RETURNING c.team`,
      [clockId],
    );
    const team = emptied.rows[0]?.team;
    if (team === undefined) return false;
    const finished = await transaction.query<{ before: string }>(
      `UPDATE jobs j SET state = 'finished', updated_at = now() FROM (SELECT id, state FROM jobs WHERE id = $1) was
        WHERE j.id = was.id AND j.team = $2 AND j.state IN ('active', 'paused') AND j.deleted_at IS NULL
       RETURNING was.state AS before`,
      [clockId, team],
    );
    if (finished.rows[0]) {
      await transaction.query('UPDATE job_runtime SET next_run_at = NULL WHERE job_id = $1 AND team = $2', [clockId, team]);
      await transaction.query(
        `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, before, after)
         VALUES ($1, 'almanac', 'job.finished', 'job', $2, json_build_object('state', $3::text), json_build_object('state', 'finished'))`,
        [team, clockId, finished.rows[0].before],
      );
    }
    return true;
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

/** Removes a confirmed tombstone with its closed memberships, unless it was taken back. */
export async function clockPurge(pool: Pool, clockId: string): Promise<boolean> {
  return inTransaction(pool, async (transaction) => {
    const gone = await transaction.query<{ team: string }>(
      'DELETE FROM clocks WHERE id = $1 AND deleted_at IS NOT NULL AND generation = observed_generation RETURNING team',
      [clockId],
    );
    if (gone.rowCount !== 1) return false;
    await transaction.query('DELETE FROM clock_members WHERE clock_id = $1 AND team = $2', [clockId, gone.rows[0]!.team]);
    return true;
  });
}

/** Removes deleted jobs whose clock is gone and of which nothing is unfinished. Their revisions and executions stay. Returns how many. */
export async function jobsPurge(database: Queryable, limit: number): Promise<number> {
  const purged = await database.query(
    `WITH done AS (
       SELECT r.job_id FROM jobs j JOIN job_runtime r ON r.job_id = j.id
        WHERE j.deleted_at IS NOT NULL AND r.active <= 0 AND r.waiting <= 0
          AND NOT EXISTS (SELECT 1 FROM clocks c WHERE c.id = j.id OR c.id = j.clock_id)
          AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE e.job_id = j.id AND e.status IN ('queued', 'running'))
        ORDER BY r.job_id LIMIT $1 FOR UPDATE OF r SKIP LOCKED)
     DELETE FROM jobs j USING done WHERE j.id = done.job_id AND j.deleted_at IS NOT NULL`,
    [limit],
  );
  return purged.rowCount ?? 0;
}
