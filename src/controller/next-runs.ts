/** Loop: when jobs really run next, where the clock's next slot may be stopped by a calendar or a change of clocks. */
import { holidayJobsReplan } from '../jobs/calendars/holiday-jobs.ts';
import { nextRunsTake } from '../jobs/calendars/next-runs.ts';
import { calendarReplan, calendarsToReplan } from '../jobs/calendars/span-keeping.ts';
import type { Log } from '../log.ts';
import { inTransaction, type Pool } from '../postgres.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const CALENDARS = 20;
const JOBS = 200;

/** @param deps.onRedated clocks wait to be reconciled. */
export function createNextRuns(deps: { pool: Pool; servers: Servers; log: Log; intervalMs?: number; onRedated?: () => void }): Loop {
  const { pool, servers, log, intervalMs = 1_000, onRedated = () => {} } = deps;
  return createLoop({
    name: 'next-runs',
    intervalMs,
    needs: ['Postgres'],
    servers,
    log,
    async pass(signal) {
      for (const calendar of await calendarsToReplan(pool, CALENDARS)) {
        const redated = await holidayJobsReplan(pool, calendar, (job, error) =>
          log.warn(
            { job, calendar: calendar.name, error: error.message },
            'a job keeps its dates: by those of the changed calendar it would never run again',
          ),
        );
        if (redated > 0) onRedated();
        await calendarReplan(pool, calendar);
      }
      if (signal.aborted) return undefined;
      // rows that somebody else writes just now are skipped, so that two controllers share the work
      const settled = await inTransaction(pool, (tx) => nextRunsTake(tx, JOBS));
      return settled === JOBS ? 'again' : undefined;
    },
  });
}
