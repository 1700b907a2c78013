/** The controller as a whole: its loops, what they share, and how they start and stop. Several controllers at once do no harm (semantics.md 8, 11). */
import type { Client } from '@temporalio/client';
import type { Config } from '../config.ts';
import type { Place } from '../jobs/archive/place.ts';
import { clocksRetryNow } from '../jobs/clocks/clock-store.ts';
import { createLateSlots } from '../jobs/clocks/late-slots.ts';
import { createMarks } from '../jobs/clocks/marks.ts';
import { createReconciler } from '../jobs/clocks/reconcile.ts';
import { createScheduleCalls } from '../jobs/clocks/schedule-calls.ts';
import { createStarter } from '../jobs/execution-starts.ts';
import type { Send } from '../jobs/notifications/sender.ts';
import { createBackfills } from '../jobs/operations/backfills.ts';
import { createOperationStarts } from '../jobs/operations/operation-starts.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { isPostgresAway, type Pool } from '../postgres.ts';
import { isTemporalUnreachable } from '../temporal.ts';
import { createCalendarReplans } from './calendar-replans.ts';
import { createCalendarSpans } from './calendar-spans.ts';
import { createCloses } from './closes.ts';
import { createDispatchChoice, createDispatchMoves } from './dispatch-choice.ts';
import { createEndings } from './endings.ts';
import { createFreezeLoop } from './freezes.ts';
import { createHolidayYears } from './holiday-years.ts';
import { createGauges, createHousekeeping } from './housekeeping.ts';
import { createIntervalHealth } from './interval-health.ts';
import { createLateSlotLoop } from './late-slots.ts';
import type { Loop } from './loop.ts';
import { createMarksLoop } from './marks.ts';
import { createNextRuns } from './next-runs.ts';
import { createNotificationLoops } from './notifications.ts';
import { createOperationLoop } from './operations.ts';
import { createOrphans } from './orphans.ts';
import { createPendingClocks } from './pending-clocks.ts';
import { createResumes } from './resumes.ts';
import { createRetentionLoop } from './retention.ts';
import { createServers } from './servers.ts';
import { createStartOne } from './start-one.ts';
import { createStarts } from './starts.ts';
import { createSweepLoop } from './sweep.ts';
import { createWatchdog } from './watchdog.ts';

export type Controller = { start(): void; stop(): Promise<void>; isReady(): boolean };

export function createController(deps: {
  pool: Pool;
  temporal: Client;
  log: Log;
  metrics: Metrics;
  config: Pick<
    Config,
    'RECONCILE_CONCURRENCY' | 'SWEEP_INTERVAL_S' | 'BUFFER_LIMIT_SLOTS' | 'POOL_FROM_JOBS' | 'POOL_BELOW_JOBS' | 'WATCHDOG_GRACE_S'
  >;
  /** How people are told, and for how long it is kept; absent: nobody is told by this process. */
  notifications?: { send: Send; keepDays: number };
  /** What leaves the database, and where to; absent: nothing leaves. */
  retention?: { place: Place | null; months: number };
}): Controller {
  const { pool, temporal, log, metrics, config } = deps;
  const servers = createServers({ pool, temporal, log, onBack: (server) => void catchUp(server) });
  const reconciler = createReconciler({
    pool,
    temporal,
    log,
    onFailure: (error) => {
      if (isPostgresAway(error)) servers.postgres.noteAway(error);
      else if (isTemporalUnreachable(error)) servers.temporal.noteAway(error);
    },
  });
  const calls = createScheduleCalls(temporal);
  const starter = createStarter({ pool, temporal, log });
  const startOne = createStartOne({ pool, temporal, starter });
  const lateSlots = createLateSlots({ pool, bufferLimit: config.BUFFER_LIMIT_SLOTS });
  const orphans = createOrphans({ pool, calls, log });

  const shared = { pool, servers, log };
  const pendingClocks = createPendingClocks({ ...shared, reconciler, concurrency: config.RECONCILE_CONCURRENCY });
  const nextRuns = createNextRuns(shared);
  const loops: Loop[] = [
    pendingClocks,
    createSweepLoop({ ...shared, calls, orphans, metrics, intervalS: config.SWEEP_INTERVAL_S, onDrift: () => pendingClocks.wake() }),
    createMarksLoop({ servers, log, marks: createMarks({ pool }), onRaised: () => pendingClocks.wake() }),
    createLateSlotLoop({ ...shared, lateSlots, startOne }),
    createDispatchChoice({ ...shared, moves: createDispatchMoves({ pool, log, config }), onMoved: () => pendingClocks.wake() }),
    createStarts({ ...shared, startOne }),
    createCloses({ ...shared, temporal, starter }),
    createEndings({ ...shared, lateSlots }),
    createFreezeLoop({ ...shared, starter, backfills: createBackfills({ pool }) }),
    nextRuns,
    createCalendarReplans({ ...shared, onMarked: () => nextRuns.wake(), onRedated: () => pendingClocks.wake() }),
    createHolidayYears({ ...shared, onRedated: () => pendingClocks.wake() }),
    createCalendarSpans(shared),
    createOperationLoop({ ...shared, starts: createOperationStarts({ temporal, log }) }),
    createResumes({ ...shared, onResumed: () => pendingClocks.wake() }),
    createHousekeeping(shared),
    createGauges({ ...shared, metrics }),
    createIntervalHealth(shared),
    createWatchdog({ ...shared, metrics, graceMs: config.WATCHDOG_GRACE_S * 1_000 }),
  ];

  if (deps.notifications) loops.push(...createNotificationLoops({ ...shared, metrics, ...deps.notifications }));
  if (deps.retention) loops.push(createRetentionLoop({ ...shared, metrics, ...deps.retention }));

  /** A server is back: what waits for its next try is due now, so that all is true within seconds. */
  async function catchUp(server: 'Postgres' | 'Temporal'): Promise<void> {
    try {
      if (server === 'Temporal') await clocksRetryNow(pool);
    } catch (error) {
      if (isPostgresAway(error)) servers.postgres.noteAway(error);
    }
    for (const loop of loops) loop.wake();
  }

  return {
    start() {
      for (const loop of loops) loop.start();
    },
    /** Ends all passes under way; resolves when nothing of the controller runs any more. The pool and the client stay open: they are the caller's. */
    async stop() {
      await Promise.all([servers.stop(), ...loops.map((loop) => loop.stop())]);
      await Promise.all([starter.drain(), reconciler.drain()]);
    },
    isReady: () => !servers.postgres.isAway() && !servers.temporal.isAway(),
  };
}
