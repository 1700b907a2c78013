/**
 * The way into every command: brings what package.json asks for, then runs an entry on the Node that the project brings.
 * Plain JavaScript for any Node >= 20, with nothing installed.
 *
 *   node scripts/bootstrap.mjs src/main-api.ts [arguments]
 *   node scripts/bootstrap.mjs --test [arguments of node --test]
 *   node scripts/bootstrap.mjs --run tsc -p .            (a command of node_modules/.bin)
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { broughtNode, ensurePackages, modules, root, say } from './packages.mjs';

const [major] = process.versions.node.split('.').map(Number);
if (major < 20) {
  say(`this is Node ${process.versions.node}; Almanac needs Node 20 or newer to set itself up (it then brings its own).`);
  process.exit(1);
}

ensurePackages();

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

const isCommand = first === '--run' && !/^#!.*node/.test(readFileSync(args[0], 'utf8').slice(0, 60));
const isEntry = /^src\/main-/.test(first);
const child = spawn(isCommand ? args[0] : node, isCommand ? args.slice(1) : args, {
  cwd: root,
  // An entry has a channel to us: when we are killed it notices, and stops as if told to (src/process-lifetime.ts).
  stdio: isEntry ? ['inherit', 'inherit', 'inherit', 'ipc'] : 'inherit',
  env: {
    ...process.env,
    PATH: [dirname(node), join(modules, '.bin'), process.env.PATH].join(delimiter),
    // Compiled code is kept between two starts: a third less work until a process is ready.
    ...(isEntry ? { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE || join(modules, '.cache', 'node') } : {}),
  },
});
// Ctrl-C reaches the child by itself (same terminal); a signal sent to this process alone is passed on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal)));
// npm, above us, may be killed too, with a shell in between or not. Who is started by hand may outlive the shell, and is only told by signals.
const above = ancestors();
if (isEntry && process.env.npm_lifecycle_event) {
  setInterval(() => {
    if (ancestors() !== above) child.kill('SIGTERM');
  }, 500).unref();
}
/** Our parent and, where that is cheap to learn, its parent. */
function ancestors() {
  try {
    const stat = readFileSync(`/proc/${process.ppid}/stat`, 'latin1');
    return `${process.ppid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]}`;
  } catch {
    return `${process.ppid}`;
  }
}
child.on('error', (error) => {
  say(error.message);
  process.exit(1);
});
child.on('exit', (code, signal) => process.exit(signal ? 128 + (constants.signals[signal] ?? 0) : code));
