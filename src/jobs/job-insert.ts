/**
 * Creating a job in one statement and one round trip: definition, runtime row, first revision, clock, membership, one-off and audit event.
 * It commits by itself when it runs on the pool, which makes the whole creation one network round trip and one WAL flush (shared with its neighbours).
 */
import type { Queryable } from '../postgres.ts';
import type { Caller } from './caller.ts';
import { partitionAtOf } from './ids.ts';
import { type JobFacts, membershipEnd } from './job-facts.ts';
import { runtimeValues, type StoredJob } from './job-store.ts';
import { durationMs } from './time/duration.ts';

/** The single execution of a one-off. */
export type OnceRow = { id: string; dueAt: Date };

export type InsertOutcome = { created: boolean; missingServices: string[] };

/** How long after its slot a slot without a row is looked for (semantics.md 9), milliseconds. */
export const CHECK_AFTER_MS = 15_000;

const TEXT = `
  WITH known AS (
    SELECT s.name FROM services s WHERE s.team = $2 AND s.name = ANY ($30::text[]) FOR KEY SHARE
  ), job AS (
    INSERT INTO jobs (id, team, name, service, category, priority, tags, state, generation, document, clock_id, created_by, created_at, updated_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11, $12, $12
     WHERE (SELECT count(*) FROM known) = cardinality($30::text[])
    ON CONFLICT (team, name) WHERE deleted_at IS NULL DO NOTHING
    RETURNING id
  ), runtime AS (
    INSERT INTO job_runtime (job_id, team, job_name, generation, priority, next_run_at, queue, enabled, overlap, catch_up, catch_up_window_ms, offset_s, max_attempts,
                             pause_after_failures, timeout_ms)
    SELECT id, $2, $3, 1, $6, $13, $14, $15, $16, $17, $18, $19, $20, $21, $32 FROM job
  ), revision AS (
    INSERT INTO job_revisions (job_id, generation, team, document, changed_by, created_at) SELECT id, 1, $2, $9, $11, $12 FROM job
  ), audit AS (
    INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after, request_id)
    SELECT $2, $11, 'job.created', 'job', id, $9, $22 FROM job
  ), timing AS (
    INSERT INTO timings (hash, timing) SELECT $23::text, $24 FROM job WHERE $10::text IS NOT NULL ON CONFLICT DO NOTHING
  ), clock AS (
    INSERT INTO clocks (id, team, kind, timing_hash, queue, next_check_at)
    SELECT id, $2, 'dedicated', $23::text, $14, $25::timestamptz FROM job WHERE $10::text IS NOT NULL
  ), member AS (
    INSERT INTO clock_members (job_id, clock_id, team, generation, timing_hash, valid_from, valid_to)
    SELECT id, id, $2, 1, $23::text, m.valid_from, greatest(m.valid_from, coalesce($27::timestamptz, 'infinity'))
      FROM job, (SELECT greatest(statement_timestamp(), $26::timestamptz) AS valid_from) m WHERE $10::text IS NOT NULL
  ), once AS (
    INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch,
                                workflow_id, requested_by)
    SELECT $31::timestamptz, $28::text, $2, id, $3, 1, 'once', $29::timestamptz, $29::timestamptz, 'queued', $20, $6, $14, 'dedicated', $28::text, $11
      FROM job WHERE $28::text IS NOT NULL
  )
  SELECT EXISTS (SELECT 1 FROM job) AS created, ARRAY(SELECT unnest($30::text[]) EXCEPT SELECT name FROM known) AS missing`;

/**
 * Inserts a job and all that belongs to it, or nothing.
 * @param database the pool (commits at once) or the transaction that holds the idempotency key.
 * @param once the execution of a one-off that is enabled, else null.
 * @returns `created: false` with missing services, or because the name is taken.
 */
export async function jobInsert(
  database: Queryable,
  caller: Caller,
  job: StoredJob,
  facts: JobFacts,
  services: string[],
  once: OnceRow | null,
): Promise<InsertOutcome> {
  const { document } = job;
  const { rows } = await database.query<{ created: boolean; missing: string[] }>({
    name: 'job-insert',
    text: TEXT,
    values: [
      job.id,
      job.team,
      document.name,
      document.service ?? null,
      document.category ?? null,
      document.priority,
      JSON.stringify(document.tags),
      job.state,
      JSON.stringify(document),
      job.clockId,
      caller.name,
      job.createdAt,
      job.nextRunAt,
      ...runtimeValues(document, facts),
      caller.requestId,
      facts.timingHash,
      facts.timing ? JSON.stringify(facts.timing) : null,
      job.nextRunAt ? new Date(job.nextRunAt.getTime() + CHECK_AFTER_MS) : null,
      facts.window.startAt ?? null,
      membershipEnd(facts.window),
      once?.id ?? null,
      once?.dueAt ?? null,
      services,
      once ? partitionAtOf(once.id) : null,
      durationMs(document.timeout),
    ],
  });
  return { created: rows[0]!.created, missingServices: rows[0]!.missing };
}
