/** Whether Postgres and Temporal answer: one log line when one goes away and one when it is back, however many loops notice. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';

export type Server = {
  isAway(): boolean;
  /** Somebody got no answer. Starts asking until there is one. */
  noteAway(error: unknown): void;
  /** Somebody got an answer. */
  noteAnswer(): void;
};
export type Servers = { postgres: Server; temporal: Server; stop: () => Promise<void> };

/** How often a server that is away is asked, milliseconds. */
const ASK_EVERY_MS = 1_000;
const ANSWER_WITHIN_MS = 3_000;

/** @param onBack called when a server answers again after it was away; what waits for it may be woken there. */
export function createServers(deps: {
  pool: Pool;
  temporal: Client;
  log: Log;
  onBack: (server: 'Postgres' | 'Temporal') => void;
}): Servers {
  const { pool, temporal, log, onBack } = deps;
  const stopping = new AbortController();
  const asking = new Set<Promise<void>>();

  function watch(name: 'Postgres' | 'Temporal', ask: () => Promise<unknown>): Server {
    let awaySince: number | null = null;

    function back(): void {
      if (awaySince === null) return;
      log.info({ server: name, awayMs: Date.now() - awaySince }, `${name} answers again`);
      awaySince = null;
      onBack(name);
    }

    async function askUntilBack(): Promise<void> {
      while (awaySince !== null && !stopping.signal.aborted) {
        await sleep(ASK_EVERY_MS, undefined, { signal: stopping.signal }).catch(() => {});
        if (stopping.signal.aborted) return;
        if (
          await ask().then(
            () => true,
            () => false,
          )
        )
          back();
      }
    }

    return {
      isAway: () => awaySince !== null,
      noteAnswer: back,
      noteAway(error) {
        if (awaySince !== null || stopping.signal.aborted) return;
        awaySince = Date.now();
        log.warn({ server: name, error: error instanceof Error ? error.message : String(error) }, `${name} is away; waiting for it`);
        const asked = askUntilBack().finally(() => asking.delete(asked));
        asking.add(asked);
      },
    };
  }

  const askPostgres = () => pool.query('SELECT 1');
  const askTemporal = () => temporal.withDeadline(Date.now() + ANSWER_WITHIN_MS, () => temporal.workflowService.getSystemInfo({}));
  return {
    postgres: watch('Postgres', askPostgres),
    temporal: watch('Temporal', askTemporal),
    async stop() {
      stopping.abort();
      await Promise.allSettled([...asking]);
    },
  };
}
