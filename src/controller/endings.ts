/** Loop: what is over goes. Empty clocks after ten minutes, tombstones once Temporal has confirmed them, deleted jobs once nothing of them is left. */
import { clocksToCheckOnce } from '../jobs/clocks/late-slot-store.ts';
import { LATE_AFTER_MS, type LateSlots } from '../jobs/clocks/late-slots.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import {
  clockBuryIfEmpty,
  clockPurge,
  clockRest,
  clocksEmpty,
  clocksForNobody,
  clocksGone,
  clocksToCheckLast,
  jobsPurge,
} from './ending-store.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

/** An empty clock is kept this long: whoever leaves often comes back (semantics.md 8). */
const KEEP_EMPTY_MS = 600_000;
/** A confirmed tombstone is kept this long, for slots that were being admitted when it was made. */
const KEEP_TOMBSTONE_MS = 30_000;
const BATCH = 200;

export function createEndings(deps: {
  pool: Pool;
  lateSlots: LateSlots;
  servers: Servers;
  log: Log;
  keepEmptyMs?: number;
  keepTombstoneMs?: number;
}): Loop {
  const { pool, lateSlots, servers, log, keepEmptyMs = KEEP_EMPTY_MS, keepTombstoneMs = KEEP_TOMBSTONE_MS } = deps;

  /** A job that has left its own clock goes on elsewhere: its last slots here are not to wait until the clock is purged. */
  async function checkLast(): Promise<void> {
    const left = await clocksToCheckLast(pool, LATE_AFTER_MS + 1_000, BATCH);
    if (left.length > 0) await lateSlots.check(await clocksToCheckOnce(pool, left));
  }

  async function purgeClocks(): Promise<void> {
    const gone = await clocksGone(pool, keepTombstoneMs, BATCH);
    if (gone.length === 0) return;
    // the last slots before the end: after the purge nobody could tell that they were expected
    await lateSlots.check(await clocksToCheckOnce(pool, gone));
    for (const clockId of gone) if (await clockPurge(pool, clockId)) log.debug({ clock: clockId }, 'a clock was purged');
  }

  return createLoop({
    name: 'endings',
    intervalMs: 5_000,
    needs: ['Postgres'],
    servers,
    log,
    pass: async () => {
      await alone(pool, 'endings', async () => {
        for (const clockId of await clocksForNobody(pool, BATCH)) await clockRest(pool, clockId);
        for (const clockId of await clocksEmpty(pool, keepEmptyMs, BATCH)) await clockBuryIfEmpty(pool, clockId);
        await checkLast();
        await purgeClocks();
        const purged = await jobsPurge(pool, BATCH);
        if (purged > 0) log.info({ purged }, 'deleted jobs were purged');
      });
      return undefined;
    },
  });
}
