/**
 * What the watchdog asks Postgres, for every team: which jobs are overdue, and how it tells. Nothing here asks Temporal, or trusts that another loop has looked.
 * Each alarm is raised by a function (migrations/0019) that does nothing while one as bad is open, so that two watchdogs at once tell once.
 */
import type { Pool, Queryable } from '../../postgres.ts';

/** Jobs told of in one statement: their rows are locked until it ends. */
const AT_ONCE = 500;

/** A job that should have started something by now. */
export type Overdue = { team: string; job_id: string; slot: Date | null; due_at: Date; execution_id: string | null };

/** Jobs whose next slot was due longer ago than the grace and has neither a row nor a range: neither Temporal nor the search for late slots has brought it. */
export async function slotsOverdue(database: Queryable, graceMs: number, limit: number): Promise<Overdue[]> {
  const found = await database.query<Overdue>({
    name: 'watchdog-slots-overdue',
    // the priorities are named so that the index by priority and next run answers
    text: `SELECT r.team, r.job_id, r.next_run_at AS slot, r.next_run_at + make_interval(secs => r.offset_s) AS due_at, NULL AS execution_id
             FROM job_runtime r JOIN jobs j ON j.id = r.job_id
             JOIN clock_members m ON m.job_id = r.job_id AND m.valid_from <= r.next_run_at AND r.next_run_at < m.valid_to
            WHERE r.priority IN (1, 2, 3, 4, 5) AND r.next_run_at <= now() - make_interval(secs => $1::float8 / 1000)
              AND r.next_run_at + make_interval(secs => r.offset_s) <= now() - make_interval(secs => $1::float8 / 1000)
              AND r.alarm IS NULL AND r.enabled AND r.paused_at IS NULL AND j.deleted_at IS NULL
              AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE e.partition_at = r.next_run_at AND e.id = r.job_id || '-' || slot_text(r.next_run_at))
              AND NOT EXISTS (SELECT 1 FROM slot_ranges g
                               WHERE g.job_id = r.job_id AND g.from_at <= r.next_run_at AND (g.to_at IS NULL OR r.next_run_at < g.to_at))
              AND (slot_stop_of(r.team, r.job_id, m.timing_hash, r.next_run_at)).reason IS NULL AND (freeze_holding(r.team, r.job_id, now())).id IS NULL
            ORDER BY r.job_id LIMIT $2`,
    values: [graceMs, limit],
  });
  return found.rows;
}

/** Jobs with a slot that was admitted and has not begun: no worker takes it, or nobody could start its workflow. One that waits behind another of its job is no news. */
export async function startsOverdue(database: Queryable, graceMs: number, limit: number): Promise<Overdue[]> {
  const found = await database.query<Overdue>({
    name: 'watchdog-starts-overdue',
    text: `SELECT DISTINCT ON (e.job_id) e.team, e.job_id, e.slot, e.due_at, e.id AS execution_id
             FROM job_executions e
            CROSS JOIN LATERAL (SELECT r.alarm, r.enabled, r.paused_at FROM job_runtime r WHERE r.job_id = e.job_id LIMIT 1) r
             JOIN jobs j ON j.id = e.job_id
            WHERE e.finished_at IS NULL AND e.status = 'queued' AND NOT e.waiting AND e.trigger IN ('schedule', 'once')
              AND e.due_at <= now() - make_interval(secs => $1::float8 / 1000) AND e.cancel_requested_at IS NULL
              AND r.alarm IS NULL AND r.enabled AND r.paused_at IS NULL AND j.deleted_at IS NULL AND (freeze_holding(e.team, e.job_id, now())).id IS NULL
            ORDER BY e.job_id, e.due_at LIMIT $2`,
    values: [graceMs, limit],
  });
  return found.rows;
}

/** A job without success for longer than it promised. `since`: the last success, or what counts in its place. */
export type Silent = { team: string; job_id: string; expect_ms: string; since: Date; last_success_at: Date | null };

/**
 * Jobs whose `expect` is not met. It counts from the last success, from when the job was switched on or resumed, and from the end of the last freeze that held it,
 * whichever is latest: somebody wanted those stretches. Days that calendars leave out do count, as the distance between two successes is longer then too.
 */
export async function successesOverdue(database: Queryable, limit: number): Promise<Silent[]> {
  const found = await database.query<Silent>({
    name: 'watchdog-successes-overdue',
    text: `SELECT r.team, r.job_id, r.expect_ms, greatest(r.last_success_at, r.expect_since, f.ended) AS since, r.last_success_at
             FROM job_runtime r JOIN jobs j ON j.id = r.job_id
             LEFT JOIN LATERAL (
               SELECT max(coalesce(f.ended_at, f.to_at, 'infinity')) AS ended FROM freezes f
                WHERE (f.team = j.team OR f.scope = 'global') AND f.from_at <= now()
                  AND coalesce(f.ended_at, f.to_at, 'infinity') > greatest(r.last_success_at, r.expect_since) AND freeze_covers(f, j)) f ON true
            WHERE r.expect_ms IS NOT NULL AND r.enabled AND r.paused_at IS NULL AND r.alarm IS DISTINCT FROM 'expect' AND j.deleted_at IS NULL
              AND j.state NOT IN ('finished', 'deleting')
              AND greatest(r.last_success_at, r.expect_since) < now() - make_interval(secs => r.expect_ms / 1000.0)
              AND greatest(r.last_success_at, r.expect_since, f.ended) < now() - make_interval(secs => r.expect_ms / 1000.0)
            ORDER BY r.job_id LIMIT $1`,
    values: [limit],
  });
  return found.rows;
}

export type Alarm = { team: string; job: string; execution: string | null; slot: Date | null; details: Record<string, unknown> };

/** Raises alarms; answers the jobs of those that were news. */
export async function alarmsRaise(database: Queryable, alarm: 'late' | 'expect', alarms: readonly Alarm[]): Promise<string[]> {
  const told: string[] = [];
  for (let from = 0; from < alarms.length; from += AT_ONCE) {
    const some = alarms.slice(from, from + AT_ONCE);
    const { rows } = await database.query<{ job: string }>({
      name: 'watchdog-raise',
      text: `SELECT a.job FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::json[]) AS a (team, job, execution, slot, details)
              WHERE raise_alarm(a.team, a.job, $1, a.execution, a.slot, a.details)`,
      values: [
        alarm,
        some.map((one) => one.team),
        some.map((one) => one.job),
        some.map((one) => one.execution),
        some.map((one) => one.slot),
        some.map((one) => JSON.stringify(one.details)),
      ],
    });
    told.push(...rows.map((row) => row.job));
  }
  return told;
}

/** Takes back alarms of jobs that have succeeded since; whoever records a success does it at once, this finds what was left. Answers the jobs. */
export async function alarmsClear(database: Queryable): Promise<string[]> {
  const { rows } = await database.query<{ job_id: string }>({
    name: 'watchdog-clear',
    text: `SELECT c.job_id FROM (SELECT r.team, r.job_id FROM job_runtime r WHERE r.alarm IS NOT NULL AND r.last_success_at >= r.alarm_at
                                  ORDER BY r.job_id LIMIT $1) c
            WHERE clear_alarm(c.team, c.job_id)`,
    values: [AT_ONCE],
  });
  return rows.map((row) => row.job_id);
}

/** Rows are written a moment before they can be seen: what was decided in this time before the last look is read again. Milliseconds. */
const SEEN_LATE_MS = 15_000;
const MISSED = 'missed';

/**
 * Tells of slots that were decided to be missed since the last look, one event per job and episode. The position is kept in Postgres, so that a watchdog that was
 * away for hours goes on where the last one ended.
 * @returns the jobs that there was news of.
 */
export async function missedTell(pool: Pool): Promise<string[]> {
  await pool.query(
    `INSERT INTO ledger_positions (name, at) SELECT $1, now() WHERE NOT EXISTS (SELECT 1 FROM ledger_positions p WHERE p.name = $1) ON CONFLICT DO NOTHING`,
    [MISSED],
  );
  const { rows } = await pool.query<{ team: string; job_id: string; first: Date; last: Date; count: number; decided: Date; now: Date }>({
    name: 'watchdog-missed',
    text: `SELECT e.team, e.job_id, min(e.slot) AS first, max(e.slot) AS last, count(*)::integer AS count, max(e.finished_at) AS decided, now() AS now
             FROM ledger_positions p
             JOIN job_executions e ON e.status = 'skipped' AND e.reason = 'missed' AND e.finished_at > p.at - make_interval(secs => $2::float8 / 1000)
            CROSS JOIN LATERAL (SELECT r.missed_told FROM job_runtime r WHERE r.job_id = e.job_id LIMIT 1) r
            WHERE p.name = $1 AND e.slot IS NOT NULL AND (r.missed_told IS NULL OR e.slot > r.missed_told)
            GROUP BY e.team, e.job_id ORDER BY e.job_id`,
    values: [MISSED, SEEN_LATE_MS],
  });
  const told: string[] = [];
  for (let from = 0; from < rows.length; from += AT_ONCE) {
    const some = rows.slice(from, from + AT_ONCE);
    const news = await pool.query<{ job: string }>({
      name: 'watchdog-tell-missed',
      text: `SELECT m.job FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::timestamptz[])
                            AS m (team, job, first, last, count, decided)
              WHERE tell_missed(m.team, m.job, m.first, m.last, m.count, m.decided)`,
      values: [
        some.map((one) => one.team),
        some.map((one) => one.job_id),
        some.map((one) => one.first),
        some.map((one) => one.last),
        some.map((one) => one.count),
        some.map((one) => one.decided),
      ],
    });
    told.push(...news.rows.map((row) => row.job));
  }
  await pool.query('UPDATE ledger_positions SET at = greatest(at, coalesce($2, now() - make_interval(secs => 1))) WHERE name = $1', [
    MISSED,
    rows[0]?.now ?? null,
  ]);
  return told;
}

/** Says that this process has looked. Answers how many jobs there are to watch, and how many have an alarm, by its kind. */
export async function heartbeatWrite(
  database: Queryable,
  process: string,
): Promise<{ looked: number; alarms: { late: number; missed: number; expect: number } }> {
  const { rows } = await database.query<{ looked: number; late: number; missed: number; expect: number }>({
    name: 'watchdog-heartbeat',
    text: `WITH alarmed AS (
             SELECT count(*) FILTER (WHERE r.alarm = 'late')::integer AS late, count(*) FILTER (WHERE r.alarm = 'missed')::integer AS missed,
                    count(*) FILTER (WHERE r.alarm = 'expect')::integer AS expect, count(*)::integer AS overdue
               FROM job_runtime r WHERE r.alarm IS NOT NULL
           ), watched AS (
             SELECT greatest(0, c.reltuples)::integer AS looked FROM pg_class c WHERE c.oid = 'job_runtime'::regclass
           ), beat AS (
             INSERT INTO watchdog_heartbeats AS h (process, at, looked, overdue)
             SELECT $1, clock_timestamp(), w.looked, a.overdue FROM alarmed a, watched w
             ON CONFLICT (process) DO UPDATE SET at = excluded.at, looked = excluded.looked, overdue = excluded.overdue
           ), silent AS (
             DELETE FROM watchdog_heartbeats h WHERE h.at < now() - interval '7 days'
           )
           SELECT w.looked, a.late, a.missed, a.expect FROM alarmed a, watched w`,
    values: [process],
  });
  const { looked, ...alarms } = rows[0]!;
  return { looked, alarms };
}

export type Heartbeat = { at: Date; process: string; looked: number; overdue: number; silent: boolean };

/** The newest sign of life of any watchdog; null: there has never been one. `silent`: it is older than this, milliseconds. */
export async function heartbeatNewest(database: Queryable, silentAfterMs: number): Promise<Heartbeat | null> {
  const { rows } = await database.query<Heartbeat>({
    name: 'watchdog-newest',
    text: `SELECT h.at, h.process, h.looked, h.overdue, h.at < now() - make_interval(secs => $1::float8 / 1000) AS silent
             FROM watchdog_heartbeats h ORDER BY h.at DESC LIMIT 1`,
    values: [silentAfterMs],
  });
  return rows[0] ?? null;
}
