/** The health of intervals as rows: rolled up from the newest executions by the controller, read by lists. */
import type { Queryable } from '../../postgres.ts';
import { jobConditions } from '../ledger/skipped-slots.ts';

/** An execution this share of the interval long, at p95, is worth a word; and below the second the episode is over. */
export const WORD_FROM = 0.8;
export const WORD_OVER = 0.7;
/** With fewer executions p95 says little. */
export const LEAST_EXECUTIONS = 5;
/** Executions that count: the newest so many, of the last so many days. */
const NEWEST = 50;
const DAYS = 31;
/** Rows read to find them, where most slots are skipped. */
const MOST_ROWS = 500;

export type HealthJob = { job_id: string; timing_hash: string };

/** Jobs of all teams with slots ahead, in the order of their ids. */
export async function healthJobsAfter(database: Queryable, after: string, limit: number): Promise<HealthJob[]> {
  const { rows } = await database.query<HealthJob>({
    name: 'health-jobs',
    text: `SELECT r.job_id, m.timing_hash FROM job_runtime r
            CROSS JOIN LATERAL (SELECT m.timing_hash FROM clock_members m
                                 WHERE m.job_id = r.job_id AND m.valid_to > now() AND m.valid_from <= now() LIMIT 1) m
            WHERE r.job_id > $1 AND r.enabled ORDER BY r.job_id LIMIT $2`,
    values: [after, limit],
  });
  return rows;
}

/**
 * Measures jobs and writes what comes out; raises `interval_health` once per episode.
 * Skips are projected from how many slots pass while an execution lasts: one that lasts k intervals keeps k slots from running, out of k + 1. Where executions may
 * overlap, or all wait, none is skipped.
 * @returns the jobs that there was a word about.
 */
export async function healthMeasure(
  database: Queryable,
  jobs: readonly { jobId: string; intervalMs: number; slotsPerDay: number }[],
): Promise<{ job_id: string; share: number }[]> {
  const { rows } = await database.query<{ job_id: string; share: number }>({
    name: 'health-measure',
    text: `WITH measured AS MATERIALIZED (
             SELECT r.team, r.job_id, r.overlap, a.interval_ms, a.slots_per_day, m.*,
                    CASE WHEN r.overlap IN ('skip', 'buffer_one') THEN a.slots_per_day * m.passed / (m.executions + m.passed) ELSE 0 END AS skips_per_day
               FROM unnest($1::text[], $2::bigint[], $3::float8[]) AS a (job_id, interval_ms, slots_per_day)
              CROSS JOIN LATERAL (SELECT r.team, r.job_id, r.overlap FROM job_runtime r WHERE r.job_id = a.job_id LIMIT 1) r
              CROSS JOIN LATERAL (
                SELECT count(*)::integer AS executions, sum(floor(d.took / a.interval_ms)) AS passed,
                       percentile_cont(0.5) WITHIN GROUP (ORDER BY d.took) AS p50, percentile_cont(0.95) WITHIN GROUP (ORDER BY d.took) AS p95,
                       percentile_cont(0.5) WITHIN GROUP (ORDER BY d.waited) AS wait_p50, percentile_cont(0.95) WITHIN GROUP (ORDER BY d.waited) AS wait_p95
                  FROM (SELECT extract(epoch FROM coalesce(e.finished_at, now()) - e.started_at)::float8 * 1000 AS took,
                               greatest(0, extract(epoch FROM e.started_at - e.due_at))::float8 * 1000 AS waited
                          FROM (SELECT e.started_at, e.finished_at, e.due_at, e.partition_at, e.trigger FROM job_executions e
                                 WHERE e.job_id = a.job_id AND e.team = r.team AND e.partition_at > now() - make_interval(days => ${DAYS}) AND e.partition_at <= now()
                                 ORDER BY e.partition_at DESC LIMIT ${MOST_ROWS}) e
                         WHERE e.started_at IS NOT NULL AND e.trigger = 'schedule' ORDER BY e.partition_at DESC LIMIT ${NEWEST}) d) m
              WHERE m.executions > 0
           ), written AS (
             INSERT INTO job_health AS h (job_id, team, at, executions, interval_ms, p50_ms, p95_ms, wait_p50_ms, wait_p95_ms, share, slots_per_day, skips_per_day, told_at)
             SELECT m.job_id, m.team, now(), m.executions, m.interval_ms, round(m.p50), round(m.p95), round(m.wait_p50), round(m.wait_p95), m.p95 / m.interval_ms,
                    m.slots_per_day, m.skips_per_day,
                    CASE WHEN m.p95 / m.interval_ms >= ${WORD_FROM} AND m.executions >= ${LEAST_EXECUTIONS} AND m.overlap <> 'allow_all' THEN now() END
               FROM measured m
             ON CONFLICT (job_id) DO UPDATE
               SET at = excluded.at, executions = excluded.executions, interval_ms = excluded.interval_ms, p50_ms = excluded.p50_ms, p95_ms = excluded.p95_ms,
                   wait_p50_ms = excluded.wait_p50_ms, wait_p95_ms = excluded.wait_p95_ms, share = excluded.share, slots_per_day = excluded.slots_per_day,
                   skips_per_day = excluded.skips_per_day, told_at = CASE WHEN excluded.share >= ${WORD_OVER} THEN coalesce(h.told_at, excluded.told_at) END
             RETURNING h.team, h.job_id, h.share, h.told_at, h.interval_ms, h.p95_ms, h.skips_per_day
           )
           SELECT w.job_id, w.share
             FROM written w
            CROSS JOIN LATERAL (SELECT raise_event(w.team, w.job_id, 'interval_health', NULL, NULL,
                                  json_build_object('p95Ms', w.p95_ms, 'intervalMs', w.interval_ms, 'share', round(w.share::numeric, 3),
                                                    'projectedSkipsPerDay', round(w.skips_per_day::numeric, 1)))) raised
            WHERE w.told_at = now()`,
    values: [jobs.map(({ jobId }) => jobId), jobs.map(({ intervalMs }) => intervalMs), jobs.map(({ slotsPerDay }) => slotsPerDay)],
  });
  return rows;
}

/** Forgets jobs that have not been measured for a day: they have no slots any more. */
export async function healthForget(database: Queryable): Promise<void> {
  await database.query({ name: 'health-forget', text: `DELETE FROM job_health WHERE at < now() - interval '1 day'` });
}

export type HealthQuery = {
  team: string;
  q?: string | undefined;
  service?: string | undefined;
  category?: string | undefined;
  tag?: readonly string[] | undefined;
  queue?: string | undefined;
  /** p95 of at least this share of the interval. */
  atLeast?: number | undefined;
  limit: number;
  after?: HealthKey | undefined;
};
export type HealthKey = { share: number; jobId: string };

export type HealthView = {
  jobId: string;
  jobName: string;
  measuredAt: string;
  /** Executions that were measured. */
  executions: number;
  intervalMs: number;
  p50Ms: number;
  p95Ms: number;
  /** p95Ms / intervalMs. */
  share: number;
  /** From when an execution was due to its start. */
  waitP50Ms: number;
  waitP95Ms: number;
  slotsPerDay: number;
  projectedSkipsPerDay: number;
  overlap: string;
  /** True from 0.8 on, until the share falls below 0.7. */
  warning: boolean;
};

/** A page of jobs, the worst first. */
export async function healthList(database: Queryable, query: HealthQuery): Promise<{ items: HealthView[]; next: HealthKey | null }> {
  const values: unknown[] = [];
  const bind = (value: unknown, type: string) => `$${values.push(value)}::${type}`;
  const where = [`h.team = ${bind(query.team, 'text')}`, 'j.deleted_at IS NULL', ...jobConditions(query, bind)];
  if (query.queue !== undefined) where.push(`r.queue = ${bind(query.queue, 'text')}`);
  if (query.atLeast !== undefined) where.push(`h.share >= ${bind(query.atLeast, 'float8')}`);
  if (query.after) where.push(`(h.share, h.job_id) < (${bind(query.after.share, 'float8')}, ${bind(query.after.jobId, 'text')})`);
  const { rows } = await database.query<HealthView & { measuredAt: Date }>(
    `SELECT h.job_id AS "jobId", j.name AS "jobName", h.at AS "measuredAt", h.executions, h.interval_ms::float8 AS "intervalMs", h.p50_ms::float8 AS "p50Ms",
            h.p95_ms::float8 AS "p95Ms", h.share, h.wait_p50_ms::float8 AS "waitP50Ms", h.wait_p95_ms::float8 AS "waitP95Ms", h.slots_per_day AS "slotsPerDay",
            h.skips_per_day AS "projectedSkipsPerDay", r.overlap, h.told_at IS NOT NULL AS warning
       FROM job_health h JOIN jobs j ON j.id = h.job_id JOIN job_runtime r ON r.job_id = h.job_id
      WHERE ${where.join(' AND ')} ORDER BY h.share DESC, h.job_id DESC LIMIT ${bind(query.limit + 1, 'integer')}`,
    values,
  );
  const items = rows.slice(0, query.limit);
  const last = items.at(-1);
  return {
    items: items.map((row) => ({ ...row, measuredAt: row.measuredAt.toISOString() })),
    next: rows.length > query.limit && last ? { share: last.share, jobId: last.jobId } : null,
  };
}
