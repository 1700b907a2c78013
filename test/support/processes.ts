/** Almanac's own processes as children of a test: started by their entries, ready when they say so, ended without a trace. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const READY_WITHIN_MS = 60_000;

export type LogLine = Record<string, unknown> & { msg?: string };
export type AlmanacProcess = {
  pid: number;
  /** Every line of its log so far. */
  lines: LogLine[];
  /** Settles when a line fits, past or future. */
  line: (fits: (line: LogLine) => boolean) => Promise<LogLine>;
  /** SIGTERM, and waits for its end; answers the exit code. */
  stop: () => Promise<number | null>;
  /** kill -9, and waits for its end. */
  kill: () => Promise<void>;
  ended: Promise<number | null>;
};

/** Starts an entry (`worker`, `api`, `controller`) with these settings alone, and waits for its "ready". */
export async function startProcess(entry: string, settings: Record<string, string>): Promise<AlmanacProcess> {
  const child: ChildProcess = spawn(process.execPath, [`src/main-${entry}.ts`], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...settings },
    // By the channel it notices that this process is gone, however it went, and goes too.
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  child.channel?.unref();
  const lines: LogLine[] = [];
  const waiting = new Set<(line: LogLine) => void>();
  for (const stream of [child.stdout!, child.stderr!]) {
    createInterface({ input: stream }).on('line', (text) => {
      const line = parsed(text);
      lines.push(line);
      for (const tell of waiting) tell(line);
    });
  }
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  const line = (fits: (line: LogLine) => boolean): Promise<LogLine> => {
    const past = lines.find(fits);
    if (past) return Promise.resolve(past);
    return new Promise((resolve, reject) => {
      const tell = (next: LogLine) => {
        if (!fits(next)) return;
        waiting.delete(tell);
        resolve(next);
      };
      waiting.add(tell);
      void ended.then((code) => reject(new Error(`${entry} ended with ${code}: ${JSON.stringify(lines.slice(-5))}`)));
    });
  };
  const timer = setTimeout(() => child.kill('SIGKILL'), READY_WITHIN_MS);
  await line((next) => next.msg === 'ready').finally(() => clearTimeout(timer));
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    return await ended;
  };
  return { pid: child.pid!, lines, line, ended, stop: () => end('SIGTERM'), kill: async () => void (await end('SIGKILL')) };
}

function parsed(text: string): LogLine {
  try {
    const line: unknown = JSON.parse(text);
    return typeof line === 'object' && line !== null ? (line as LogLine) : { msg: text };
  } catch {
    return { msg: text };
  }
}
