/** Where the embedded mode keeps things: this instance's data, and the cache that all of a user's clones share. */
import { accessSync, constants, statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

/** Files of one instance below ALMANAC_HOME. */
export function placesOf(home: string) {
  const at = (...parts: string[]) => join(resolve(home), ...parts);
  return {
    home: resolve(home),
    instance: at('instance.json'),
    processes: at('processes.json'),
    adminKey: at('admin-key'),
    postgresPassword: at('postgres-password'),
    postgresData: at('postgres'),
    temporalFile: at('temporal.db'),
    logs: at('logs'),
    log: (name: string) => at('logs', `${name}.log`),
  };
}
export type Places = ReturnType<typeof placesOf>;

/** The per-user cache (XDG Base Directory Specification), for what is fetched or built once. */
export function cacheFolder(environment: NodeJS.ProcessEnv): string {
  return join(environment.XDG_CACHE_HOME || join(homedir() || tmpdir(), '.cache'), 'almanac');
}

/** True when every folder on the way to a path lets any user through; a server that may not run as root needs that. */
export function isReachableByAll(path: string): boolean {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    try {
      if ((statSync(folder).mode & 0o001) === 0) return false;
    } catch {
      // what does not exist yet will be made reachable
    }
    if (folder === dirname(folder)) return true;
  }
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
