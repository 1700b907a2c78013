/** The two activities that serve a pool: the small one in the breath that plans it, ranges of a larger one side by side. */
import { activityInfo, cancellationSignal, heartbeat } from '@temporalio/activity';
import type { PoolActivities, Served, ServeInput } from '../../workflows/pool-activities.ts';
import type { PlanPool } from './plan-pool.ts';
import { openSession, type SessionDeps } from './pool-session.ts';

/** The workflow takes 5 s of silence for a death. */
const BEAT_MS = 1_000;
/** After this an activity begins nothing more; the workflow plans the rest anew. */
const LONGEST_MS = 1_800_000;
/** The same for a local activity, which holds a workflow task; it does not begin with what is due later than this. */
const AT_ONCE_MS = 3_000;
const AT_ONCE_LATER_MS = 2_000;
/** Pools of a worker that are served so side by side: half of the workflow tasks it takes (POOL_SLOTS in worker.ts). Targets that hang must not use up the other half. */
const MOST_AT_ONCE = 250;

export type ServeRangesDeps = SessionDeps & { plan: PlanPool; mostAtOnce?: number };

export function createServeRanges(deps: ServeRangesDeps): Pick<PoolActivities, 'servePoolAtOnce' | 'servePoolRanges'> {
  const underway = new Map<string, Promise<unknown>>();
  const { mostAtOnce = MOST_AT_ONCE } = deps;
  let atOnce = 0;

  /**
   * A repeat whose former self is still at work in this process (Temporal has waited too long for it) lets that come to its end: they would make the same calls.
   * One that is given up while it waits has nothing to do.
   */
  async function once<T>(part: string, work: () => Promise<T>): Promise<T> {
    const name = `${activityInfo().workflowExecution!.workflowId} ${part}`;
    for (let before = underway.get(name); before; before = underway.get(name)) await before.catch(() => {});
    cancellationSignal().throwIfAborted();
    const working = work().finally(() => underway.delete(name));
    underway.set(name, working);
    return await working;
  }

  return {
    servePoolAtOnce: (input) => once('at once', () => serveAtOnce(input)),
    servePoolRanges: (input) => beating((served) => once(input.ranges[0]!.from, () => serveRanges(input, served))),
  };

  async function serveAtOnce({ team, slot }: Omit<ServeInput, 'ranges'>) {
    const plan = slot ? await deps.plan.members(team, slot) : await deps.plan.rows(team);
    if (plan.ranges.length !== 1 || plan.ranges[0]!.laterMs > AT_ONCE_LATER_MS || atOnce >= mostAtOnce) return { plan, calls: 0 };
    atOnce += 1;
    try {
      const session = openSession(deps, { team, ranges: plan.ranges, ...(slot ? { slot } : {}) }, AT_ONCE_MS);
      const { calls } = await session.serve();
      return { plan: await deps.plan.rows(team), calls };
    } finally {
      atOnce -= 1;
    }
  }

  async function serveRanges(input: ServeInput, served: Beating): Promise<Served> {
    const session = openSession(deps, input, LONGEST_MS);
    served.by = session.served;
    return await session.serve();
  }
}

/** What the signs of life tell. */
type Beating = { by: () => unknown };

/** Shows signs of life from the first moment on, also while a repeat waits for its former self. */
async function beating<T>(work: (beating: Beating) => Promise<T>): Promise<T> {
  const told: Beating = { by: () => undefined };
  const beat = setInterval(() => heartbeat(told.by()), BEAT_MS);
  try {
    return await work(told);
  } finally {
    clearInterval(beat);
  }
}
