/** Loop: what a freeze asks to stop or waits for while it is in force, and what it leaves behind when it is over. Its beginning and end need nobody: its times hold by themselves. */
import type { Starter } from '../jobs/execution-starts.ts';
import { cancelExecution } from '../jobs/execution-store.ts';
import { createFreezeSettlement } from '../jobs/freezes/freeze-settlement.ts';
import {
  executionsToStop,
  freezeNoteCancelled,
  freezeNoteDrained,
  freezesUndrained,
  type RunningExecution,
  type WatchedFreeze,
} from '../jobs/freezes/running-store.ts';
import type { Backfills } from '../jobs/operations/backfills.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import { together } from './together.ts';

/** Executions asked to stop in one pass. */
const CANCELS = 500;
const WIDTH = 8;

export function createFreezeLoop(deps: {
  pool: Pool;
  starter: Pick<Starter, 'startSoon'>;
  backfills: Pick<Backfills, 'startMany'>;
  servers: Servers;
  log: Log;
  intervalMs?: number;
}): Loop {
  const { pool, starter, backfills, servers, log, intervalMs = 1_000 } = deps;
  const settlement = createFreezeSettlement({ pool, backfills });

  /** Asks a batch of executions to stop, as a person would; whoever makes a call is told within a second. */
  async function stopRunning({ id }: WatchedFreeze, signal: AbortSignal): Promise<number> {
    const running = await executionsToStop(pool, id, CANCELS);
    let asked = 0;
    const stop = async (row: RunningExecution) => {
      const by = `almanac: freeze ${id}`;
      const answer = await cancelExecution(pool, { team: row.team, partitionAt: row.partition_at, id: row.id, by });
      if (answer.verdict === 'requested' || answer.verdict === 'cancelled') asked += 1;
      starter.startSoon(answer.released);
    };
    try {
      await together(running, WIDTH, stop, { signal });
    } finally {
      if (asked > 0) await freezeNoteCancelled(pool, id, asked);
    }
    return running.length;
  }

  async function watch(freeze: WatchedFreeze, signal: AbortSignal): Promise<boolean> {
    const stopped = freeze.cancels ? await stopRunning(freeze, signal) : 0;
    if (stopped > 0) log.info({ freeze: freeze.id, stopped }, 'a freeze asked executions to stop');
    if (stopped === 0 && (await freezeNoteDrained(pool, freeze.id)))
      log.info({ freeze: freeze.id }, 'nothing that a freeze covers runs any more');
    return stopped === CANCELS;
  }

  return createLoop({
    name: 'freezes',
    intervalMs,
    needs: ['Postgres'],
    servers,
    log,
    pass: (signal) =>
      alone(pool, 'freezes', async () => {
        let more = false;
        for (const freeze of await freezesUndrained(pool)) more = (await watch(freeze, signal)) || more;
        const settled = await settlement.settle(signal);
        if (settled.jobs > 0) log.info({ jobs: settled.jobs, catchUps: settled.catchUps }, 'jobs were settled after a freeze');
        for (const freeze of settled.freezes) log.info({ freeze }, 'a freeze is over and settled');
        return more || settled.more ? ('again' as const) : undefined;
      }),
  });
}
