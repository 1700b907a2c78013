/**
 * Loop: the jobs of a calendar that was changed. Those that it stops are marked, so that their next runs are looked at (next-runs.ts); those whose business days are counted by it
 * get other dates, one after the other, which may take minutes.
 */
import { holidayJobsReplan } from '../jobs/calendars/holiday-jobs.ts';
import { calendarJobsMark, calendarReplanned, calendarsToReplan } from '../jobs/calendars/span-keeping.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const CALENDARS = 20;

/** @param deps.onMarked next runs are to be looked at; @param deps.onRedated clocks wait to be reconciled. */
export function createCalendarReplans(deps: { pool: Pool; servers: Servers; log: Log; onMarked: () => void; onRedated: () => void }): Loop {
  const { pool, servers, log, onMarked, onRedated } = deps;
  return createLoop({
    name: 'calendar-replans',
    intervalMs: 1_000,
    needs: ['Postgres'],
    servers,
    log,
    async pass(signal) {
      if ((await calendarsToReplan(pool, 1)).length === 0) return undefined;
      return alone(pool, 'calendar-replans', async () => {
        const calendars = await calendarsToReplan(pool, CALENDARS);
        // all are marked before any is redated: that takes moments, and the same again does no harm
        for (const calendar of calendars) await calendarJobsMark(pool, calendar);
        onMarked();
        for (const calendar of calendars) {
          if (signal.aborted) return undefined;
          const redated = await holidayJobsReplan(pool, calendar, (job, error) =>
            log.warn(
              { job, calendar: calendar.name, error: error.message },
              'a job keeps its dates: by those of the changed calendar it would never run again',
            ),
          );
          if (redated > 0) onRedated();
          await calendarReplanned(pool, calendar);
        }
        return calendars.length === CALENDARS ? ('again' as const) : undefined;
      });
    },
  });
}
