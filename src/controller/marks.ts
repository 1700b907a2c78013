/** Loop: days on which clocks change, and dates worked out by us, are written down long before they come. */
import type { Marks } from '../jobs/clocks/marks.ts';
import type { Log } from '../log.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const TIMINGS_AT_ONCE = 100;

/** @param deps.onRaised clocks wait to be reconciled. */
export function createMarksLoop(deps: { marks: Marks; servers: Servers; log: Log; onRaised: () => void }): Loop {
  const { marks, servers, log, onRaised } = deps;
  return createLoop({
    name: 'marks',
    intervalMs: 5_000,
    needs: ['Postgres'],
    servers,
    log,
    async pass() {
      const { raised, more } = await marks.renewDue(new Date(), TIMINGS_AT_ONCE);
      if (raised > 0) onRaised();
      return more ? 'again' : undefined;
    },
  });
}
