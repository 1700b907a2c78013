/** One process of a quarantine, as its parent holds it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { getHeapStatistics } from 'node:v8';
import type { Log } from '../../log.ts';
import type { TargetOutcome } from '../targets/target-call.ts';
import { logOutput } from './output-lines.ts';
import type { FromQuarantine, QuarantinedCall, QuarantineSettings, ToQuarantine } from './quarantine-messages.ts';

const CHILD = fileURLToPath(new URL('./quarantine-child.ts', import.meta.url));
const READY_WITHIN_MS = 60_000;
/** How long what is left of its calls may go on when it is told to end. */
const END_WITHIN_MS = 1_000;
/** A process that is gone may leave its last words in the pipes; a process it started may hold them open. */
const PIPES_WITHIN_MS = 500;
const LEAST_HEAP_MIB = 512;
const LAST_WORDS = 15;

/** The process of a quarantine can't start, which is nobody's call's fault; the message holds its last words. */
export class QuarantineStartError extends Error {
  override name = 'QuarantineStartError';
}

export type QuarantineProcess = {
  pid: number;
  /** How many calls it was given. */
  calls: () => number;
  /** Its outcome; null when the process is gone without one. The next call comes only after that. */
  call: (call: QuarantinedCall) => Promise<TargetOutcome | null>;
  /** Asks the call under way to stop. */
  cancel: (reason: string) => void;
  /** Settles when it is gone and nothing more comes from it: `exit code 1`, `signal SIGKILL`. Never rejects. */
  ended: Promise<string>;
  /** What it last wrote that was no line of a log. */
  lastWords: () => string[];
  /** Lets it end by itself within a second, else kills it; settles when it is gone. */
  end: () => Promise<void>;
  /** kill -9, with all that it started; settles when it is gone. */
  kill: () => Promise<void>;
};

/**
 * Starts one; resolves when it can take a call.
 * @throws QuarantineStartError, also when `signal` fires before.
 */
export async function startQuarantineProcess(settings: QuarantineSettings, log: Log, signal: AbortSignal): Promise<QuarantineProcess> {
  const child = fork(CHILD, [String(process.pid)], {
    execArgv: [`--max-old-space-size=${heapMib()}`],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // A group of its own: Ctrl-C goes to the worker alone, and a kill takes what the call has started too.
    detached: true,
  });
  const last: string[] = [];
  const own = log.child({ quarantine: child.pid });
  for (const stream of [child.stdout!, child.stderr!]) {
    logOutput(stream, own, (text) => {
      last.push(text);
      if (last.length > LAST_WORDS) last.shift();
    });
  }
  const ended = endOf(child);
  const kill = async () => {
    if (isRunning(child)) killGroup(child);
    await ended;
  };

  const tell = (message: ToQuarantine): void => void child.send(message, () => {});
  tell({ kind: 'open', settings });
  const ready = new Promise<null>((resolve) => child.once('message', () => resolve(null)));
  const starting = new AbortController();
  const late = sleep(READY_WITHIN_MS, `it was not ready within ${READY_WITHIN_MS / 1_000} s`, {
    signal: AbortSignal.any([signal, starting.signal]),
  }).catch(() => 'it was told to stop');
  const problem = await Promise.race([ready, ended, late]);
  starting.abort();
  if (problem !== null) {
    await kill();
    throw new QuarantineStartError([`the quarantine's process did not start (${problem})`, ...last].join('\n'));
  }

  let calls = 0;
  return {
    pid: child.pid!,
    calls: () => calls,
    call: async (call) => {
      calls += 1;
      const answered = Promise.withResolvers<TargetOutcome>();
      const onMessage = (message: FromQuarantine) => {
        if (message?.kind === 'outcome') answered.resolve(message.outcome);
      };
      child.on('message', onMessage);
      tell({ kind: 'call', call });
      return await Promise.race([answered.promise, ended.then(() => null)]).finally(() => child.off('message', onMessage));
    },
    cancel: (reason) => tell({ kind: 'cancel', reason }),
    ended,
    lastWords: () => [...last],
    end: async () => {
      tell({ kind: 'end' });
      await Promise.race([ended, sleep(END_WITHIN_MS, undefined, { ref: false })]);
      await kill();
    },
    kill,
  };
}

const isRunning = (child: ChildProcess): boolean => child.pid !== undefined && child.exitCode === null && child.signalCode === null;

/** It leads its group from its first moment, and until it is reaped no other process can have its id. */
function killGroup(child: ChildProcess): void {
  try {
    process.kill(-child.pid!, 'SIGKILL');
  } catch {
    child.kill('SIGKILL');
  }
}

/** An outcome or a line may still lie in its pipes when a process is gone: `close` comes after the last of them. */
async function endOf(child: ChildProcess): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  child.on('error', (error) => resolve(error.message));
  child.once('exit', (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`));
  const closed = once(child, 'close').catch(() => {});
  const how = await promise;
  await Promise.race([closed, sleep(PIPES_WITHIN_MS, undefined, { ref: false })]);
  child.stdout?.destroy();
  child.stderr?.destroy();
  return how;
}

/** What the worker itself may use, so that a call that fits there fits here; never less than 512 MiB. */
const heapMib = (): number => Math.max(LEAST_HEAP_MIB, Math.floor(getHeapStatistics().heap_size_limit / 2 ** 20));
