/**
 * Loop: the watchdog. Knows from Postgres alone which jobs are overdue and tells it once per episode, also while Temporal is down, also when the loops that admit and start
 * are stuck. An episode ends with the job's next success.
 *   late     a slot is due, and after the grace it has no row, or its execution has not begun
 *   missed   a slot was decided not to run (`missed`); or, of kind `expect`, there was no success for as long as the job promises
 *   recovered   the first success after one of these; whoever records it tells, this loop finds what was left
 * Each pass ends with a heartbeat, as a row and as a metric, so that its death is seen too.
 */
import { hostname } from 'node:os';
import { pid } from 'node:process';
import {
  type Alarm,
  alarmsClear,
  alarmsRaise,
  heartbeatWrite,
  missedTell,
  type Overdue,
  type Silent,
  slotsOverdue,
  startsOverdue,
  successesOverdue,
} from '../jobs/ledger/watchdog-store.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Pool } from '../postgres.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const EVERY_MS = 5_000;
/** Jobs told of in one pass and kind; more follow at once. */
const BATCH = 1_000;
/** Jobs named in a line of the log. */
const NAMED = 5;

export type Watched = { late: string[]; missed: string[]; expect: string[]; recovered: string[]; more: boolean };

/** One look at everything. @param graceMs how long after it was due something may begin. */
export async function watch(pool: Pool, graceMs: number): Promise<Watched> {
  const silent = await successesOverdue(pool, BATCH);
  const expect = await alarmsRaise(pool, 'expect', silent.map(expectAlarm));
  const missed = await missedTell(pool);
  const withoutRow = await slotsOverdue(pool, graceMs, BATCH);
  const notBegun = await startsOverdue(pool, graceMs, BATCH);
  const late = await alarmsRaise(pool, 'late', [...withoutRow, ...notBegun].map(lateAlarm));
  const recovered = await alarmsClear(pool);
  const full = (list: unknown[]) => list.length === BATCH;
  return { late, missed, expect, recovered, more: full(silent) || full(withoutRow) || full(notBegun) };
}

const lateAlarm = ({ team, job_id, slot, due_at, execution_id }: Overdue): Alarm => ({
  team,
  job: job_id,
  execution: execution_id,
  slot,
  details: { kind: execution_id === null ? 'no_execution' : 'not_started', dueAt: due_at.toISOString() },
});

const expectAlarm = ({ team, job_id, expect_ms, since, last_success_at }: Silent): Alarm => ({
  team,
  job: job_id,
  execution: null,
  slot: null,
  details: {
    kind: 'expect',
    everyAtMostMs: Number(expect_ms),
    since: since.toISOString(),
    lastSuccessAt: last_success_at?.toISOString() ?? null,
  },
});

export function createWatchdog(deps: {
  pool: Pool;
  servers: Servers;
  metrics: Metrics;
  log: Log;
  graceMs: number;
  intervalMs?: number;
}): Loop {
  const { pool, servers, metrics, log, graceMs, intervalMs = EVERY_MS } = deps;
  const name = `${hostname()}:${pid}`;

  function tell(watched: Watched): void {
    for (const kind of ['late', 'missed', 'expect', 'recovered'] as const) {
      const jobs = watched[kind];
      if (jobs.length === 0) continue;
      const named = { jobs: jobs.slice(0, NAMED), count: jobs.length };
      if (kind === 'recovered') log.info(named, 'jobs have recovered');
      else log.warn(named, kind === 'expect' ? 'jobs had no success for longer than they promise' : `jobs are ${kind}`);
    }
  }

  return createLoop({
    name: 'watchdog',
    intervalMs,
    needs: ['Postgres'],
    servers,
    log,
    // not alone: what each of several tells is told once all the same, and none of them waits for a lock that another holds
    pass: async () => {
      const watched = await watch(pool, graceMs);
      tell(watched);
      const { alarms } = await heartbeatWrite(pool, name);
      metrics.watchdogLooked.setToCurrentTime();
      for (const kind of ['late', 'missed', 'expect'] as const) metrics.jobAlarms.set({ kind }, alarms[kind]);
      return watched.more ? ('again' as const) : undefined;
    },
  });
}
