/** Child processes of the bench: each logs into a file, says so when it ends by itself, and none outlives the bench. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { treeOf } from './process-tree.ts';

const STOP_MS = 30_000;

export type Process = {
  name: string;
  child: ChildProcess;
  logFile: string;
  /** SIGTERM, and SIGKILL when that is not enough; SIGKILL at once, to everything it has started, when it was begun with `tree`. */
  stop: () => Promise<void>;
  alive: () => boolean;
  /** From now on its end is no news. */
  expectEnd: () => void;
};

const running = new Set<Process>();

/** Stops what still runs, newest first. */
export async function stopAll(): Promise<void> {
  for (const process of [...running].reverse()) await process.stop();
}

export function startProcess(
  name: string,
  command: string,
  args: string[],
  logFile: string,
  env: NodeJS.ProcessEnv,
  { tree = false } = {},
): Process {
  const log = openSync(logFile, 'a');
  const child = spawn(command, args, { env, stdio: ['ignore', log, log] });
  closeSync(log);
  const alive = () => child.exitCode === null && child.signalCode === null;
  let wanted = true;
  child.once('error', (error) => console.error(`${name} could not be started: ${error.message}`));
  child.once('exit', (code, signal) => {
    running.delete(started);
    if (wanted) console.error(`${name} ended by itself (${signal ?? code}); its last words, from ${logFile}:\n${lastWords(logFile)}`);
  });
  const started: Process = {
    name,
    child,
    logFile,
    alive,
    expectEnd: () => {
      wanted = false;
    },
    stop: async () => {
      wanted = false;
      if (!alive()) return;
      const gone = once(child, 'exit');
      // A whole instance is stopped here only when its row has failed: nothing in it is worth an orderly end.
      for (const pid of tree ? treeOf(child.pid!) : [child.pid!]) signalTo(pid, tree ? 'SIGKILL' : 'SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await gone;
      clearTimeout(timer);
    },
  };
  running.add(started);
  return started;
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // has ended already
  }
}

const lastWords = (file: string): string => readFileSync(file, 'utf8').split('\n').slice(-15).join('\n');

/**
 * Asks until the answer is yes.
 * @param question an error counts as no.
 * @throws when that takes longer than `limitMs`, or `process` has ended.
 */
export async function until(
  what: string,
  limitMs: number,
  question: () => Promise<boolean>,
  process?: Process,
  everyMs = 50,
): Promise<void> {
  const startedAt = performance.now();
  let last: unknown;
  for (;;) {
    try {
      if (await question()) return;
    } catch (error) {
      last = error;
    }
    if (process && !process.alive()) throw new Error(`${what}: ${process.name} has ended`);
    if (performance.now() - startedAt > limitMs) throw new Error(`${what}: not within ${limitMs} ms`, { cause: last });
    await sleep(everyMs);
  }
}
