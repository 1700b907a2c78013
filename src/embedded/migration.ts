/** Brings the database up to date by the entry that does it, and remembers for which migrations and which database that was done. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { run } from './run.ts';

const MIGRATED_WITHIN_MS = 120_000;

export type MigrationOptions = {
  directory: string;
  entry: string;
  /** With DATABASE_URL. */
  environment: NodeJS.ProcessEnv;
  noteFile: string;
  signal: AbortSignal;
};

export function migration({ directory, entry, environment, noteFile, signal }: MigrationOptions) {
  const { host, pathname } = new URL(environment.DATABASE_URL!);
  // The embedded server may get another port at every start; its data is the same.
  const database = host.startsWith('127.0.0.1:') ? pathname : `${host}${pathname}`;
  const hash = createHash('sha256').update(database);
  const folder = path.join(directory, 'migrations');
  for (const file of readdirSync(folder).sort()) hash.update(file).update(readFileSync(path.join(folder, file)));
  const digest = hash.digest('hex');
  return {
    /** It was done before, so that running it again will most likely change nothing. */
    wasDone: noted(noteFile) === digest,
    /** @throws Error with the last lines of the entry. */
    run: async (): Promise<void> => {
      try {
        await run(process.execPath, [entry], { directory, environment, withinMs: MIGRATED_WITHIN_MS, signal });
      } catch (error) {
        throw new Error(`The database could not be brought up to date: ${error instanceof Error ? error.message : error}`);
      }
      writeFileSync(noteFile, digest, { mode: 0o600 });
    },
  };
}

function noted(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
