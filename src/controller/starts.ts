/**
 * Loop: rows that may run and that nobody has started: the process that admitted them died, Temporal was away, or their start was lost. Also waiting rows that wait
 * for nothing any more (semantics.md 14, 16, 17). One-offs are started as soon as they are seen, however far ahead: Temporal keeps the time.
 */
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { executionsUnstarted, jobsWaitingForNothing, releaseNext } from './execution-watch-store.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import type { StartOne } from './start-one.ts';
import { together } from './together.ts';

/** A row's own process has this long to start it, milliseconds (semantics.md 16). */
const OWN_START_MS = 2_000;
const BATCH = 200;
const WIDTH = 8;

export function createStarts(deps: { pool: Pool; startOne: StartOne; servers: Servers; log: Log }): Loop {
  const { pool, startOne, servers, log } = deps;
  const goOn = () => !servers.temporal.isAway();

  return createLoop({
    name: 'starts',
    intervalMs: 1_000,
    needs: ['Postgres', 'Temporal'],
    servers,
    log,
    pass: async (signal) => {
      const result = await alone(pool, 'starts', async () => {
        for (const job of await jobsWaitingForNothing(pool, BATCH)) {
          const released = await releaseNext(pool, job);
          if (released) log.info({ execution: released.id }, 'a waiting execution had nothing to wait for; it starts now');
        }
        const rows = await executionsUnstarted(pool, OWN_START_MS, BATCH);
        await together(rows, WIDTH, startOne, { signal, goOn });
        return rows.length === BATCH && goOn() ? ('again' as const) : undefined;
      });
      return result;
    },
  });
}
