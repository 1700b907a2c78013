/** Loop: when jobs really run next, where the clock's next slot may be stopped by a calendar or a change of clocks. */
import { nextRunsTake } from '../jobs/calendars/next-runs.ts';
import type { Log } from '../log.ts';
import { inTransaction, type Pool } from '../postgres.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const JOBS = 200;

export function createNextRuns(deps: { pool: Pool; servers: Servers; log: Log; intervalMs?: number }): Loop {
  const { pool, servers, log, intervalMs = 1_000 } = deps;
  return createLoop({
    name: 'next-runs',
    intervalMs,
    needs: ['Postgres'],
    servers,
    log,
    async pass() {
      // rows that somebody else writes just now are skipped, so that two controllers share the work
      const settled = await inTransaction(pool, (tx) => nextRunsTake(tx, JOBS));
      return settled === JOBS ? 'again' : undefined;
    },
  });
}
