/**
 * One workflow for many executions: a slot of a pooled clock (serveSlot), or rows that share a pool because they came, or are due, together (servePool).
 *
 * The rows are the truth. This workflow knows only where the pool's ranges begin and end, so that its history stays small however many rows there are: it plans,
 * has the ranges served by activities side by side, and plans again until no row is left. Whatever joined its pool meanwhile is in the next plan. A worker that
 * dies is noticed by its heartbeat; the repeat makes only the calls that have no outcome. A try that fails leaves the pool for a workflow of its own (executeJob).
 */
import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  isCancellation,
  makeContinueAsNewFunc,
  proxyActivities,
  proxyLocalActivities,
  sleep,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import { FIRST_PAUSE_MS, jittered, longer, patiently } from './patience.ts';
import type { PoolActivities, PoolRange, ServeInput } from './pool-activities.ts';

/** How long one local try of a statement may take: five seconds of patience inside, and some for the way. */
const STATEMENT_MS = 8_000;
/** Workers report every second; silence for this long means that one died. */
const HEARTBEAT_MS = 5_000;
/** A small pool is served by a local activity: it begins nothing new after some seconds, and a call lasts at most ten. */
const AT_ONCE_MS = 60_000;
/** An activity ends by itself long before. */
const SERVE_MS = 3_600_000;
/** Ranges go to this many activities at once, more only when each would have more rows than these. */
const ACTIVITIES = 8;
const ROWS_PER_ACTIVITY = 1_000;
/** Between two looks at rows whose target has no place for them, at most. */
const LONGEST_WAIT_MS = 5_000;
/** Where everything is far ahead, it is planned this long before the first of it is due. */
const LEAD_MS = 1_000;

const ONE_TRY = { retry: { maximumAttempts: 1 }, cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED };
const { closePool } = proxyLocalActivities<PoolActivities>({ ...ONE_TRY, startToCloseTimeout: STATEMENT_MS });
const { servePoolAtOnce } = proxyLocalActivities<PoolActivities>({ ...ONE_TRY, startToCloseTimeout: AT_ONCE_MS });
const continueAsServePool = makeContinueAsNewFunc<typeof servePool>({ workflowType: 'servePool' });

type Input = { team: string };

/** A slot of a pooled clock. The nominal time stands in the workflow id, where Temporal puts it. */
export async function serveSlot({ team, clock }: Input & { clock: string }): Promise<{ calls: number }> {
  return await untilCancelled(team, async () => {
    const at = workflowInfo().workflowId.slice(clock.length + 1);
    return { calls: await servePasses(team, { clock, at }) };
  });
}

/** The rows whose workflow_id is this workflow's. */
export async function servePool({ team }: Input): Promise<{ calls: number }> {
  return await untilCancelled(team, async () => ({ calls: await servePasses(team) }));
}

/** Serves what is due until nothing is left, however far ahead the rest is due. The first pass of a slot admits its members; from then on they are rows. */
async function servePasses(team: string, slot?: ServeInput['slot']): Promise<number> {
  let calls = 0;
  for (let pauseMs = FIRST_PAUSE_MS, first = slot; ; first = undefined) {
    const pass = await patiently(() => servePoolAtOnce({ team, ...(first ? { slot: first } : {}) }));
    const { ranges, members, nextDueAt } = pass.plan;
    const made = pass.calls + (await serveRanges(ranges, { team, ...(members && slot ? { slot } : {}) }));
    calls += made;
    if (ranges.length > 0) {
      // nothing of it could be served just now: somebody else is about to end it, or its target has no place
      if (made === 0) await sleep(jittered(pauseMs));
      pauseMs = made === 0 ? Math.min(longer(pauseMs), LONGEST_WAIT_MS) : FIRST_PAUSE_MS;
      // far ahead by Postgres' clock, even if another one says that it is soon
    } else if (nextDueAt !== null) await sleep(Math.max(nextDueAt - LEAD_MS - Date.now(), FIRST_PAUSE_MS));
    else return calls;
    if (workflowInfo().continueAsNewSuggested) await continueAsServePool({ team });
  }
}

async function serveRanges(ranges: PoolRange[], input: Omit<ServeInput, 'ranges'>): Promise<number> {
  const served = await Promise.all(shares(ranges).map((share) => serve({ ...input, ranges: share })));
  return served.reduce((sum, calls) => sum + calls, 0);
}

/** Neighbouring ranges of one priority go to the same activity. */
function shares(ranges: PoolRange[]): PoolRange[][] {
  const rows = ranges.reduce((sum, range) => sum + range.size, 0);
  const most = Math.max(Math.ceil(rows / ACTIVITIES), Math.min(rows, ROWS_PER_ACTIVITY / 4));
  const found: PoolRange[][] = [];
  let size = 0;
  for (const range of ranges) {
    const share = found.at(-1);
    if (share?.[0]?.priority === range.priority && size + range.size <= Math.min(most, ROWS_PER_ACTIVITY)) {
      share.push(range);
      size += range.size;
    } else {
      found.push([range]);
      size = range.size;
    }
  }
  return found;
}

/** Repeats until a worker has got to the end of it. */
async function serve(input: ServeInput): Promise<number> {
  const { servePoolRanges } = proxyActivities<PoolActivities>({
    ...ONE_TRY,
    startToCloseTimeout: SERVE_MS,
    heartbeatTimeout: HEARTBEAT_MS,
    priority: { priorityKey: input.ranges[0]!.priority },
  });
  for (let pauseMs = FIRST_PAUSE_MS; ; ) {
    try {
      // what is `left` of it is in the next plan
      return (await servePoolRanges(input)).calls;
    } catch (error) {
      if (isCancellation(error)) throw error;
      if (error instanceof ActivityFailure && error.cause instanceof TimeoutFailure) continue;
      if (error instanceof ActivityFailure && error.cause instanceof ApplicationFailure && error.cause.type === 'WorkerStopping') continue;
      await sleep(jittered(pauseMs));
      pauseMs = longer(pauseMs);
    }
  }
}

/** Whoever cancels a pool's workflow in Temporal cancels its executions. */
async function untilCancelled<T>(team: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isCancellation(error)) throw error;
    await CancellationScope.nonCancellable(() =>
      patiently(() => closePool({ team, status: 'cancelled', reason: 'cancelled in Temporal' })),
    );
    throw error;
  }
}
