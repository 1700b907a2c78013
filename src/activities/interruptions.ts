/**
 * Tells calls in flight to stop. Cancel and terminate are columns of the row (semantics.md 15): one look per process and half second asks
 * for all calls that have lasted a while, so that short calls cost nothing and a thousand long ones cost one statement.
 */
import { interruptedExecutions } from '../jobs/execution-store.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';

const LOOK_EVERY_MS = 500;

/** Why a call was told to stop: somebody cancelled it, or its row is no longer this call's. */
export class Interruption extends Error {
  override name = 'Interruption';
  readonly wish: 'cancelled' | 'fenced';
  constructor(wish: 'cancelled' | 'fenced') {
    super(wish === 'cancelled' ? 'the execution was cancelled' : 'the execution was ended or taken over elsewhere');
    this.wish = wish;
  }
}

type Watched = { partitionAt: Date; id: string; attempt: number; since: number; controller: AbortController };

export type Watch = { signal: AbortSignal; end: () => void; abort: (reason: unknown) => void };

export type Interruptions = ReturnType<typeof createInterruptions>;

export function createInterruptions({ pool, log }: { pool: Pool; log: Log }) {
  const watched = new Map<string, Watched>();
  const keyOf = (call: { id: string; attempt: number }) => `${call.id}#${call.attempt}`;
  let looking = false;

  async function look(): Promise<void> {
    const before = Date.now() - LOOK_EVERY_MS / 2;
    const lasting = [...watched.values()].filter((call) => call.since < before);
    if (looking || lasting.length === 0) return;
    looking = true;
    try {
      for (const row of await interruptedExecutions(pool, lasting)) {
        watched.get(keyOf(row))?.controller.abort(new Interruption(row.cancelled ? 'cancelled' : 'fenced'));
      }
    } catch (error) {
      log.debug({ error: String(error) }, 'could not look for cancelled executions');
    } finally {
      looking = false;
    }
  }

  const timer = setInterval(() => void look(), LOOK_EVERY_MS);
  timer.unref();

  return {
    /** A signal that fires when the call should stop; its reason is an Interruption, or what `abort` was told. Call `end` when the call is over. */
    watch(call: { partitionAt: Date; id: string; attempt: number }): Watch {
      const controller = new AbortController();
      const key = keyOf(call);
      watched.set(key, { ...call, since: Date.now(), controller });
      return { signal: controller.signal, end: () => watched.delete(key), abort: (reason) => controller.abort(reason) };
    },
    close(): void {
      clearInterval(timer);
    },
  };
}
