/** Brings a process back whenever it dies, until it is told to stop. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Running } from './server-process.ts';

export type KeepOptions = {
  name: string;
  /** Starts it once; resolves when it is ready. */
  start: (signal: AbortSignal) => Promise<Running>;
  say: { warn: (sentence: string) => void; info: (sentence: string) => void };
  /** Gives up the first start. */
  signal: AbortSignal;
};
export type Kept = {
  /** Stops it for good and waits until it is gone. */
  stop: () => Promise<void>;
  /** The process that runs now; null between two. */
  current: () => Running | null;
};

const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 10_000;
/** Whoever has run this long may die again at once and is brought back at once. */
const STEADY_MS = 30_000;

/**
 * Starts it and keeps it; resolves when it is ready for the first time.
 * @throws what the first start throws: something that never ran is not kept trying.
 */
export async function keepRunning({ name, start, say, signal }: KeepOptions): Promise<Kept> {
  const stopping = new AbortController();
  let running: Running | null = await start(signal);

  const loop = (async () => {
    let waitMs = FIRST_WAIT_MS;
    while (!stopping.signal.aborted) {
      const since = Date.now();
      const how = await running?.ended;
      if (stopping.signal.aborted) return;
      if (running) say.warn(`${name} has ended (${how}); it is started again`);
      running = null;
      if (Date.now() - since > STEADY_MS) waitMs = FIRST_WAIT_MS;
      await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => {});
      waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2);
      if (stopping.signal.aborted) return;
      try {
        running = await start(stopping.signal);
        say.info(`${name} is back`);
      } catch (error) {
        if (!stopping.signal.aborted) say.warn(`${name} could not be started again: ${error instanceof Error ? error.message : error}`);
      }
    }
  })();
  return {
    current: () => running,
    stop: async () => {
      stopping.abort();
      await running?.stop();
      await loop;
      // One that came up in the very moment of the stop.
      await running?.stop();
    },
  };
}
