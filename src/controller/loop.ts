/** The shape of every loop of the controller: look, do what is needed, wait, look again. Never more than one pass at a time. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../log.ts';
import { isPostgresAway } from '../postgres.ts';
import { isTemporalAway, isTemporalUnreachable } from '../temporal.ts';
import type { Servers } from './servers.ts';

export type Loop = {
  name: string;
  start(): void;
  /** Ends the wait before the next pass; while a pass runs, asks for another right after it. A hint: losing it costs one interval. */
  wake(): void;
  /** Resolves when the pass under way has ended; it is asked to stop through its signal. */
  stop(): Promise<void>;
};

/** What a pass tells about itself: `again` means that there was more than it took, so that the next pass follows at once. */
export type PassResult = 'again' | undefined;

/**
 * Makes a loop. Intervals are spread by ±20 %, so that several controllers do not look at the same moment.
 * @param options.needs servers without which a pass makes no sense; while one is away the loop waits for it without a log line of its own.
 * @param options.pass one look; a server that is away ends it by throwing.
 */
export function createLoop(options: {
  name: string;
  intervalMs: number;
  needs: readonly ('Postgres' | 'Temporal')[];
  servers: Servers;
  log: Log;
  pass: (signal: AbortSignal) => Promise<PassResult>;
}): Loop {
  const { name, intervalMs, needs, servers, log, pass } = options;
  const stopping = new AbortController();
  let running: Promise<void> | undefined;
  let woken = false;
  let endWait: () => void = () => {};

  async function once(): Promise<PassResult> {
    try {
      const result = await pass(stopping.signal);
      if (needs.includes('Postgres')) servers.postgres.noteAnswer();
      return result;
    } catch (error) {
      if (stopping.signal.aborted) return undefined;
      if (isPostgresAway(error)) servers.postgres.noteAway(error);
      else if (isTemporalUnreachable(error)) servers.temporal.noteAway(error);
      else if (isTemporalAway(error))
        log.info({ loop: name, error: String(error) }, 'Temporal was too slow for a look; the loop looks again');
      else
        log.error(
          { loop: name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) },
          'a controller loop failed and goes on',
        );
      return undefined;
    }
  }

  async function wait(ms: number): Promise<void> {
    if (woken) return;
    const waiting = new AbortController();
    endWait = () => waiting.abort();
    await sleep(ms, undefined, { signal: AbortSignal.any([waiting.signal, stopping.signal]) }).catch(() => {});
    endWait = () => {};
  }

  async function run(): Promise<void> {
    await wait(Math.random() * Math.min(intervalMs, 500));
    while (!stopping.signal.aborted) {
      woken = false;
      const ready =
        (!needs.includes('Postgres') || !servers.postgres.isAway()) && (!needs.includes('Temporal') || !servers.temporal.isAway());
      const result = ready ? await once() : undefined;
      if (result !== 'again') await wait(Math.min(intervalMs, ready ? intervalMs : 1_000) * (0.8 + Math.random() * 0.4));
    }
  }

  return {
    name,
    start() {
      running ??= run();
    },
    wake() {
      woken = true;
      endWait();
    },
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
