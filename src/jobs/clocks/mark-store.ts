/** Statements about the marks of timings (migration 0014 says what they are): which are due to be renewed, writing them, and letting clocks know. */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { Timing } from '../time/timing.ts';

export type TimingToMark = { hash: string; timing: Timing; marks_until: Date | null };

/**
 * Locks timings whose marks reach less far than `until`, or of which nobody has worked them out; those that another controller has are left to it.
 * Two statements, because each is a look into the index.
 */
export async function timingsToMark(tx: Transaction, until: Date, limit: number): Promise<TimingToMark[]> {
  const unknown = await tx.query<TimingToMark>(
    'SELECT hash, timing, marks_until FROM timings WHERE marks_until IS NULL LIMIT $1 FOR UPDATE SKIP LOCKED',
    [limit],
  );
  const due = await tx.query<TimingToMark>(
    'SELECT hash, timing, marks_until FROM timings WHERE marks_until < $1 ORDER BY marks_until LIMIT $2 FOR UPDATE SKIP LOCKED',
    [until, limit],
  );
  return [...unknown.rows, ...due.rows];
}

/** Writes a timing's marks from a moment on in place of those that were there, and up to when they are known. */
export async function marksReplace(
  tx: Transaction,
  timing: { hash: string; from: Date; until: Date | 'infinity'; marks: string },
): Promise<void> {
  const { hash, from, until, marks } = timing;
  await tx.query(
    `WITH wanted AS MATERIALIZED (
       SELECT to_timestamp(m.slot) AS slot, m.kind, m.fired FROM json_to_recordset($3::json) AS m (slot bigint, kind text, fired boolean)
     ), gone AS (
       DELETE FROM timing_marks t WHERE t.timing_hash = $1 AND t.slot > $2 AND NOT EXISTS (SELECT 1 FROM wanted w WHERE w.slot = t.slot)
     )
     INSERT INTO timing_marks AS t (timing_hash, slot, kind, fired) SELECT $1, w.slot, w.kind, w.fired FROM wanted w
     ON CONFLICT (timing_hash, slot) DO UPDATE SET kind = excluded.kind, fired = excluded.fired WHERE (t.kind, t.fired) <> (excluded.kind, excluded.fired)`,
    [hash, from, marks],
  );
  await tx.query('UPDATE timings SET marks_until = $2::timestamptz WHERE hash = $1', [hash, until]);
}

export async function clocksOfTimings(database: Queryable, hashes: string[]): Promise<string[]> {
  const found = await database.query<{ id: string }>(
    'SELECT id FROM clocks WHERE timing_hash = ANY ($1::text[]) AND deleted_at IS NULL ORDER BY id',
    [hashes],
  );
  return found.rows.map((row) => row.id);
}

/** Raises clocks whose dated extras have changed, so that they are reconciled; those that somebody has locked are left out, and told apart in the answer. */
export async function clocksRaiseUnlocked(database: Queryable, clockIds: string[]): Promise<Set<string>> {
  const raised = await database.query<{ id: string }>(
    `WITH free AS (SELECT id FROM clocks WHERE id = ANY ($1::text[]) AND deleted_at IS NULL ORDER BY id FOR UPDATE SKIP LOCKED)
     UPDATE clocks c SET generation = c.generation + 1, reconcile_at = now(), failures = 0 FROM free WHERE c.id = free.id RETURNING c.id`,
    [clockIds],
  );
  return new Set(raised.rows.map((row) => row.id));
}

/** The same for one, waiting for whoever has it. */
export async function clockRaiseForMarks(database: Queryable, clockId: string): Promise<void> {
  await database.query(
    'UPDATE clocks SET generation = generation + 1, reconcile_at = now(), failures = 0 WHERE id = $1 AND deleted_at IS NULL',
    [clockId],
  );
}
