/**
 * Creating a job in one statement and one round trip: definition, runtime row, first revision, clock, membership, one-off and audit event.
 * It commits by itself when it runs on the pool, which makes the whole creation one network round trip and one WAL flush (shared with its neighbours).
 * Where it depends on who else fires at the same times, the statement itself chooses between a clock of its own and a shared one (dispatch-choice.ts).
 */
import type { Queryable } from '../postgres.ts';
import { COMPANY, type Dispatch, isPoolable, OWN, SAME_SECOND } from './dispatch-choice.ts';
import { bucketPoolId, newGroupPoolId, partitionAtOf, pooledClockId } from './ids.ts';
import type { Draft, InsertOutcome } from './job-draft.ts';
import { membershipEnd } from './job-facts.ts';
import type { StoredJob } from './job-store.ts';
import { runtimeValues, slotRuleValues } from './job-write-store.ts';
import { durationMs } from './time/duration.ts';
import { marksToWrite } from './time/written-marks.ts';

/** How long after its slot a slot without a row is looked for (semantics.md 9), milliseconds. */
export const CHECK_AFTER_MS = 15_000;

/** When the clock of a new job is first looked at for a slot without a row. */
export const checkAt = ({ nextRunAt }: StoredJob): Date | null => (nextRunAt ? new Date(nextRunAt.getTime() + CHECK_AFTER_MS) : null);

// $10: its own clock's id, null without a clock. $33: the choice, where it is certain; $35: the shared clock; $36, $37: pools of a one-off.
const TEXT = `
  WITH known AS (
    SELECT s.name FROM services s WHERE s.team = $2 AND s.name = ANY ($30::text[]) FOR KEY SHARE
  ), chosen AS MATERIALIZED (
    SELECT CASE
             WHEN $33::text IS NOT NULL THEN $33::text
             WHEN $10::text IS NOT NULL AND EXISTS (
               SELECT 1 FROM clock_members m WHERE m.clock_id = $35::text AND m.valid_to = 'infinity') THEN 'pooled'
             WHEN $28::text IS NOT NULL AND is_second_taken($2, $14, $29::timestamptz, $1) THEN 'pooled'
             ELSE 'dedicated'
           END AS dispatch
  ), place AS MATERIALIZED (
    SELECT c.dispatch,
           coalesce($34::text, CASE WHEN c.dispatch = 'dedicated' THEN '${OWN.reason}' WHEN $10::text IS NOT NULL THEN '${COMPANY.reason}' ELSE '${SAME_SECOND.reason}' END) AS reason,
           CASE WHEN $10::text IS NULL THEN NULL WHEN c.dispatch = 'pooled' THEN $35::text ELSE $10::text END AS clock_id,
           CASE WHEN $28::text IS NULL OR c.dispatch = 'dedicated' THEN $28::text
                WHEN can_wait_in_bucket($29::timestamptz) THEN $36::text ELSE $37::text END AS workflow_id
      FROM chosen c
  ), job AS (
    INSERT INTO jobs (id, team, name, service, category, priority, tags, state, generation, document, clock_id, created_by, created_at, updated_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, 1, $9, place.clock_id, $11, $12, $12
      FROM place WHERE (SELECT count(*) FROM known) = cardinality($30::text[])
    ON CONFLICT (team, name) WHERE deleted_at IS NULL DO NOTHING
    RETURNING id
  ), runtime AS (
    INSERT INTO job_runtime (job_id, team, job_name, generation, priority, next_run_at, queue, enabled, overlap, catch_up, catch_up_window_ms, offset_s, max_attempts,
                             pause_after_failures, timeout_ms, dispatch, dispatch_reason, dispatch_wish, poolable,
                             dst_gap, dst_repeat, include_calendars, exclude_calendars, calendar_zone, expect_ms, next_run_unsure)
    SELECT id, $2, $3, 1, $6, $13, $14, $15, $16, $17, $18, $19, $20, $21, $32, place.dispatch, place.reason, $38, $39,
           $40, $41, $42::text[], $43::text[], $44, $45, $44::text IS NOT NULL FROM job, place
  ), revision AS (
    INSERT INTO job_revisions (job_id, generation, team, document, changed_by, created_at) SELECT id, 1, $2, $9, $11, $12 FROM job
  ), audit AS (
    INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after, request_id)
    SELECT $2, $11, 'job.created', 'job', id, $9, $22 FROM job
  ), joined AS MATERIALIZED (
    SELECT j.generation, j.observed_generation, j.raised
      FROM job, place, LATERAL join_pooled_clock($2, place.clock_id, $23::text, $14, $13, statement_timestamp()) j WHERE place.clock_id <> $10::text
  ), timing AS (
    INSERT INTO timings (hash, timing, marks_until) SELECT $23::text, $24, $46::timestamptz FROM job WHERE $10::text IS NOT NULL ON CONFLICT DO NOTHING RETURNING hash
  ), mark AS (
    INSERT INTO timing_marks (timing_hash, slot, kind, fired)
    SELECT t.hash, to_timestamp(m.slot), m.kind, m.fired FROM timing t, json_to_recordset($47::json) AS m (slot bigint, kind text, fired boolean)
  ), clock AS (
    INSERT INTO clocks (id, team, kind, timing_hash, queue, next_check_at)
    SELECT id, $2, 'dedicated', $23::text, $14, $25::timestamptz FROM job, place WHERE place.clock_id = $10::text
  ), member AS (
    INSERT INTO clock_members (job_id, clock_id, team, generation, timing_hash, valid_from, valid_to)
    SELECT id, place.clock_id, $2, 1, $23::text, m.valid_from, greatest(m.valid_from, coalesce($27::timestamptz, 'infinity'))
      FROM job, place, (SELECT greatest(statement_timestamp(), $26::timestamptz) AS valid_from) m WHERE $10::text IS NOT NULL
  ), once AS (
    INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch,
                                workflow_id, requested_by)
    SELECT $31::timestamptz, $28::text, $2, id, $3, 1, 'once', $29::timestamptz, $29::timestamptz, 'queued', $20, $6, $14, place.dispatch, place.workflow_id, $11
      FROM job, place WHERE $28::text IS NOT NULL
  )
  SELECT EXISTS (SELECT 1 FROM job) AS created, ARRAY(SELECT unnest($30::text[]) EXCEPT SELECT name FROM known) AS missing,
         place.dispatch, place.reason, place.clock_id, place.workflow_id, joined.generation, joined.observed_generation, joined.raised
    FROM place LEFT JOIN joined ON true`;

/** What both statements answer of a job. */
export type InsertRow = {
  created: boolean;
  missing: string[];
  dispatch: Dispatch;
  reason: string;
  clock_id: string | null;
  workflow_id: string | null;
  generation: string | null;
  observed_generation: string | null;
  raised: boolean | null;
};

export const outcomeOf = (row: InsertRow): InsertOutcome => ({
  created: row.created,
  missingServices: row.missing,
  choice: { dispatch: row.dispatch, reason: row.reason },
  clockId: row.clock_id,
  joined:
    row.generation === null
      ? null
      : { generation: Number(row.generation), observedGeneration: Number(row.observed_generation), raised: row.raised === true },
  workflowId: row.workflow_id,
});

/**
 * Inserts a job and all that belongs to it, or nothing.
 * @param database the pool (commits at once) or the transaction that holds the idempotency key.
 * @returns `created: false` with missing services, or because the name is taken.
 */
export async function jobInsert(database: Queryable, { caller, job, facts, services, once, certain }: Draft): Promise<InsertOutcome> {
  const { document } = job;
  const marks = facts.timing && marksToWrite(facts.timing, job.createdAt);
  const { rows } = await database.query<InsertRow>({
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
      checkAt(job),
      facts.window.startAt ?? null,
      membershipEnd(facts.window),
      once?.id ?? null,
      once?.dueAt ?? null,
      services,
      once ? partitionAtOf(once.id) : null,
      durationMs(document.timeout),
      certain?.dispatch ?? null,
      certain?.reason ?? null,
      facts.timingHash ? pooledClockId(facts.timingHash) : null,
      once ? bucketPoolId(job.team, facts.queue, once.dueAt) : null,
      once ? newGroupPoolId(facts.queue) : null,
      document.dispatch,
      isPoolable(document),
      ...slotRuleValues(document),
      marks?.until ?? null,
      marks?.marks ?? null,
    ],
  });
  return outcomeOf(rows[0]!);
}
