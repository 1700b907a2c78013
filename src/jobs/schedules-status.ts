/** How the scheduler is doing: counts, drift between Postgres and Temporal, lateness, backlog. */
import type { Pool } from '../postgres.ts';
import { SHOWN_STATE } from './job-store.ts';
import { type WatchdogStatus, watchdogStatus } from './ledger/watchdog-status.ts';

/** Tasks that wait in Temporal for a worker of this queue; null when that can't be told. */
export type TaskQueueBacklog = (queue: string) => Promise<number | null>;

export type ScheduleStatus = {
  jobs: { total: number; byState: Record<string, number> };
  drift: {
    /** Clocks of which Temporal is not known to have the newest generation. */
    clocksPending: number;
    /** Since when the oldest of them has been due, seconds. */
    oldestPendingAgeS: number | null;
  };
  /** Start minus due time of executions begun in the last hour, milliseconds. */
  lateness: { executions: number; p50Ms: number | null; p99Ms: number | null };
  queues: {
    queue: string;
    /** Executions that are due and have not begun. */
    queued: number;
    running: number;
    /** Age of the oldest due execution that has not begun, seconds. */
    oldestQueuedAgeS: number | null;
    /** Tasks waiting in Temporal; null when that can't be told now. */
    temporalBacklog: number | null;
  }[];
  watchdog: WatchdogStatus;
};

const BACKLOG_PATIENCE_MS = 500;

export function createScheduleStatus({ pool, taskQueueBacklog }: { pool: Pool; taskQueueBacklog?: TaskQueueBacklog | undefined }) {
  async function backlogOf(queue: string): Promise<number | null> {
    if (!taskQueueBacklog) return null;
    const { promise: late, resolve } = Promise.withResolvers<null>();
    const timer = setTimeout(resolve, BACKLOG_PATIENCE_MS, null);
    try {
      return await Promise.race([taskQueueBacklog(queue).catch(() => null), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  return async function status(team: string): Promise<ScheduleStatus> {
    const [states, drift, lateness, queues, watchdog] = await Promise.all([
      countByState(pool, team),
      driftOf(pool, team),
      latenessOf(pool, team),
      queuesOf(pool, team),
      watchdogStatus(pool, team),
    ]);
    const byState = Object.fromEntries(states.map(({ state, count }) => [state, count]));
    return {
      jobs: { total: states.reduce((sum, { count }) => sum + count, 0), byState },
      drift,
      lateness,
      queues: await Promise.all(queues.map(async (queue) => ({ ...queue, temporalBacklog: await backlogOf(queue.queue) }))),
      watchdog,
    };
  };
}

/** Jobs that are not deleted, by the state people see. */
export async function countByState(pool: Pool, team: string): Promise<{ state: string; count: number }[]> {
  const { rows } = await pool.query<{ state: string; count: number }>({
    name: 'jobs-count-by-state',
    text: `SELECT ${SHOWN_STATE} AS state, count(*)::float8 AS count FROM jobs j JOIN job_runtime r ON r.job_id = j.id
            WHERE j.team = $1 AND j.deleted_at IS NULL GROUP BY 1 ORDER BY 1`,
    values: [team],
  });
  return rows;
}

async function driftOf(pool: Pool, team: string): Promise<ScheduleStatus['drift']> {
  const { rows } = await pool.query<{ pending: number; oldest: number | null }>({
    name: 'clocks-drift',
    text: `SELECT count(*)::float8 AS pending, extract(epoch FROM now() - min(reconcile_at))::float8 AS oldest
             FROM clocks WHERE team = $1 AND generation <> observed_generation`,
    values: [team],
  });
  const { pending, oldest } = rows[0]!;
  // a clock that waits for its next try is due in the future; it is as old as its first failure, at least 0
  return { clocksPending: pending, oldestPendingAgeS: oldest === null ? null : Math.max(0, Math.round(oldest * 10) / 10) };
}

async function latenessOf(pool: Pool, team: string): Promise<ScheduleStatus['lateness']> {
  const { rows } = await pool.query<{ executions: number; p50: number | null; p99: number | null }>({
    name: 'executions-lateness',
    // partition_at bounds the search to the newest rows of the primary key
    text: `SELECT count(*)::float8 AS executions, percentile_cont(0.5) WITHIN GROUP (ORDER BY late) AS p50, percentile_cont(0.99) WITHIN GROUP (ORDER BY late) AS p99
             FROM (SELECT greatest(0, extract(epoch FROM started_at - due_at) * 1000)::float8 AS late FROM job_executions
                    WHERE team = $1 AND partition_at > now() - interval '2 hours' AND started_at > now() - interval '1 hour') begun`,
    values: [team],
  });
  const { executions, p50, p99 } = rows[0]!;
  return { executions, p50Ms: p50 === null ? null : Math.round(p50), p99Ms: p99 === null ? null : Math.round(p99) };
}

async function queuesOf(pool: Pool, team: string): Promise<Omit<ScheduleStatus['queues'][number], 'temporalBacklog'>[]> {
  const { rows } = await pool.query<{ queue: string; queued: number; running: number; oldest: number | null }>({
    name: 'executions-by-queue',
    // also a queue that nobody serves and no clock names: what waits there is what one wants to see
    text: `WITH unfinished AS (
             SELECT queue, count(*) FILTER (WHERE status = 'queued' AND due_at <= now()) AS queued, count(*) FILTER (WHERE status = 'running') AS running,
                    extract(epoch FROM now() - min(due_at) FILTER (WHERE status = 'queued' AND due_at <= now())) AS oldest
               FROM job_executions WHERE team = $1 AND finished_at IS NULL GROUP BY queue
           )
           SELECT q.queue, coalesce(u.queued, 0)::float8 AS queued, coalesce(u.running, 0)::float8 AS running, u.oldest::float8 AS oldest
             FROM (SELECT 'default' AS queue UNION SELECT queue FROM clocks WHERE team = $1 UNION SELECT queue FROM unfinished
                   UNION SELECT unnest(queues) FROM workers WHERE seen_at > now() - interval '30 seconds') q
             LEFT JOIN unfinished u ON u.queue = q.queue
            ORDER BY q.queue`,
    values: [team],
  });
  return rows.map(({ queue, queued, running, oldest }) => ({
    queue,
    queued,
    running,
    oldestQueuedAgeS: oldest === null ? null : Math.round(oldest * 10) / 10,
  }));
}
