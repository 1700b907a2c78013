/** Loop: slots that Temporal did not bring. Late ones are admitted and started; clocks found without a member are handed to the endings. */

import { clocksToCheck } from '../jobs/clocks/late-slot-store.ts';
import type { LateSlots } from '../jobs/clocks/late-slots.ts';
import type { Starter } from '../jobs/execution-starts.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { endClock } from './ending-store.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import { together } from './together.ts';

const CLOCKS = 500;
const STARTS_AT_ONCE = 8;

export function createLateSlotLoop(deps: { pool: Pool; lateSlots: LateSlots; starter: Starter; servers: Servers; log: Log }): Loop {
  const { pool, lateSlots, starter, servers, log } = deps;
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
        if (checked.admitted + checked.ranged > 0) {
          log.info(
            { admitted: checked.admitted, ranged: checked.ranged, started: checked.starts.length },
            'slots that had not come were decided late',
          );
        }
        for (const clockId of checked.memberless) await endClock(pool, clockId);
        // what is not started here is found by the loop of unstarted rows
        await together(checked.starts, STARTS_AT_ONCE, async (start) => void (await starter.start(start)), {
          signal,
          goOn: () => !servers.temporal.isAway(),
        });
        return checked.more || clocks.length === CLOCKS ? ('again' as const) : undefined;
      }),
  });
}
