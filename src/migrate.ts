/** Brings the database to the newest migration: numbered SQL files, run in order under an advisory lock (node-pg-migrate). */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import type { Log } from './log.ts';
import type { Queryable } from './postgres.ts';

const FOLDER = fileURLToPath(new URL('../migrations', import.meta.url));
const TABLE = 'schema_migrations';

/** Names of all migrations that this code knows, oldest first. */
export const knownMigrations = (): string[] =>
  readdirSync(FOLDER)
    .filter((file) => file.endsWith('.sql'))
    .map((file) => file.slice(0, -'.sql'.length))
    .sort();

/**
 * Runs what has not run yet, each file in its own transaction. Two at once wait for each other.
 * @returns names of the migrations that ran now.
 */
export async function migrate(databaseUrl: string, log: Log): Promise<string[]> {
  const ran = await runner({
    databaseUrl,
    dir: FOLDER,
    direction: 'up',
    migrationsTable: TABLE,
    singleTransaction: false,
    checkOrder: true,
    lockValue: 7_238_217,
    logger: { debug: () => {}, info: () => {}, warn: (text: string) => log.warn(text), error: (text: string) => log.error(text) },
  });
  return ran.map((migration) => migration.name);
}

/** Migrations that this code needs and the database has not. Empty means ready. */
export async function missingMigrations(database: Queryable): Promise<string[]> {
  const exists = await database.query<{ there: boolean }>('SELECT to_regclass($1) IS NOT NULL AS there', [TABLE]);
  if (!exists.rows[0]?.there) return knownMigrations();
  const done = await database.query<{ name: string }>(`SELECT name FROM ${TABLE}`);
  const names = new Set(done.rows.map((row) => row.name));
  return knownMigrations().filter((name) => !names.has(name));
}
