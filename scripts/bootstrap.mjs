/**
 * The way into every command: brings what package.json asks for, then runs an entry on the Node that the project brings.
 * Plain JavaScript for any Node >= 20, with nothing installed.
 *
 *   node scripts/bootstrap.mjs src/main-api.ts [arguments]
 *   node scripts/bootstrap.mjs --test [arguments of node --test]
 *   node scripts/bootstrap.mjs --run tsc -p .            (a command of node_modules/.bin)
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const modules = join(root, 'node_modules');
const stamp = join(modules, '.almanac-installed');
const lock = join(root, '.almanac-install.lock');
const say = (text) => process.stderr.write(`almanac: ${text}\n`);

const [major] = process.versions.node.split('.').map(Number);
if (major < 20) {
  say(`this is Node ${process.versions.node}; Almanac needs Node 20 or newer to set itself up (it then brings its own).`);
  process.exit(1);
}

/** What an installation depends on: the lockfile, the platform, and the C library, which decides the native packages. */
function wanted() {
  const libc = process.report?.getReport?.().header?.glibcVersionRuntime ? 'glibc' : 'other';
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(`${platform()}-${arch()}-${libc}`)
    .digest('hex');
}
const isInstalled = (hash) => existsSync(stamp) && readFileSync(stamp, 'utf8').trim() === hash && existsSync(broughtNode());

/** True when an instance of this checkout runs: its modules must not be pulled away from under it. */
function runningInstance() {
  try {
    const { pid } = JSON.parse(readFileSync(join(process.env.ALMANAC_HOME || join(root, '.almanac'), 'instance.json'), 'utf8'));
    process.kill(pid, 0);
    return pid;
  } catch {
    return null;
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
  const pid = runningInstance();
  if (pid !== null && existsSync(modules)) {
    say(`the packages have changed, but an instance runs from this checkout (pid ${pid}); stop it first.`);
    process.exit(1);
  }
  say('installing packages (once; about a minute) …');
  const npm = process.env.npm_execpath?.endsWith('.js') ? [process.execPath, [process.env.npm_execpath]] : ['npm', []];
  // The machine's own Node comes first on PATH here: install scripts must not meet a half-installed one of ours.
  const environment = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH}`, NODE_ENV: '' };
  const result = spawnSync(npm[0], [...npm[1], 'ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: environment,
  });
  if (result.status !== 0) {
    say(`npm ci failed${result.error ? `: ${result.error.message}` : ''}; see above.`);
    process.exit(result.status || 1);
  }
  ensureNode();
  writeFileSync(stamp, `${hash}\n`);
}

function broughtNode() {
  const exe = platform() === 'win32' ? 'node.exe' : 'node';
  for (const place of [
    join(modules, 'node', 'bin', exe),
    join(modules, `node-${platform()}-${arch()}`, 'bin', exe),
    join(modules, '.almanac-node', 'node_modules', `node-${platform()}-${arch()}`, 'bin', exe),
  ]) {
    if (existsSync(place)) return place;
  }
  return join(modules, 'node', 'bin', exe);
}

/** The binary of the `node` package comes from an install script, which npm may have skipped: then its platform package is installed by name. */
function ensureNode() {
  const { version } = JSON.parse(readFileSync(join(modules, 'node', 'package.json'), 'utf8'));
  const has = spawnSync(broughtNode(), ['-v'], { encoding: 'utf8' });
  if (has.status === 0 && has.stdout.trim() === `v${version}`) return;
  const name = `node-${platform()}-${arch()}`;
  say(`fetching Node ${version} …`);
  const aside = join(modules, '.almanac-node');
  mkdirSync(aside, { recursive: true });
  writeFileSync(join(aside, 'package.json'), '{"private":true}');
  const npm = process.env.npm_execpath?.endsWith('.js') ? [process.execPath, [process.env.npm_execpath]] : ['npm', []];
  spawnSync(npm[0], [...npm[1], 'install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error', `${name}@${version}`], {
    cwd: aside,
    stdio: ['ignore', 2, 2],
  });
  const now = spawnSync(broughtNode(), ['-v'], { encoding: 'utf8' });
  if (now.status !== 0 || now.stdout.trim() !== `v${version}`) {
    say(`Node ${version} could not be installed for ${platform()}-${arch()} (package ${name}).`);
    process.exit(1);
  }
}

const hash = wanted();
if (!isInstalled(hash)) withLock(() => install(hash));

const [first, ...rest] = process.argv.slice(2);
if (!first) process.exit(0);
const node = broughtNode();
let args = [first, ...rest];
if (first === '--run') args = [join(modules, '.bin', rest[0]), ...rest.slice(1)];
else if (first === '--test') args = testArguments(rest);

/** Every test file when none is named, with one set of servers for all of them. */
function testArguments(given) {
  const options = given.filter((argument) => argument.startsWith('-'));
  const files = given.filter((argument) => !argument.startsWith('-'));
  return [
    '--test',
    '--test-global-setup=test/support/global-setup.ts',
    '--test-concurrency=2',
    ...options,
    ...(files.length > 0 ? files : testFiles(join(root, 'test'))),
  ];
}
function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) =>
      entry.isDirectory() ? testFiles(join(folder, entry.name)) : entry.name.endsWith('.test.ts') ? [join(folder, entry.name)] : [],
    )
    .sort();
}

const isScript = first === '--run' && !/^#!.*node/.test(readFileSync(args[0], 'utf8').slice(0, 60));
const child = spawn(isScript ? args[0] : node, isScript ? args.slice(1) : args, {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${dirname(node)}:${join(modules, '.bin')}:${process.env.PATH}` },
});
// Ctrl-C reaches the child by itself (same terminal); a signal sent to this process alone is passed on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal)));
child.on('error', (error) => {
  say(error.message);
  process.exit(1);
});
child.on('exit', (code, signal) => process.exit(signal ? 128 + ({ SIGINT: 2, SIGTERM: 15, SIGKILL: 9, SIGHUP: 1 }[signal] ?? 0) : code));
