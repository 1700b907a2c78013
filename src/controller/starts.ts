/**
 * Loop: rows that may run and that nobody has started: the process that admitted them died, Temporal was away, or their start was lost. Also waiting rows that wait
 * for nothing any more (semantics.md 14, 16, 17). One-offs are started as soon as they are seen, however far ahead: Temporal keeps the time.
 */
import type { ExecutionStart } from '../jobs/execution-store.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { executionsUnstarted, jobsWaitingForNothing, releaseNext } from './execution-watch-store.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';
import type { StartOne } from './start-one.ts';
import { together } from './together.ts';

/** A row's own process has this long to start it, milliseconds (semantics.md 16). */
const OWN_START_MS = 2_000;
/** What was started is told to its rows a second later; until then it is not started again. */
const TOLD_MS = 2_000;
const BATCH = 200;
const WIDTH = 8;

export function createStarts(deps: { pool: Pool; startOne: StartOne; servers: Servers; log: Log }): Loop {
  const { pool, startOne, servers, log } = deps;
  const goOn = () => !servers.temporal.isAway();
  /** When workflows were started lately. */
  const startedAt = new Map<string, number>();

  /** Lets those begin that wait for nothing any more: what they waited for has ended, or a freeze is over. `again`: there may be more of them. */
  async function letGo(): Promise<'again' | undefined> {
    const jobs = await jobsWaitingForNothing(pool, BATCH);
    let released = 0;
    for (const job of jobs) {
      const start = await releaseNext(pool, job);
      if (!start) continue;
      released += 1;
      log.debug({ execution: start.id }, 'a waiting execution has nothing to wait for any more; it starts now');
    }
    if (released > 0) log.info({ released }, 'waiting executions had nothing to wait for any more');
    return jobs.length === BATCH && released > 0 ? 'again' : undefined;
  }

  /** The next batch of starts. `again`: there may be more of them. */
  async function startNext(signal: AbortSignal): Promise<'again' | undefined> {
    for (const [workflow, at] of startedAt) if (performance.now() - at > TOLD_MS) startedAt.delete(workflow);
    const rows = await executionsUnstarted(pool, OWN_START_MS, BATCH, [...startedAt.keys()]);
    let started = 0;
    const start = async (row: ExecutionStart) => {
      if (!(await startOne(row))) return;
      started += 1;
      startedAt.set(row.workflowId, performance.now());
    };
    await together(rows, WIDTH, start, { signal, goOn });
    return rows.length === BATCH && started > 0 && goOn() ? 'again' : undefined;
  }

  return createLoop({
    name: 'starts',
    intervalMs: 1_000,
    needs: ['Postgres', 'Temporal'],
    servers,
    log,
    pass: async (signal) => {
      const result = await alone(pool, 'starts', async () => {
        const more = await letGo();
        return (await startNext(signal)) ?? more;
      });
      return result;
    },
  });
}
