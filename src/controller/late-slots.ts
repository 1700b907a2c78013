/** Loop: slots that Temporal did not bring. Late ones are admitted and started; clocks found without a member are handed to the endings. */

import { clocksToCheck } from '../jobs/clocks/late-slot-store.ts';
import type { Checked, LateSlots } from '../jobs/clocks/late-slots.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { endClock } from './ending-store.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import type { StartOne } from './start-one.ts';
import { together } from './together.ts';

const CLOCKS = 500;
const STARTS_AT_ONCE = 8;
const TELL_EVERY_MS = 60_000;

export function createLateSlotLoop(deps: { pool: Pool; lateSlots: LateSlots; startOne: StartOne; servers: Servers; log: Log }): Loop {
  const { pool, lateSlots, startOne, servers, log } = deps;
  const told = { admitted: 0, ranged: 0, started: 0, at: 0 };

  /** One line a minute at most: while workers or Temporal are down every slot is late. */
  function tell({ admitted, ranged, starts }: Checked): void {
    told.admitted += admitted;
    told.ranged += ranged;
    told.started += starts.length;
    if (told.admitted + told.ranged === 0 || Date.now() - told.at < TELL_EVERY_MS) return;
    log.info({ admitted: told.admitted, ranged: told.ranged, started: told.started }, 'slots that had not come were decided late');
    Object.assign(told, { admitted: 0, ranged: 0, started: 0, at: Date.now() });
  }

  return createLoop({
    name: 'late-slots',
    intervalMs: 1_000,
    needs: ['Postgres'],
    servers,
    log,
    pass: (signal) =>
      alone(pool, 'late-slots', async () => {
        const clocks = await clocksToCheck(pool, CLOCKS);
        const checked = await lateSlots.check(clocks);
        tell(checked);
        for (const clockId of checked.memberless) await endClock(pool, clockId);
        // what is not started here is found by the loop of unstarted rows
        await together(checked.starts, STARTS_AT_ONCE, startOne, {
          signal,
          goOn: () => !servers.temporal.isAway(),
        });
        return checked.more || clocks.length === CLOCKS ? ('again' as const) : undefined;
      }),
  });
}
