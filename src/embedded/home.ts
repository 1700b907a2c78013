/** ALMANAC_HOME: where an instance keeps its data, keys, logs, and notes about the processes it has started. */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export type Home = ReturnType<typeof openHome>;

/** Makes the folder where needed. Others may pass through (Postgres' own user must), but not look around; root needs that only. */
export function openHome(given: string) {
  const folder = path.resolve(given);
  const at = (...parts: string[]) => path.join(folder, ...parts);
  if (!existsSync(folder)) mkdirSync(folder, { recursive: true });
  chmodSync(folder, process.getuid?.() === 0 ? 0o711 : 0o700);
  for (const inner of ['logs', 'run', 'temporal', 'cache']) mkdirSync(at(inner), { recursive: true, mode: 0o700 });
  return {
    folder,
    keyFile: at('admin-key'),
    temporalDatabase: at('temporal', 'temporal.db'),
    cache: at('cache'),
    runFile: (name: string) => at('run', `${name}.json`),
    lockFile: at('run', 'lock'),
    logFile: (name: string) => at('logs', `${name}.log`),
    logs: at('logs'),
  };
}

/** The first admin key: the one given, else the one kept, else a new one. It is kept in a file that its owner alone can read. */
export function adminKey(home: Home, given: string | undefined): string {
  const kept = existsSync(home.keyFile) ? readFileSync(home.keyFile, 'utf8').trim() : '';
  const key = given ?? (kept.length >= 32 ? kept : `alm_${randomBytes(24).toString('base64url')}`);
  if (key !== kept) writeFileSync(home.keyFile, `${key}\n`, { mode: 0o600 });
  chmodSync(home.keyFile, 0o600);
  return key;
}
