/** Loop: when jobs really run next, where the clock's next slot may be stopped by a calendar or a change of clocks. */
import { nextRunsTake } from '../jobs/calendars/next-runs.ts';
import { calendarReplan, calendarsToReplan } from '../jobs/calendars/span-keeping.ts';
import type { Log } from '../log.ts';
import { inTransaction, type Pool } from '../postgres.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const CALENDARS = 20;
const JOBS = 200;

export function createNextRuns(deps: { pool: Pool; servers: Servers; log: Log; intervalMs?: number }): Loop {
  const { pool, servers, log, intervalMs = 1_000 } = deps;
  return createLoop({
    name: 'next-runs',
    intervalMs,
    needs: ['Postgres'],
    servers,
    log,
    async pass(signal) {
      for (const calendar of await calendarsToReplan(pool, CALENDARS)) await calendarReplan(pool, calendar);
      if (signal.aborted) return undefined;
      // rows that somebody else writes just now are skipped, so that two controllers share the work
      const settled = await inTransaction(pool, (tx) => nextRunsTake(tx, JOBS));
      return settled === JOBS ? 'again' : undefined;
    },
  });
}
