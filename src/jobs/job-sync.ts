/** What follows the commit of a change: bring it about in Temporal at once within a budget, or leave a hint for the controller. */
import type { Log } from '../log.ts';
import { isPostgresAway, type Pool } from '../postgres.ts';
import type { DesiredClock } from './clocks/clock-store.ts';
import type { ExecutionStart } from './execution-store.ts';
import type { Effects } from './job-change.ts';
import type { Sync } from './job-store.ts';

/** The channel on which controllers listen; a notification means "look", never "do". */
export const CLOCKS_CHANNEL = 'almanac_clocks';
const HINT_EVERY_MS = 100;

export type SyncDeps = {
  pool: Pool;
  log: Log;
  /** Most milliseconds a write waits for Temporal. */
  budgetMs: number;
  reconciler: { within(budgetMs: number, clockId: string, known?: DesiredClock): Promise<Sync> };
  starter: { within(budgetMs: number, row: ExecutionStart): Promise<'started' | 'pending'> };
  /** Ends a workflow that has nothing left to do, best effort; without it such a workflow finds that out when it wakes up. */
  stopWorkflow?: ((workflowId: string, reason: string) => Promise<void>) | undefined;
};

/**
 * Tells controllers that clocks wait for them, at most ten times a second per process and outside every transaction: NOTIFY takes a lock that would
 * make commits wait for each other.
 */
export function createClockHint({ pool, log }: Pick<SyncDeps, 'pool' | 'log'>): () => void {
  let sentAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | null = null;
  const send = () => {
    timer = null;
    sentAt = performance.now();
    pool.query('SELECT pg_notify($1, $2)', [CLOCKS_CHANNEL, '']).catch((error: unknown) => {
      // the controller looks by itself within seconds
      if (!isPostgresAway(error)) log.debug({ error: String(error) }, 'a hint to the controller was lost');
    });
  };
  return () => {
    if (timer) return;
    timer = setTimeout(send, Math.max(0, sentAt + HINT_EVERY_MS - performance.now()));
    timer.unref();
  };
}

export type Syncer = ReturnType<typeof createSyncer>;

export function createSyncer(deps: SyncDeps) {
  const hint = createClockHint(deps);
  const stopping = new Set<Promise<void>>();

  function stopSoon(workflowId: string): void {
    const stopped = deps.stopWorkflow?.(workflowId, 'the one-off was moved or cancelled').catch(() => {});
    if (!stopped) return;
    stopping.add(stopped);
    void stopped.finally(() => stopping.delete(stopped));
  }

  /**
   * Brings the effects of a committed change about.
   * @param unchanged what sync is when there is nothing to do.
   * @param leftMs of a budget that several share; default: a whole one.
   * @returns `synced` when Temporal is known to have all of it.
   */
  async function settle(effects: Effects, respondAsync: boolean | undefined, unchanged: Sync, leftMs = deps.budgetMs): Promise<Sync> {
    for (const workflowId of effects.stale) stopSoon(workflowId);
    const { clocks, start } = effects;
    if (clocks.length === 0 && !start) return unchanged;
    const budgetMs = respondAsync ? 0 : leftMs;
    if (budgetMs <= 0) {
      hint();
      return 'pending';
    }
    const [clockSyncs, startSync] = await Promise.all([
      Promise.all(clocks.map((clock) => deps.reconciler.within(budgetMs, clock.id, clock))),
      start ? deps.starter.within(budgetMs, start) : 'started',
    ]);
    const clocksSynced = clockSyncs.every((sync) => sync === 'synced');
    if (!clocksSynced) hint();
    return clocksSynced && startSync === 'started' ? 'synced' : 'pending';
  }

  /** Waits for the calls to Temporal that no answer waited for; before its connection is closed. */
  const drain = async (): Promise<void> => void (await Promise.all(stopping));

  return { settle, drain };
}
