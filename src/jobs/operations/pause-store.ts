/** Statements that pause and resume jobs, many in one statement. The caller holds the jobs' locks; clocks are locked after them, in id order. */
import type { Queryable, Transaction } from '../../postgres.ts';
import { CHECK_AFTER_MS } from '../job-insert.ts';
import type { StoredJob } from '../job-store.ts';

/** Writes state, pause and next run as they are in `jobs`. No new generation: the definitions stay as they are. */
export async function pausesWrite(tx: Transaction, team: string, jobs: readonly StoredJob[]): Promise<void> {
  await tx.query({
    name: 'pauses-write',
    text: `WITH wanted AS MATERIALIZED (
             SELECT w.id, w.state, w.pause::jsonb AS pause, w.updated_at, w.paused_at, w.block_manual, w.next_run_at, w.resume_at
               FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::boolean[], $8::timestamptz[], $9::timestamptz[])
                    AS w (id, state, pause, updated_at, paused_at, block_manual, next_run_at, resume_at)
           ), runtime AS (
             UPDATE job_runtime r SET paused_at = w.paused_at, block_manual = w.block_manual, next_run_at = w.next_run_at, resume_at = w.resume_at,
                    next_run_unsure = w.next_run_at IS NOT NULL AND r.calendar_zone IS NOT NULL,
                    consecutive_failures = CASE WHEN w.paused_at IS NULL THEN 0 ELSE r.consecutive_failures END
               FROM wanted w WHERE r.job_id = w.id AND r.team = $1
           )
           UPDATE jobs j SET state = w.state, pause = w.pause, updated_at = w.updated_at FROM wanted w WHERE j.id = w.id AND j.team = $1`,
    values: [
      team,
      jobs.map((job) => job.id),
      jobs.map((job) => job.state),
      jobs.map((job) => (job.pause ? JSON.stringify(job.pause) : null)),
      jobs.map((job) => job.updatedAt),
      jobs.map((job) => job.pause?.at ?? null),
      jobs.map((job) => job.pause?.blockManual ?? false),
      jobs.map((job) => job.nextRunAt),
      jobs.map((job) => job.pause?.until ?? null),
    ],
  });
}

/** Opens the stretches in which the jobs' slots do not start. */
export async function pausedRangesOpen(tx: Transaction, team: string, jobs: readonly StoredJob[], at: Date): Promise<void> {
  await tx.query({
    name: 'paused-ranges-begin',
    // the stretch of a pause that was just ended reaches up to its end, a little ahead
    text: `INSERT INTO slot_ranges (team, job_id, reason, from_at, by, note)
           SELECT $1, p.job_id, 'paused', greatest($3, b.to_at), p.by, p.note FROM unnest($2::text[], $4::text[], $5::text[]) AS p (job_id, by, note)
             LEFT JOIN LATERAL (SELECT g.to_at FROM slot_ranges g WHERE g.job_id = p.job_id AND g.team = $1 AND g.reason = 'paused' AND g.from_at <= $3
                                 ORDER BY g.from_at DESC LIMIT 1) b ON true
           ON CONFLICT DO NOTHING`,
    values: [team, jobs.map((job) => job.id), at, jobs.map((job) => job.pause?.by ?? null), jobs.map((job) => job.pause?.reason ?? null)],
  });
}

export type OpenPause = { job_id: string; from: Date };

/** The stretches that are open, by job. */
export async function pausedRangesNow(database: Queryable, team: string, jobIds: readonly string[]): Promise<OpenPause[]> {
  const { rows } = await database.query<OpenPause>({
    name: 'paused-ranges-now',
    text: `SELECT g.job_id, g.from_at AS from FROM unnest($2::text[]) AS u (id)
             JOIN LATERAL (SELECT g.job_id, g.from_at FROM slot_ranges g
                            -- not IS NULL, for which there is an index: it would walk through the open stretches of all jobs
                            WHERE g.job_id = u.id AND g.team = $1 AND g.reason = 'paused' AND coalesce(g.to_at, 'infinity') = 'infinity'
                            ORDER BY g.job_id, g.from_at LIMIT 100) g ON true
            ORDER BY g.job_id, g.from_at`,
    values: [team, jobIds],
  });
  return rows;
}

/** A stretch that ends: `count` slots lie in it, null: nobody has counted them all. */
export type EndedPause = OpenPause & { to: Date; count: number | null };

export async function pausedRangesEnd(tx: Transaction, team: string, ended: readonly EndedPause[]): Promise<void> {
  if (ended.length === 0) return;
  await tx.query({
    name: 'paused-ranges-end',
    text: `WITH open AS MATERIALIZED (
             SELECT g.job_id, g.from_at, p.to_at, p.count
               FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[]) AS p (job_id, from_at, to_at, count)
               JOIN LATERAL (SELECT g.job_id, g.from_at FROM slot_ranges g
                              WHERE g.job_id = p.job_id AND g.from_at >= p.from_at AND g.from_at < p.from_at + interval '1 millisecond'
                                AND g.team = $1 AND g.reason = 'paused' AND coalesce(g.to_at, 'infinity') = 'infinity' LIMIT 1) g ON true
           )
           UPDATE slot_ranges g SET to_at = greatest(g.from_at, o.to_at), count = o.count
             FROM open o WHERE g.job_id = o.job_id AND g.from_at = o.from_at AND g.reason = 'paused'`,
    values: [team, ended.map((one) => one.job_id), ended.map((one) => one.from), ended.map((one) => one.to), ended.map((one) => one.count)],
  });
}

/** One event per job. `events`: what was before and what is now, as JSON. */
export async function pausesAudit(
  tx: Transaction,
  actor: { team: string; name: string; requestId: string },
  events: readonly { jobId: string; action: string; before: unknown; after: unknown }[],
): Promise<void> {
  await tx.query({
    name: 'pauses-audit',
    text: `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, before, after, request_id)
           SELECT $1, $2, a.action, 'job', a.job_id, a.before::json, a.after::json, $3
             FROM unnest($4::text[], $5::text[], $6::text[], $7::text[]) AS a (job_id, action, before, after)`,
    values: [
      actor.team,
      actor.name,
      actor.requestId,
      events.map((event) => event.jobId),
      events.map((event) => event.action),
      events.map((event) => JSON.stringify(event.before)),
      events.map((event) => JSON.stringify(event.after)),
    ],
  });
}

/** Lets those be told who want to hear of pauses. */
export async function pausesRaise(tx: Transaction, team: string, jobs: readonly StoredJob[]): Promise<void> {
  await tx.query({
    name: 'pauses-raise',
    text: `SELECT raise_event($1, p.job_id, 'paused', NULL, NULL, p.pause::json) FROM unnest($2::text[], $3::text[]) AS p (job_id, pause)`,
    values: [team, jobs.map((job) => job.id), jobs.map((job) => JSON.stringify(job.pause))],
  });
}

export type ShownClock = { id: string; generation: number; observedGeneration: number; paused: boolean };

/** Raises jobs' own clocks whose pause is to be shown in Temporal; not those that show it already. @param clocks in id order, in which they are locked */
export async function ownClocksShow(
  tx: Transaction,
  team: string,
  clocks: readonly { id: string; paused: boolean; nextSlot: Date | null }[],
): Promise<ShownClock[]> {
  if (clocks.length === 0) return [];
  const { rows } = await tx.query<{ id: string; generation: string; observed_generation: string; paused: boolean }>({
    name: 'own-clocks-show',
    text: `WITH held AS MATERIALIZED (
             SELECT c.id, w.paused, w.check_at
               FROM unnest($2::text[], $3::boolean[], $4::timestamptz[]) AS w (id, paused, check_at)
               JOIN LATERAL (SELECT c.id FROM clocks c WHERE c.id = w.id AND c.team = $1 AND c.deleted_at IS NULL LIMIT 1 FOR UPDATE) c ON true
           )
           UPDATE clocks c SET paused = h.paused, generation = c.generation + 1, reconcile_at = now(), failures = 0, next_check_at = least(c.next_check_at, h.check_at)
             FROM held h
            WHERE c.id = h.id AND c.paused <> h.paused
           RETURNING c.id, c.generation, c.observed_generation, c.paused`,
    values: [
      team,
      clocks.map((clock) => clock.id),
      clocks.map((clock) => clock.paused),
      clocks.map((clock) => (clock.nextSlot ? new Date(clock.nextSlot.getTime() + CHECK_AFTER_MS) : null)),
    ],
  });
  return rows.map((row) => ({
    id: row.id,
    generation: Number(row.generation),
    observedGeneration: Number(row.observed_generation),
    paused: row.paused,
  }));
}

/**
 * Has the search for slots without a row go back: these clocks' slots from then on were taken for paused while nobody had said that the pause was over.
 * What becomes of them is the jobs' catch-up to say. The time is another one each time, so that a look under way, which may have begun after another pause had ended, does not note this away.
 */
export async function clocksCheckFrom(tx: Transaction, team: string, clocks: readonly { id: string; from: Date }[]): Promise<void> {
  if (clocks.length === 0) return;
  await tx.query({
    name: 'clocks-check-from',
    text: `WITH wanted AS MATERIALIZED (
             SELECT u.id, min(u.from_at) AS from_at FROM unnest($2::text[], $3::timestamptz[]) AS u (id, from_at) GROUP BY u.id
           ), held AS MATERIALIZED (
             SELECT c.id FROM clocks c WHERE c.id IN (SELECT w.id FROM wanted w) AND c.team = $1 AND c.deleted_at IS NULL ORDER BY c.id FOR UPDATE
           )
           UPDATE clocks c SET checked_until = least(c.checked_until, w.from_at), next_check_at = clock_timestamp()
             FROM wanted w JOIN held h ON h.id = w.id
            WHERE c.id = w.id`,
    values: [team, clocks.map((clock) => clock.id), clocks.map((clock) => clock.from)],
  });
}

/**
 * Shows Temporal that jobs are awake whose pause ends by itself within so many milliseconds: many clocks take a while to show. What fires until then is swallowed, as the rows
 * say. @returns how many clocks there were, `limit` at most.
 */
export async function ownClocksWake(database: Queryable, aheadMs: number, limit: number): Promise<number> {
  const { rowCount } = await database.query({
    name: 'own-clocks-wake',
    text: `WITH held AS MATERIALIZED (
             SELECT c.id FROM job_runtime r JOIN LATERAL (SELECT c.id FROM clocks c WHERE c.id = r.job_id AND c.paused LIMIT 1) w ON true JOIN clocks c ON c.id = w.id
              WHERE r.resume_at IS NOT NULL AND r.resume_at <= clock_timestamp() + make_interval(secs => $1 / 1000.0) AND r.enabled
                AND c.empty_since IS NULL AND c.deleted_at IS NULL
              ORDER BY c.id LIMIT $2 FOR UPDATE OF c
           )
           UPDATE clocks c SET paused = false, generation = c.generation + 1, reconcile_at = now(), failures = 0
             FROM held h WHERE c.id = h.id AND c.paused`,
    values: [aheadMs, limit],
  });
  return rowCount ?? 0;
}

/** Jobs whose pause is over by its own word, or will be within so many milliseconds. */
export async function pausesOver(database: Queryable, aheadMs: number, limit: number): Promise<{ team: string; job_id: string }[]> {
  const { rows } = await database.query<{ team: string; job_id: string }>({
    name: 'pauses-over',
    text: `SELECT r.team, r.job_id FROM job_runtime r WHERE r.resume_at IS NOT NULL AND r.resume_at <= clock_timestamp() + make_interval(secs => $1 / 1000.0) ORDER BY r.resume_at, r.job_id LIMIT $2`,
    values: [aheadMs, limit],
  });
  return rows;
}

/** These jobs have no pause that ends by itself, whatever their runtime row says: they were deleted meanwhile. */
export async function resumesForget(tx: Transaction, team: string, jobIds: readonly string[]): Promise<void> {
  if (jobIds.length === 0) return;
  await tx.query({
    name: 'resumes-forget',
    text: 'UPDATE job_runtime SET resume_at = NULL WHERE job_id = ANY ($2::text[]) AND team = $1 AND resume_at IS NOT NULL',
    values: [team, jobIds],
  });
}
