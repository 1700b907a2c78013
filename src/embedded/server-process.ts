/** One server we started that is not ours in code (Postgres, Temporal): its own process group, its log in a file, stopped by signals. */
import { spawn } from 'node:child_process';
import { chmodSync, closeSync, openSync, renameSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { identityOf, isAlive, type ProcessIdentity } from './process-identity.ts';

/** How a process ended, in words: `exit code 1`, `signal SIGKILL`. */
export type Ended = string;
export type Running = {
  identity: ProcessIdentity;
  /** Settles when the process is gone, whatever the reason. Never rejects. */
  ended: Promise<Ended>;
  /** Ends it and waits until it is gone. */
  stop: () => Promise<void>;
};
/** One way to ask a process to go, and how long it may take before the next, stronger one. */
export type Step = { signal: NodeJS.Signals; withinMs: number };

export type ServerCommand = {
  command: string;
  args: string[];
  directory: string;
  environment: NodeJS.ProcessEnv;
  logFile: string;
  /** Who to run as; absent means as ourselves. */
  user?: { uid: number; gid: number } | undefined;
  stopSteps: Step[];
  /** Told as soon as it exists, before it is ready. */
  onStart?: ((identity: ProcessIdentity) => void) | undefined;
};

/** A log that has grown past this makes room at the next start, bytes. */
const LOG_ROTATE_BYTES = 20 * 1024 * 1024;

/**
 * Starts it apart from the terminal: Ctrl-C goes to the supervisor alone, which then stops its servers in order.
 * @throws Error when the command can't be run.
 */
export async function startServerProcess(server: ServerCommand): Promise<Running> {
  const log = openLog(server.logFile);
  try {
    const child = spawn(server.command, server.args, {
      cwd: server.directory,
      env: server.environment,
      stdio: ['ignore', log, log],
      detached: true,
      ...server.user,
    });
    const ended = new Promise<Ended>((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`));
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    // A process that is gone already has an identity no other can have.
    const identity = identityOf(child.pid!) ?? { pid: child.pid!, began: 'gone' };
    server.onStart?.(identity);
    return { identity, ended, stop: () => endProcess(identity, server.stopSteps, ended) };
  } finally {
    closeSync(log);
  }
}

/** Opens a log for appending, readable by its owner alone; one that has grown large becomes `.1` first. */
export function openLog(file: string): number {
  try {
    if (statSync(file).size > LOG_ROTATE_BYTES) renameSync(file, `${file}.1`);
  } catch {
    // There is none yet.
  }
  const descriptor = openSync(file, 'a', 0o600);
  chmodSync(file, 0o600);
  return descriptor;
}

/** Sends one signal after the other until the process is gone. It may be a child (`ended` known) or an orphan of an earlier start. */
export async function endProcess(identity: ProcessIdentity, steps: Step[], ended?: Promise<unknown>): Promise<void> {
  for (const { signal, withinMs } of [...steps, { signal: 'SIGKILL' as const, withinMs: 10_000 }]) {
    if (!isAlive(identity)) break;
    try {
      process.kill(identity.pid, signal);
    } catch {
      // It went in this very moment.
    }
    if (await goneWithin(identity, withinMs)) break;
  }
  await ended;
}

async function goneWithin(identity: ProcessIdentity, withinMs: number): Promise<boolean> {
  for (const until = Date.now() + withinMs; Date.now() < until; ) {
    if (!isAlive(identity)) return true;
    await sleep(20);
  }
  return !isAlive(identity);
}

/** The last lines of a log, for an error that shows why a server did not come up. */
export async function logTail(file: string, lines = 12): Promise<string> {
  try {
    const handle = await open(file);
    try {
      const { size } = await handle.stat();
      const length = Math.min(size, 8_192);
      const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
      return buffer.toString('utf8').trimEnd().split('\n').slice(-lines).join('\n');
    } finally {
      await handle.close();
    }
  } catch {
    return '';
  }
}
