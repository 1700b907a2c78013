/** Writing a job that is there: a new generation, another way of dispatch. The caller holds its lock. */
import type { Transaction } from '../postgres.ts';
import type { Caller } from './caller.ts';
import { type DispatchChoice, isPoolable } from './dispatch-choice.ts';
import type { JobDocument } from './job-document.ts';
import type { JobFacts } from './job-facts.ts';
import type { StoredJob } from './job-store.ts';
import { durationMs } from './time/duration.ts';

/** The columns of job_runtime that follow from a document. */
export const runtimeValues = (document: JobDocument, facts: JobFacts): unknown[] => [
  facts.queue,
  document.enabled,
  document.overlap,
  document.catchUp.policy,
  durationMs(document.catchUp.window),
  facts.offsetS,
  document.retry.maxAttempts,
  document.pauseAfterFailures ?? null,
];

/** The columns of job_runtime that decide which of its clock's slots a job runs, and what is expected of it. */
export const slotRuleValues = ({ schedule, expect }: JobDocument): unknown[] => [
  schedule?.dst?.gap ?? 'shift',
  schedule?.dst?.repeat ?? null,
  schedule?.include ?? null,
  schedule?.exclude ?? null,
  schedule?.include || schedule?.exclude ? schedule.timezone : null,
  expect?.everyAtMost === undefined ? null : durationMs(expect.everyAtMost),
];

/** Writes a job's next generation: row, runtime, revision and audit event in one statement. The caller holds the job's lock. */
export async function jobWriteGeneration(
  tx: Transaction,
  caller: Caller,
  before: JobDocument,
  job: StoredJob,
  facts: JobFacts,
  action = 'job.updated',
): Promise<void> {
  const { document } = job;
  await tx.query({
    name: 'job-write-generation',
    text: `WITH job AS (
             UPDATE jobs SET name = $3, service = $4, category = $5, priority = $6, tags = $7, state = $8, generation = $9, document = $10, clock_id = $11,
                             updated_at = $12
              WHERE id = $1 AND team = $2
           ), runtime AS (
             UPDATE job_runtime SET job_name = $3, generation = $9, priority = $6, next_run_at = $13, queue = $14, enabled = $15, overlap = $16, catch_up = $17,
                                    catch_up_window_ms = $18, offset_s = $19, max_attempts = $20, pause_after_failures = $21, timeout_ms = $25,
                                    dispatch = $26, dispatch_reason = $27, dispatch_wish = $28, poolable = $29, dst_gap = $30, dst_repeat = $31,
                                    include_calendars = $32::text[], exclude_calendars = $33::text[], calendar_zone = $34, expect_ms = $35,
                                    next_run_unsure = $34::text IS NOT NULL
              WHERE job_id = $1 AND team = $2
           ), revision AS (
             INSERT INTO job_revisions (job_id, generation, team, document, changed_by, created_at) VALUES ($1, $9, $2, $10, $22, $12)
           )
           INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, before, after, request_id)
           VALUES ($2, $22, $36, 'job', $1, $23, $10, $24)`,
    values: [
      job.id,
      job.team,
      document.name,
      document.service ?? null,
      document.category ?? null,
      document.priority,
      JSON.stringify(document.tags),
      job.state,
      job.generation,
      JSON.stringify(document),
      job.clockId,
      job.updatedAt,
      job.nextRunAt,
      ...runtimeValues(document, facts),
      caller.name,
      JSON.stringify(before),
      caller.requestId,
      durationMs(document.timeout),
      job.dispatchChoice.dispatch,
      job.dispatchChoice.reason,
      document.dispatch,
      isPoolable(document),
      ...slotRuleValues(document),
      action,
    ],
  });
}

/** Writes that the job is dispatched in another way than before, by the controller's choice. No new generation. The caller holds the job's lock. */
export async function jobWriteDispatch(tx: Transaction, before: DispatchChoice, job: StoredJob): Promise<void> {
  await tx.query({
    name: 'job-write-dispatch',
    text: `WITH job AS (
             UPDATE jobs SET clock_id = $3 WHERE id = $1 AND team = $2
           ), runtime AS (
             UPDATE job_runtime SET dispatch = $4, dispatch_reason = $5 WHERE job_id = $1 AND team = $2
           )
           INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, before, after)
           VALUES ($2, 'almanac', 'job.dispatch_changed', 'job', $1, $6, $7)`,
    values: [
      job.id,
      job.team,
      job.clockId,
      job.dispatchChoice.dispatch,
      job.dispatchChoice.reason,
      JSON.stringify(before),
      JSON.stringify(job.dispatchChoice),
    ],
  });
}
