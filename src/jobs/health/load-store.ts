/** Who will start when: jobs in groups that start alike, so that thousands of them are worked out once. */
import type { Queryable } from '../../postgres.ts';
import type { DstPolicy } from '../time/oracle.ts';

/** Jobs with the same timing, queue, offset and rules. */
export type LoadGroup = {
  timing_hash: string;
  queue: string;
  offset_s: number;
  /** Jobs of it that have no spread of their own. */
  unspread: number;
  jobs: number;
  dst_gap: DstPolicy['gap'];
  dst_repeat: DstPolicy['repeat'] | null;
  include: string[] | null;
  exclude: string[] | null;
  zone: string | null;
  /** Where its membership begins or ends inside the window; null: before and after it. */
  begins: Date | null;
  ends: Date | null;
};

export async function loadGroups(database: Queryable, team: string, from: Date, until: Date): Promise<LoadGroup[]> {
  const { rows } = await database.query<LoadGroup>({
    name: 'load-groups',
    text: `SELECT m.timing_hash, r.queue, r.offset_s, r.dst_gap, r.dst_repeat, r.include_calendars AS include, r.exclude_calendars AS exclude,
                  r.calendar_zone AS zone, CASE WHEN m.valid_from > $2 THEN m.valid_from END AS begins, CASE WHEN m.valid_to < $3 THEN m.valid_to END AS ends,
                  count(*)::integer AS jobs, count(*) FILTER (WHERE r.offset_s = 0)::integer AS unspread
             FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id
            WHERE m.team = $1 AND m.valid_to > $2 AND m.valid_from < $3 AND r.enabled AND r.paused_at IS NULL
            GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10`,
    values: [team, from, until],
  });
  return rows;
}

/** Single runs ahead, by queue and minute (minutes since 1970). */
export async function loadOfOnce(
  database: Queryable,
  team: string,
  from: Date,
  until: Date,
): Promise<{ queue: string; minute: number; starts: number }[]> {
  const { rows } = await database.query<{ queue: string; minute: number; starts: number }>({
    name: 'load-once',
    text: `SELECT e.queue, floor(extract(epoch FROM e.due_at) / 60)::float8 AS minute, count(*)::integer AS starts FROM job_executions e
            WHERE e.team = $1 AND e.finished_at IS NULL AND e.status = 'queued' AND e.trigger = 'once' AND e.due_at >= $2 AND e.due_at < $3 GROUP BY 1, 2`,
    values: [team, from, until],
  });
  return rows;
}

/** Stretches of many calendars in some zones that have a part in the window; by `calendar zone`. */
export async function loadSpans(
  database: Queryable,
  team: string,
  calendars: readonly string[],
  from: Date,
  until: Date,
): Promise<Map<string, { fromS: number; toS: number }[]>> {
  const { rows } = await database.query<{ key: string; fromS: number; toS: number }>({
    name: 'load-spans',
    text: `SELECT s.calendar || ' ' || s.zone AS key, extract(epoch FROM s.from_at)::float8 AS "fromS", extract(epoch FROM s.to_at)::float8 AS "toS" FROM calendar_spans s
            WHERE s.team = $1 AND s.calendar = ANY ($2::text[]) AND s.from_at < $4 AND s.to_at > $3`,
    values: [team, calendars, from, until],
  });
  return Map.groupBy(rows, ({ key }) => key);
}

export type UnspreadJob = { timing_hash: string; queue: string; job_id: string; job_name: string; schedule: unknown };

/** Some jobs of each of these timings that start at their slot itself and have said nothing of a spread. */
export async function unspreadJobs(database: Queryable, team: string, hashes: readonly string[], most: number): Promise<UnspreadJob[]> {
  const { rows } = await database.query<UnspreadJob>({
    name: 'load-unspread',
    text: `SELECT h.hash AS timing_hash, u.queue, u.job_id, u.job_name, u.schedule
             FROM unnest($2::text[]) WITH ORDINALITY AS h (hash, nth)
            CROSS JOIN LATERAL (
              SELECT r.queue, r.job_id, j.name AS job_name, j.document -> 'schedule' AS schedule
                FROM clock_members m JOIN job_runtime r ON r.job_id = m.job_id JOIN jobs j ON j.id = m.job_id
               WHERE m.team = $1 AND m.timing_hash = h.hash AND m.valid_to = 'infinity' AND r.offset_s = 0 AND r.enabled AND r.paused_at IS NULL
                 AND coalesce(j.document #>> '{schedule,jitter}', j.document #>> '{schedule,spread}') IS NULL
               ORDER BY j.name LIMIT $3) u
            ORDER BY h.nth, u.job_name`,
    values: [team, hashes, most],
  });
  return rows;
}
