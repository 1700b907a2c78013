/** Loop: how long executions take against the distance of their slots, for all jobs in turn, so that lists need not ask for it and somebody hears of it before slots are skipped. */
import { healthForget } from '../jobs/health/health-store.ts';
import { createRollUp } from '../jobs/health/roll-up.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const EVERY_MS = 15_000;
/** Jobs measured in one pass: 10,000 take five minutes. */
const BATCH = 500;
/** No job is measured more often than this, milliseconds. */
const ROUND_MS = 120_000;

export function createIntervalHealth({ pool, servers, log }: { pool: Pool; servers: Servers; log: Log }): Loop {
  const rollUp = createRollUp({ pool });
  let after = '';
  let roundBegan = 0;
  return createLoop({
    name: 'interval-health',
    intervalMs: EVERY_MS,
    needs: ['Postgres'],
    servers,
    log,
    pass: () =>
      alone(pool, 'interval-health', async () => {
        if (after === '') {
          if (performance.now() - roundBegan < ROUND_MS && roundBegan > 0) return undefined;
          roundBegan = performance.now();
          await healthForget(pool);
        }
        const { next, told } = await rollUp(after, BATCH);
        after = next ?? '';
        if (told.length > 0)
          log.warn({ jobs: told.slice(0, 5), count: told.length }, 'executions last almost as long as the time between slots');
        return undefined;
      }),
  });
}
