/**
 * The tables of a month: found in the catalog, looked at, taken out of their parents, put back, dropped. The names of tables come from the catalog by a fixed pattern
 * (archive_tables in migrations/0022), so that they can stand in statements that take no parameters.
 */
import { inTransaction, type Pool, type Queryable } from '../../postgres.ts';
import type { Archive } from './archive-store.ts';

export type MonthTable = {
  month: Date;
  until: Date;
  parent: 'job_executions' | 'job_attempts';
  name: string;
  /** A partition like all others. */
  attached: boolean;
  /** Somebody began to detach it and did not finish: no longer seen through its parent, but not yet a table of its own. */
  pending: boolean;
};
export type Digest = { rows: bigint; digest: bigint };

/** The tables of all months that lie before a moment as a whole, oldest first. */
export async function monthTables(database: Queryable, until: Date): Promise<MonthTable[]> {
  const { rows } = await database.query<MonthTable>('SELECT month, until, parent, name, attached, pending FROM archive_tables($1)', [
    until,
  ]);
  return rows;
}

/** A table as the catalog has it now; null when it is gone. */
export async function tableNow(database: Queryable, { name, until }: MonthTable): Promise<MonthTable | null> {
  return (await monthTables(database, until)).find((table) => table.name === name) ?? null;
}

export async function isEmpty(database: Queryable, table: string): Promise<boolean> {
  const { rows } = await database.query<{ empty: boolean }>('SELECT archive_is_empty($1) AS empty', [table]);
  return rows[0]!.empty;
}

/** An execution of the month that has not ended, or null. */
export async function unfinishedIn(database: Queryable, table: string): Promise<string | null> {
  const { rows } = await database.query<{ id: string | null }>('SELECT archive_unfinished($1) AS id', [table]);
  return rows[0]?.id ?? null;
}

/**
 * A clock of which slots before a moment may still be looked for, or null. Were their month gone, slots that have run would look as if they had not
 * (semantics.md 9): they would run again. One that is about to be purged is checked a last time before.
 */
export async function clockBehind(database: Queryable, until: Date): Promise<string | null> {
  const { rows } = await database.query<{ id: string }>(
    `SELECT id FROM clocks
      WHERE checked_until < $1 AND (deleted_at IS NOT NULL OR next_check_at IS NULL OR next_check_at <= now()) LIMIT 1`,
    [until],
  );
  return rows[0]?.id ?? null;
}

/** What a table holds, read from its first row to its last. */
export async function digestOf(database: Queryable, table: string): Promise<Digest> {
  const { rows } = await database.query<{ held: string; digest: string }>('SELECT held, digest FROM archive_digest($1)', [table]);
  return { rows: BigInt(rows[0]!.held), digest: BigInt(rows[0]!.digest) };
}

/** How long one step waits for those that use the table, milliseconds; then it is tried again with the next pass. */
const PATIENCE_MS = 10_000;

/**
 * Takes a table out of its parent without keeping anybody waiting: CONCURRENTLY locks neither readers nor writers out, it waits for those that began before it. An
 * interrupted one is finished.
 * @throws 55P03 when somebody has used the parent for longer than our patience.
 */
export async function detach(pool: Pool, { parent, name, pending }: MonthTable): Promise<void> {
  const client = await pool.connect();
  try {
    // no transaction block is allowed here, so that the limit is the session's
    await client.query(`SET lock_timeout = ${PATIENCE_MS}`);
    await client.query(`ALTER TABLE ${parent} DETACH PARTITION ${name} ${pending ? 'FINALIZE' : 'CONCURRENTLY'}`);
    await client.query('RESET lock_timeout');
    client.release();
  } catch (error) {
    const reset = await client.query('RESET lock_timeout').then(
      () => undefined,
      (resetError: Error) => resetError,
    );
    client.release(reset);
    throw error;
  }
}

/** Puts a detached table back. Its bounds were kept as a constraint, so that nothing is read for it. */
export async function attach(pool: Pool, { parent, name, month, until }: MonthTable): Promise<void> {
  await inTransaction(pool, async (tx) => {
    await tx.query(`SET LOCAL lock_timeout = ${PATIENCE_MS}`);
    await tx.query(
      `ALTER TABLE ${parent} ATTACH PARTITION ${name} FOR VALUES FROM ('${month.toISOString()}') TO ('${until.toISOString()}')`,
    );
  });
}

/** Takes a transaction back. */
class ChangedError extends Error {
  override name = 'ChangedError';
}

/**
 * Drops the detached tables of an archive, removes the stretches of slots that it holds, and completes it: all or nothing. The archive must be as it was when the tables were
 * compared with it, and hold the very stretches that are removed.
 * @returns false when it is not so: nothing was done.
 */
export async function dropDetached(pool: Pool, archive: Archive, tables: readonly MonthTable[]): Promise<boolean> {
  const dropping = inTransaction(pool, async (tx) => {
    await tx.query(`SET LOCAL lock_timeout = ${PATIENCE_MS}`);
    const same = await tx.query(
      `SELECT 1 FROM archives WHERE id = $1 AND claim = $2 AND state = 'written' AND executions_digest = $3 AND attempts_digest = $4 FOR UPDATE`,
      [archive.id, archive.claim, archive.executions_digest, archive.attempts_digest],
    );
    const names = tables.map(({ name }) => name);
    const attached = await tx.query('SELECT 1 FROM pg_inherits WHERE inhrelid = ANY (SELECT to_regclass(n) FROM unnest($1::text[]) n)', [
      names,
    ]);
    if (same.rowCount !== 1 || attached.rowCount !== 0) throw new ChangedError();
    const taken = await tx.query<{ held: string; digest: string }>('SELECT held, digest FROM archive_take_ranges($1, $2)', [
      archive.month,
      archive.until,
    ]);
    if (taken.rows[0]!.held !== archive.ranges || taken.rows[0]!.digest !== archive.ranges_digest) throw new ChangedError();
    for (const name of names) await tx.query(`DROP TABLE ${name}`);
    await tx.query(`UPDATE archives SET state = 'complete', completed_at = now(), updated_at = now() WHERE id = $1`, [archive.id]);
    return true;
  });
  return await dropping.catch((error: unknown) => {
    if (error instanceof ChangedError) return false;
    throw error;
  });
}
