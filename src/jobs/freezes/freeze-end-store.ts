/** Statements on the end of freezes: which are over, whether all is done, and the note that it is. Every team: the controller serves all. */
import type { Queryable, Transaction } from '../../postgres.ts';
import { ADMITTED_UNTIL } from './settlement-store.ts';

export type OverFreeze = { id: string; reason: string; end: Date };

/** Freezes that are over and not settled, oldest first, and when they were over. */
export async function freezesOver(database: Queryable): Promise<OverFreeze[]> {
  const { rows } = await database.query<OverFreeze>({
    name: 'freezes-over',
    text: `SELECT f.id, f.reason, freeze_end(f) AS end FROM freezes f WHERE f.settled_at IS NULL AND freeze_end(f) <= clock_timestamp() ORDER BY freeze_end(f), f.id`,
  });
  return rows;
}

/** No stretch of a freeze is left, and none can come: no clock of a job that it covers has a slot of its time that nobody has admitted. Alias: f freezes. */
const COMPLETE = `NOT EXISTS (SELECT 1 FROM slot_ranges g WHERE g.freeze_id = f.id AND g.settled_at IS NULL)
        AND NOT EXISTS (
          SELECT 1 FROM clocks c JOIN clock_members m ON m.clock_id = c.id AND m.valid_from < freeze_end(f) AND m.valid_to > f.from_at JOIN jobs j ON j.id = m.job_id
           WHERE (c.team = f.team OR f.scope = 'global') AND freeze_covers(f, j) AND NOT ${ADMITTED_UNTIL('least(m.valid_to, freeze_end(f))')})`;

export async function freezeIsComplete(database: Queryable, id: string): Promise<boolean> {
  // the first is one look into an index, and says no most of the time
  const left = await database.query('SELECT 1 FROM slot_ranges g WHERE g.freeze_id = $1 AND g.settled_at IS NULL LIMIT 1', [id]);
  if (left.rowCount !== 0) return false;
  const complete = await database.query(`SELECT 1 FROM freezes f WHERE f.id = $1 AND freeze_end(f) <= clock_timestamp() AND ${COMPLETE}`, [
    id,
  ]);
  return complete.rowCount === 1;
}

/** Notes that a complete freeze is settled. @returns false: it is not complete, or was settled before. */
export async function freezeSettle(tx: Transaction, id: string): Promise<boolean> {
  const locked = await tx.query(
    `SELECT 1 FROM freezes f WHERE f.id = $1 AND f.settled_at IS NULL AND freeze_end(f) <= clock_timestamp() FOR UPDATE`,
    [id],
  );
  if (locked.rowCount !== 1) return false;
  const settled = await tx.query(
    `UPDATE freezes f SET settled_at = clock_timestamp(), updated_at = clock_timestamp() WHERE f.id = $1 AND ${COMPLETE}`,
    [id],
  );
  if (settled.rowCount !== 1) return false;
  await tx.query(
    `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after)
     SELECT f.team, 'almanac', 'freeze.settled', 'freeze', f.id,
            (SELECT json_build_object('jobs', count(DISTINCT g.job_id), 'slots', coalesce(sum(g.count), 0), 'catchUps', count(DISTINCT g.job_id) FILTER (WHERE g.catch_up_operation IS NOT NULL))
               FROM slot_ranges g WHERE g.freeze_id = f.id)
       FROM freezes f WHERE f.id = $1`,
    [id],
  );
  return true;
}
