/** Loop: the stretches of calendars that admit reads are kept more than a year ahead, and go when no job reads them any more. */

import { zoneKeep, zonesToKeep } from '../jobs/calendars/span-keeping.ts';
import { JobError } from '../jobs/errors.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const AT_ONCE = 20;

export function createCalendarSpans(deps: { pool: Pool; servers: Servers; log: Log; intervalMs?: number }): Loop {
  const { pool, servers, log, intervalMs = 60_000 } = deps;
  return createLoop({
    name: 'calendar-spans',
    intervalMs,
    needs: ['Postgres'],
    servers,
    log,
    pass: (signal) =>
      alone(pool, 'calendar-spans', async () => {
        const zones = await zonesToKeep(pool, AT_ONCE);
        let kept = 0;
        for (const zone of zones) {
          if (signal.aborted) return undefined;
          try {
            await zoneKeep(pool, zone);
            kept += 1;
          } catch (error) {
            // what was written when it could be worked out, e.g. a rule that repeats since long, is not lost: it holds for months to come
            if (!(error instanceof JobError)) throw error;
            log.warn({ ...zone, error: error.message }, 'the days of a calendar can not be worked out any further; change the calendar');
          }
        }
        return zones.length === AT_ONCE && kept > 0 ? ('again' as const) : undefined;
      }),
  });
}
