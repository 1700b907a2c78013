/**
 * Tells the schedules of this database from those of another Almanac in the same Temporal namespace: without that each would take the other's for orphans.
 * The mark is made from the moment the first migration ran here: unique, and the same after a backup was restored.
 */
import type { Queryable } from '../../postgres.ts';

export type Installation = () => Promise<string>;

/** Reads the mark once: 8 hex digits. */
export function createInstallation(database: Queryable): Installation {
  let known: Promise<string> | undefined;
  const read = async () => {
    const found = await database.query<{ mark: string }>(
      `SELECT left(md5(name || run_on::text), 8) AS mark FROM schema_migrations ORDER BY id LIMIT 1`,
    );
    const mark = found.rows[0]?.mark;
    if (mark === undefined) throw new Error('no migration has run in this database');
    return mark;
  };
  return () => {
    known ??= read().catch((error: unknown) => {
      known = undefined;
      throw error;
    });
    return known;
  };
}
