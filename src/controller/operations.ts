/** Loop: operations that nobody sees through: just written, or their workflow is lost. Those that ended long ago are forgotten. */
import type { OperationStarts } from '../jobs/operations/operation-starts.ts';
import { operationsForget, operationsRelease, operationsUnattended } from '../jobs/operations/operation-watch-store.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import { together } from './together.ts';

const BATCH = 200;
const WIDTH = 8;
/** A workflow that was started has this long to come to its operation. Milliseconds. */
const LEASE_MS = 15_000;
/** Operations are kept so long after they have ended; their slots say longer what was backfilled. */
const KEEP_DAYS = 90;
const KEEP_BACKFILLS_DAYS = 400;
/** What could not be started is looked at again then, milliseconds. */
const AGAIN_MS = 2_000;
const FORGET_EVERY_MS = 600_000;
const FORGET_AT_ONCE = 20;

export function createOperationLoop(deps: { pool: Pool; starts: Pick<OperationStarts, 'start'>; servers: Servers; log: Log }): Loop {
  const { pool, starts, servers, log } = deps;
  let forgottenAt = 0;
  return createLoop({
    name: 'operations',
    intervalMs: 1_000,
    needs: ['Postgres', 'Temporal'],
    servers,
    log,
    pass: async (signal) => {
      const found = await operationsUnattended(pool, BATCH, LEASE_MS);
      const unstarted = new Set(found.map(({ id }) => id));
      const start = async ({ team, id }: { team: string; id: string }) => {
        if (await starts.start(team, id)) unstarted.delete(id);
      };
      await together(found, WIDTH, start, { signal, goOn: () => !servers.temporal.isAway() });
      if (unstarted.size > 0) await operationsRelease(pool, [...unstarted], AGAIN_MS);
      if (Date.now() - forgottenAt > FORGET_EVERY_MS) {
        const forgotten = await operationsForget(pool, KEEP_DAYS, KEEP_BACKFILLS_DAYS, FORGET_AT_ONCE);
        if (forgotten < FORGET_AT_ONCE) forgottenAt = Date.now();
      }
      return found.length === BATCH ? 'again' : undefined;
    },
  });
}
