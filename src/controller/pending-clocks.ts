/** Loop: clocks whose last change is not known to be true in Temporal yet. The process that wrote one tries first; this loop finishes what that could not. */

import { clocksTakePending } from '../jobs/clocks/clock-store.ts';
import type { Reconciler } from '../jobs/clocks/reconcile.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { createHints } from './hints.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import { together } from './together.ts';

/** Channel of hints: the payload is the id of a clock that was written and that nobody reconciles right now (`Prefer: respond-async`). */
export const CLOCKS_CHANNEL = 'almanac_clocks';
/** The writer of a clock has this long to reconcile it itself, milliseconds: a little over its budget. */
const FRESH_MS = 1_200;
/** For this long nobody else takes a clock that was taken, milliseconds. */
const LEASE_MS = 15_000;
/** Hints kept between two passes; more are found by looking. */
const MOST_HINTED = 1_000;

/** @param deps.concurrency clocks reconciled at the same time, so that the API's own calls to Temporal keep their share. */
export function createPendingClocks(deps: { pool: Pool; reconciler: Reconciler; servers: Servers; log: Log; concurrency: number }): Loop {
  const { pool, reconciler, servers, log, concurrency } = deps;
  const batch = concurrency * 8;
  let hinted = new Set<string>();

  const loop = createLoop({
    name: 'pending-clocks',
    intervalMs: 1_000,
    needs: ['Postgres', 'Temporal'],
    servers,
    log,
    async pass(signal) {
      const asked = [...hinted];
      hinted = new Set();
      const taken = await clocksTakePending(pool, { limit: batch, freshMs: FRESH_MS, leaseMs: LEASE_MS, hinted: asked });
      const goOn = () => !servers.temporal.isAway() && !servers.postgres.isAway();
      await together(taken, concurrency, async (id) => void (await reconciler.reconcileClock(id, signal)), { signal, goOn });
      return taken.length === batch ? 'again' : undefined;
    },
  });
  const hints = createHints(pool, CLOCKS_CHANNEL, (clockId) => {
    if (clockId && hinted.size < MOST_HINTED) hinted.add(clockId);
    loop.wake();
  });

  return {
    ...loop,
    start() {
      loop.start();
      hints.start();
    },
    async stop() {
      await Promise.all([hints.stop(), loop.stop()]);
    },
  };
}
