/**
 * One of Almanac's own processes as a child of the supervisor: its log lines go to a file and past `onLine`, it is ready when it says so, and a
 * channel between the two tells it when the supervisor is gone (src/process-lifetime.ts).
 */
import { spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { identityOf, type ProcessIdentity } from './process-identity.ts';
import { type Ended, endProcess, openLog, type Running, type Step } from './server-process.ts';

export type NodeChildOptions = {
  name: string;
  /** Path of the entry, from `directory`. */
  entry: string;
  nodeOptions: string[];
  directory: string;
  environment: NodeJS.ProcessEnv;
  logFile: string;
  /** Every line it writes, as it is. */
  onLine: (line: string) => void;
  /** Called as soon as it exists, before it is ready. */
  onStart?: (identity: ProcessIdentity) => void;
  signal?: AbortSignal;
};

/** Processes drain for up to 30 s when they are told to stop. */
export const NODE_STOP: Step[] = [{ signal: 'SIGTERM', withinMs: 32_000 }];
const READY_WITHIN_MS = 90_000;
const READY = '"msg":"ready"';

/**
 * Starts it; resolves when it has said that it is ready.
 * @throws Error with its last lines when it ends before that, or is not ready in time.
 */
export async function startNodeChild(options: NodeChildOptions): Promise<Running> {
  options.signal?.throwIfAborted();
  const log = openLog(options.logFile);
  const child = spawn(process.execPath, [...options.nodeOptions, options.entry], {
    cwd: options.directory,
    env: options.environment,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // A group of its own: Ctrl-C goes to the supervisor alone.
    detached: true,
  });
  const last: string[] = [];
  let isReady = false;
  let onReady = () => {};
  const ready = new Promise<void>((resolve) => {
    onReady = () => {
      isReady = true;
      resolve();
    };
  });
  for (const stream of [child.stdout!, child.stderr!]) {
    createInterface({ input: stream }).on('line', (line) => {
      writeSync(log, `${line}\n`);
      last.push(line);
      if (last.length > 15) last.shift();
      if (line.includes(READY)) onReady();
      // What it cries out before it is ready becomes the error below.
      if (isReady || line.startsWith('{')) options.onLine(line);
    });
  }
  const ended = new Promise<Ended>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    // After `close` nothing more is written.
    child.once('close', (code, signal) => {
      closeSync(log);
      resolve(signal ? `signal ${signal}` : `exit code ${code}`);
    });
  });
  const identity = identityOf(child.pid ?? 0) ?? { pid: child.pid ?? 0, began: 'gone' };
  options.onStart?.(identity);
  const stop = () => endProcess(identity, NODE_STOP, ended);

  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Ended>((resolve) => {
    timer = setTimeout(() => resolve(`it was not ready within ${READY_WITHIN_MS / 1_000} s`), READY_WITHIN_MS);
  });
  const aborted = new Promise<Ended>((resolve) => {
    options.signal?.addEventListener('abort', () => resolve('it was told to stop'), { once: true });
  });
  const problem = await Promise.race([ready.then(() => null), ended, late, aborted]);
  clearTimeout(timer);
  if (problem === null) return { identity, ended, stop };
  await stop();
  throw new Error(`${options.name} did not start (${problem}). Its last lines, from ${options.logFile}:\n${last.map(words).join('\n')}`);
}

/** A line of a log as a person wants to read it in an error. */
function words(line: string): string {
  try {
    const { level, msg, error } = JSON.parse(line) as Record<string, unknown>;
    return `  ${level}: ${msg}${error ? ` (${typeof error === 'string' ? error : JSON.stringify(error)})` : ''}`;
  } catch {
    return `  ${line}`;
  }
}
