/** Loop: dates of business days by shared calendars are written a few years ahead; with each year another one is added. */
import { holidayJobsReplan } from '../jobs/calendars/holiday-jobs.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

/** @param deps.onRedated clocks wait to be reconciled. */
export function createHolidayYears(deps: { pool: Pool; servers: Servers; log: Log; onRedated: () => void }): Loop {
  const { pool, servers, log, onRedated } = deps;
  let doneIn = 0;
  return createLoop({
    name: 'holiday-years',
    intervalMs: 600_000,
    needs: ['Postgres'],
    servers,
    log,
    async pass() {
      const year = new Date().getUTCFullYear();
      if (doneIn === year) return undefined;
      const redated = await alone(pool, 'holiday-years', () =>
        holidayJobsReplan(pool, null, (job, error) =>
          log.warn({ job, error: error.message }, 'a job keeps its dates: by those of another year it would never run again'),
        ),
      );
      // undefined: another controller is at it, and may die over it
      if (redated === undefined) return undefined;
      doneIn = year;
      if (redated > 0) onRedated();
      return undefined;
    },
  });
}
