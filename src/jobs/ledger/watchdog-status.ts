/** Whether anybody watches, so that the death of the watchdog is seen by those who would rely on it. */
import type { Pool, Queryable } from '../../postgres.ts';
import { heartbeatNewest } from './watchdog-store.ts';

/** Looks come every 5 s; after this long without one something is wrong. Milliseconds. */
const SILENT_AFTER_MS = 60_000;

export type WatchdogStatus = {
  /** The newest look of any controller; null: there has never been one. */
  lastLookAt: string | null;
  /** Set when the last look is over a minute ago: no controller runs, or it is stuck. Null while it looks. */
  silentSince: string | null;
  /** The controller that looked: host and pid. */
  process: string | null;
  /** The team's jobs that are late, or have missed slots or a success, and have not recovered. */
  alarms: { late: number; missed: number; expect: number };
};

export async function watchdogStatus(pool: Pool, team: string): Promise<WatchdogStatus> {
  const [heartbeat, alarms] = await Promise.all([heartbeatNewest(pool, SILENT_AFTER_MS), alarmsOf(pool, team)]);
  const at = heartbeat?.at.toISOString() ?? null;
  return { lastLookAt: at, silentSince: heartbeat?.silent ? at : null, process: heartbeat?.process ?? null, alarms };
}

/** The same in a word, for probes. It never fails: whoever asks can work without a watchdog. */
export async function watchdogWord(pool: Pool): Promise<string> {
  try {
    const heartbeat = await heartbeatNewest(pool, SILENT_AFTER_MS);
    if (!heartbeat) return 'warning: no controller has looked yet';
    return heartbeat.silent ? `warning: silent since ${heartbeat.at.toISOString()}` : 'looks';
  } catch {
    return 'not known: its rows can not be read';
  }
}

async function alarmsOf(database: Queryable, team: string): Promise<WatchdogStatus['alarms']> {
  const { rows } = await database.query<WatchdogStatus['alarms']>({
    name: 'watchdog-alarms-of-team',
    text: `SELECT count(*) FILTER (WHERE r.alarm = 'late')::integer AS late, count(*) FILTER (WHERE r.alarm = 'missed')::integer AS missed,
                  count(*) FILTER (WHERE r.alarm = 'expect')::integer AS expect
             FROM job_runtime r WHERE r.alarm IS NOT NULL AND r.team = $1`,
    values: [team],
  });
  return rows[0]!;
}
