/** Statements of the full sweep: all clocks in pages, and marking those whose schedule is not as the row says. */
import type { Queryable } from '../../postgres.ts';

/** A clock that was reconciled or written less than this ago is left alone: Temporal's list is behind by so much. */
const LIST_LAG = `interval '15 seconds'`;

/** Ids of clocks that Temporal should have for a while, in pages ordered by id. */
export async function clocksExpectedAfter(database: Queryable, afterId: string, limit: number): Promise<string[]> {
  const found = await database.query<{ id: string }>(
    `SELECT id FROM clocks
      WHERE id > $1 AND deleted_at IS NULL AND generation = observed_generation AND reconcile_at < now() - ${LIST_LAG}
      ORDER BY id LIMIT $2`,
    [afterId, limit],
  );
  return found.rows.map((row) => row.id);
}

/** Which of these ids have a row, tombstones included. Always on the primary. */
export async function clocksKnown(database: Queryable, clockIds: string[]): Promise<Set<string>> {
  const found = await database.query<{ id: string }>('SELECT id FROM clocks WHERE id = ANY ($1::text[])', [clockIds]);
  return new Set(found.rows.map((row) => row.id));
}

/** Confirmed tombstones among these ids, confirmed long enough ago that Temporal's list should not show them any more. */
export async function tombstonesConfirmed(database: Queryable, clockIds: string[]): Promise<string[]> {
  const found = await database.query<{ id: string }>(
    `SELECT id FROM clocks WHERE id = ANY ($1::text[]) AND deleted_at IS NOT NULL AND generation = observed_generation AND reconcile_at < now() - ${LIST_LAG}`,
    [clockIds],
  );
  return found.rows.map((row) => row.id);
}

/**
 * Says that Temporal does not have these clocks as they are, so that they are reconciled at once. `missing`: it does not have them at all.
 * Clocks that were written meanwhile are left alone. Returns how many were marked.
 */
export async function clocksMarkUntrue(database: Queryable, clockIds: string[], missing: boolean): Promise<number> {
  const marked = await database.query(
    `UPDATE clocks SET observed_generation = CASE WHEN $2 THEN 0 ELSE generation - 1 END, reconcile_at = now() - interval '1 minute'
      WHERE id = ANY ($1::text[]) AND generation = observed_generation AND reconcile_at < now() - ${LIST_LAG}`,
    [clockIds, missing],
  );
  return marked.rowCount ?? 0;
}
