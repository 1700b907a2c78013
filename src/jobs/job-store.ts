/** Reading one job, and writing a new generation of it. The creating statement is in job-insert.ts, the list in jobs-list.ts. */
import type { Queryable, Transaction } from '../postgres.ts';
import type { Caller } from './caller.ts';
import { isJobId } from './ids.ts';
import type { JobDocument } from './job-document.ts';
import type { JobFacts, JobState } from './job-facts.ts';
import { durationMs } from './time/duration.ts';

export type Pause = { reason: string | null; by: string; at: string; blockManual: boolean; automatic: boolean };
export type Sync = 'synced' | 'pending';

/** A job as it is stored, definition and running figures together. */
export type StoredJob = {
  id: string;
  team: string;
  name: string;
  state: JobState;
  generation: number;
  document: JobDocument;
  clockId: string | null;
  /** True when its clock is there and has a member; a finished or disabled job's clock is emptied, then taken away. */
  clockHeld: boolean;
  /** The queue it runs on now; the settings may say another one since. */
  queue: string;
  pause: Pause | null;
  createdBy: string;
  createdAt: Date;
  updatedAt: Date;
  nextRunAt: Date | null;
  lastOutcome: string | null;
  lastExecution: unknown;
  sync: Sync;
};

/**
 * The state as people see it: a scheduled job whose last slot has passed is finished, although nobody has written that yet.
 * Aliases: j jobs, r job_runtime.
 */
export const SHOWN_STATE = `CASE WHEN j.state = 'active' AND j.clock_id IS NOT NULL AND r.next_run_at IS NULL THEN 'finished' ELSE j.state END`;

/**
 * Whether Temporal is known to have what the job wants: its clock (also one that is being removed), or the start of its one run.
 * Aliases: j jobs, c the clock or the former clock.
 */
export const SYNC = `CASE
    WHEN c.generation <> c.observed_generation THEN 'pending'
    WHEN j.clock_id IS NULL AND j.state = 'active' AND EXISTS (
      SELECT 1 FROM job_executions e
       WHERE e.job_id = j.id AND e.status IN ('queued', 'running') AND e.trigger = 'once' AND e.run_id IS NULL AND NOT e.waiting) THEN 'pending'
    ELSE 'synced'
  END`;

const COLUMNS = `j.id, j.team, j.name, ${SHOWN_STATE} AS state, j.generation, j.document, j.clock_id, c.id IS NOT NULL AND c.empty_since IS NULL AND c.deleted_at IS NULL AS clock_held, r.queue, j.pause, j.created_by, j.created_at, j.updated_at,
       r.next_run_at, r.last_outcome, r.last_execution, ${SYNC} AS sync`;
const FROM = `FROM jobs j JOIN job_runtime r ON r.job_id = j.id LEFT JOIN clocks c ON c.id = coalesce(j.clock_id, j.id)`;

type JobRow = {
  id: string;
  team: string;
  name: string;
  state: JobState;
  generation: string;
  document: JobDocument;
  clock_id: string | null;
  clock_held: boolean;
  queue: string;
  pause: Pause | null;
  created_by: string;
  created_at: Date;
  updated_at: Date;
  next_run_at: Date | null;
  last_outcome: string | null;
  last_execution: unknown;
  sync: Sync;
};

const toStored = (row: JobRow): StoredJob => ({
  id: row.id,
  team: row.team,
  name: row.name,
  state: row.state,
  generation: Number(row.generation),
  document: row.document,
  clockId: row.clock_id,
  clockHeld: row.clock_held,
  queue: row.queue,
  pause: row.pause,
  createdBy: row.created_by,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  nextRunAt: row.next_run_at,
  lastOutcome: row.last_outcome,
  lastExecution: row.last_execution,
  sync: row.sync,
});

/** What a person writes into an address: an id, or a name in the normal form names are stored in. */
const keyOf = (idOrName: string): ['id' | 'name', string] => (isJobId(idOrName) ? ['id', idOrName] : ['name', idOrName.normalize('NFC')]);

/** A job that is not deleted, or null. */
export async function jobFind(database: Queryable, team: string, idOrName: string): Promise<StoredJob | null> {
  const [column, key] = keyOf(idOrName);
  const { rows } = await database.query<JobRow>({
    name: `job-find-by-${column}`,
    text: `SELECT ${COLUMNS} ${FROM} WHERE j.team = $1 AND j.${column} = $2 AND j.deleted_at IS NULL`,
    values: [team, key],
  });
  return rows[0] ? toStored(rows[0]) : null;
}

/** The id behind an id or a name of a job that is not deleted, or null. */
export async function jobFindId(database: Queryable, team: string, idOrName: string): Promise<string | null> {
  const [column, key] = keyOf(idOrName);
  const { rows } = await database.query<{ id: string }>({
    name: `job-find-id-by-${column}`,
    text: `SELECT id FROM jobs j WHERE j.team = $1 AND j.${column} = $2 AND j.deleted_at IS NULL`,
    values: [team, key],
  });
  return rows[0]?.id ?? null;
}

/**
 * Locks a job by its runtime row, then reads it: two statements, because one would read from before its wait for the lock.
 * @returns the job and the database's time after the lock was won (milliseconds), which orders this change after all earlier ones; null: no such job.
 */
export async function jobLock(tx: Transaction, team: string, idOrName: string): Promise<{ job: StoredJob; at: Date } | null> {
  const id = await jobFindId(tx, team, idOrName);
  if (id === null) return null;
  await tx.query({ name: 'job-lock', text: 'SELECT 1 FROM job_runtime WHERE job_id = $1 AND team = $2 FOR UPDATE', values: [id, team] });
  const [column, key] = keyOf(idOrName);
  const { rows } = await tx.query<JobRow & { at: Date }>({
    name: `job-read-locked-by-${column}`,
    text: `SELECT ${COLUMNS}, clock_timestamp() AS at ${FROM} WHERE j.id = $1 AND j.team = $2 AND j.${column} = $3 AND j.deleted_at IS NULL`,
    values: [id, team, key],
  });
  const row = rows[0];
  return row ? { job: toStored(row), at: row.at } : null;
}

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

/** Writes a job's next generation: row, runtime, revision and audit event in one statement. The caller holds the job's lock. */
export async function jobWriteGeneration(
  tx: Transaction,
  caller: Caller,
  before: JobDocument,
  job: StoredJob,
  facts: JobFacts,
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
                                    catch_up_window_ms = $18, offset_s = $19, max_attempts = $20, pause_after_failures = $21, timeout_ms = $25
              WHERE job_id = $1 AND team = $2
           ), revision AS (
             INSERT INTO job_revisions (job_id, generation, team, document, changed_by, created_at) VALUES ($1, $9, $2, $10, $22, $12)
           )
           INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, before, after, request_id)
           VALUES ($2, $22, 'job.updated', 'job', $1, $23, $10, $24)`,
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
    ],
  });
}

/** Writes what a pause or a resume changes. No new generation: the definition stays as it is. The caller holds the job's lock. */
export async function jobWritePause(tx: Transaction, job: StoredJob): Promise<void> {
  await tx.query({
    name: 'job-write-pause',
    text: `WITH job AS (
             UPDATE jobs SET state = $3, pause = $4, updated_at = $5 WHERE id = $1 AND team = $2
           )
           UPDATE job_runtime SET paused_at = $6::timestamptz, block_manual = $7, next_run_at = $8,
                  consecutive_failures = CASE WHEN $6::timestamptz IS NULL THEN 0 ELSE consecutive_failures END
            WHERE job_id = $1 AND team = $2`,
    values: [
      job.id,
      job.team,
      job.state,
      job.pause ? JSON.stringify(job.pause) : null,
      job.updatedAt,
      job.pause?.at ?? null,
      job.pause?.blockManual ?? false,
      job.nextRunAt,
    ],
  });
}

export type Revision = { generation: number; document: JobDocument; changedBy: string; createdAt: Date };

/** Generations of a job, newest first, also of a deleted one. @param before only older ones than this generation. */
export async function jobRevisions(
  database: Queryable,
  team: string,
  jobId: string,
  limit: number,
  before: number | null,
): Promise<Revision[]> {
  const { rows } = await database.query<{ generation: string; document: JobDocument; changed_by: string; created_at: Date }>(
    `SELECT generation, document, changed_by, created_at FROM job_revisions
      WHERE job_id = $1 AND team = $2 AND ($4::bigint IS NULL OR generation < $4) ORDER BY generation DESC LIMIT $3`,
    [jobId, team, limit, before],
  );
  return rows.map((row) => ({
    generation: Number(row.generation),
    document: row.document,
    changedBy: row.changed_by,
    createdAt: row.created_at,
  }));
}
