/** Statements of the controller that keep notifications in order: whose successes are asked for, and old deliveries and events gone. */
import { inTransaction, type Pool, type Queryable } from '../../postgres.ts';

/** Between the two looks at a team's jobs, for those that were being made during the first. */
const AGAIN_S = 60;

/** Looks through some jobs whose service's or team's rules have changed. @returns true when there is more to look through at once */
export function recountSome(pool: Pool, limit: number): Promise<boolean> {
  return inTransaction(pool, async (tx) => {
    const { rows } = await tx.query<{ team: string; service: string; after_id: string }>(
      'SELECT team, service, after_id FROM notify_recounts WHERE due_at <= now() ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED',
    );
    const [due] = rows;
    if (!due) return false;
    const jobs = await tx.query<{ id: string }>(
      `SELECT j.id FROM jobs j WHERE j.team = $1 AND j.id > $3 AND ($2 = '' OR j.service = $2) ORDER BY j.id LIMIT $4`,
      [due.team, due.service, due.after_id, limit],
    );
    const ids = jobs.rows.map((row) => row.id);
    await tx.query('SELECT keep_notify_succeeded($1::text[])', [ids]);
    if (ids.length === limit) {
      await tx.query('UPDATE notify_recounts SET after_id = $3 WHERE team = $1 AND service = $2', [due.team, due.service, ids.at(-1)]);
      return true;
    }
    await tx.query(
      `WITH done AS (
         DELETE FROM notify_recounts WHERE team = $1 AND service = $2 AND passes <= 1
       )
       UPDATE notify_recounts SET passes = passes - 1, after_id = '', due_at = now() + make_interval(secs => $3)
        WHERE team = $1 AND service = $2 AND passes > 1`,
      [due.team, due.service, AGAIN_S],
    );
    return true;
  });
}

/** Deletes deliveries that have ended, and events that were taken, before so many days; a batch of each. @returns how many deliveries */
export async function deliveriesExpire(database: Queryable, keepDays: number, limit: number): Promise<number> {
  const gone = await database.query(
    `DELETE FROM deliveries WHERE id IN (
       SELECT id FROM deliveries WHERE finished_at < now() - make_interval(days => $1) ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
    [keepDays, limit],
  );
  return gone.rowCount ?? 0;
}

/** The same for events. They are looked at in their order, so that a table full of younger ones costs nothing. */
export async function eventsExpire(database: Queryable, keepDays: number, limit: number): Promise<number> {
  const gone = await database.query(
    `DELETE FROM job_events e USING (SELECT id, at, taken_at FROM job_events ORDER BY id LIMIT $2) oldest
      WHERE e.id = oldest.id AND oldest.taken_at IS NOT NULL AND oldest.at < now() - make_interval(days => $1)`,
    [keepDays, limit],
  );
  return gone.rowCount ?? 0;
}

/** Mutes that are over, and alerts of jobs that are gone: nothing recovers them any more. */
export async function restsExpire(database: Queryable): Promise<void> {
  await database.query(`DELETE FROM job_mutes WHERE muted_until < now() - interval '1 day'`);
  await database.query('DELETE FROM open_alerts a WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = a.job_id)');
}
