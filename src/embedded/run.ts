/** Runs a command to its end. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export type RunOptions = {
  environment?: NodeJS.ProcessEnv;
  directory?: string;
  withinMs: number;
  signal?: AbortSignal;
  onLine?: (line: string) => void;
};

/**
 * In a process group of its own, so that Ctrl-C does not end it behind our back; when we are told to stop, the whole group goes.
 * @returns what it wrote, both streams together.
 * @throws Error with its last lines when it fails, does not end in time or can't be run.
 */
export async function run(command: string, args: string[], options: RunOptions): Promise<string> {
  options.signal?.throwIfAborted();
  const child = spawn(command, args, {
    cwd: options.directory,
    env: options.environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      options.onLine?.(line);
    });
  }
  const end = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // It is gone already.
    }
  };
  const timer = setTimeout(end, options.withinMs);
  options.signal?.addEventListener('abort', end, { once: true });
  // A group of its own also outlives us unless it is taken along.
  process.once('exit', end);
  try {
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (...how) => resolve(how));
    });
    options.signal?.throwIfAborted();
    if (code === 0) return lines.join('\n');
    throw new Error(`it ended with ${signal ? `signal ${signal}` : `exit code ${code}`}: ${lines.slice(-8).join(' | ')}`);
  } finally {
    process.off('exit', end);
    options.signal?.removeEventListener('abort', end);
    clearTimeout(timer);
  }
}
