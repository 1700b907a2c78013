/** Reading one job, and locking it. It is written by job-insert.ts and job-write-store.ts; the list is in jobs-list.ts, old generations in job-revisions.ts. */
import type { Queryable, Transaction } from '../postgres.ts';
import { type Dispatch, type DispatchChoice, OWN } from './dispatch-choice.ts';
import { FREEZES_AHEAD, type FreezeOfJob } from './freezes/freezes-of-job.ts';
import { isJobId } from './ids.ts';
import type { JobDocument } from './job-document.ts';
import type { JobState } from './job-facts.ts';

export type Pause = {
  reason: string | null;
  by: string;
  at: string;
  blockManual: boolean;
  automatic: boolean;
  /** When it ends by itself; absent or null: when somebody ends it. */
  until?: string | null;
};
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
  /** True when its clock is there and it is a member; a finished or disabled job's clock is emptied, then taken away. */
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
  dispatchChoice: DispatchChoice;
  sync: Sync;
  /** Freezes over it that are not over; absent where nobody has looked, as in one that was made just now. */
  freezes?: readonly FreezeOfJob[];
};

/**
 * The state as people see it: a scheduled job whose last slot has passed is finished, although nobody has written that yet.
 * Aliases: j jobs, r job_runtime.
 */
export const SHOWN_STATE = `CASE WHEN j.state = 'active' AND j.clock_id IS NOT NULL AND r.next_run_at IS NULL THEN 'finished' ELSE j.state END`;

/**
 * Whether Temporal is known to have what the job wants: its clock (also one that is being removed), or the start of its one run.
 * A shared clock is no business of a deleted job, but its own from before is. Aliases: j jobs, c the clock or the former clock.
 */
export const SYNC = `CASE
    WHEN c.generation <> c.observed_generation AND (c.kind = 'dedicated' OR j.deleted_at IS NULL) THEN 'pending'
    WHEN j.clock_id <> j.id AND EXISTS (SELECT 1 FROM clocks d WHERE d.id = j.id AND d.generation <> d.observed_generation) THEN 'pending'
    WHEN j.clock_id IS NULL AND j.state = 'active' AND EXISTS (
      SELECT 1 FROM job_executions e
       WHERE e.job_id = j.id AND e.finished_at IS NULL AND e.trigger = 'once' AND e.run_id IS NULL AND NOT e.waiting) THEN 'pending'
    ELSE 'synced'
  END`;

/** Why the job's executions are dispatched as they are; rows from before this was kept have none. Alias: r job_runtime. */
export const DISPATCH_REASON = `coalesce(r.dispatch_reason, CASE r.dispatch_wish WHEN 'auto' THEN '${OWN.reason}' ELSE 'asked for' END)`;

/** Others may hold a shared clock: there the job's own membership counts. Aliases: j jobs, c the clock. */
const CLOCK_HELD = `c.id IS NOT NULL AND c.empty_since IS NULL AND c.deleted_at IS NULL AND (
         c.kind = 'dedicated' OR EXISTS (SELECT 1 FROM clock_members m WHERE m.job_id = j.id AND m.clock_id = c.id AND m.valid_to > clock_timestamp()))`;

const COLUMNS = `j.id, j.team, j.name, ${SHOWN_STATE} AS state, j.generation, j.document, j.clock_id, ${CLOCK_HELD} AS clock_held, r.queue, j.pause, j.created_by, j.created_at, j.updated_at,
       r.next_run_at, r.last_outcome, r.last_execution, r.dispatch, ${DISPATCH_REASON} AS dispatch_reason, ${SYNC} AS sync, ${FREEZES_AHEAD} AS freezes`;
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
  dispatch: Dispatch;
  dispatch_reason: string;
  sync: Sync;
  freezes: FreezeOfJob[] | null;
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
  dispatchChoice: { dispatch: row.dispatch, reason: row.dispatch_reason },
  sync: row.sync,
  freezes: row.freezes ?? [],
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

/** Ids of the jobs that have these names, by name. */
export async function jobFindIds(database: Queryable, team: string, names: readonly string[]): Promise<Map<string, string>> {
  const { rows } = await database.query<{ id: string; name: string }>({
    name: 'job-find-ids',
    text: 'SELECT j.id, j.name FROM jobs j WHERE j.team = $1 AND j.name = ANY ($2::text[]) AND j.deleted_at IS NULL',
    values: [team, names],
  });
  return new Map(rows.map((row) => [row.name, row.id]));
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

/**
 * Locks jobs in id order, then reads those of them that are there.
 * @returns the jobs by id, and the database's time after the last lock was won.
 */
export async function jobsLock(tx: Transaction, team: string, ids: readonly string[]): Promise<{ jobs: Map<string, StoredJob>; at: Date }> {
  const inOrder = [...new Set(ids)].sort();
  await tx.query({
    name: 'jobs-lock',
    text: `SELECT 1 FROM unnest($2::text[]) WITH ORDINALITY AS u (id, nth) JOIN job_runtime r ON r.job_id = u.id AND r.team = $1 ORDER BY r.job_id FOR UPDATE OF r`,
    values: [team, inOrder],
  });
  const { rows } = await tx.query<JobRow & { at: Date }>({
    name: 'jobs-read-locked',
    text: `SELECT ${COLUMNS}, clock_timestamp() AS at
             FROM unnest($2::text[]) AS u (id) JOIN LATERAL (SELECT j.* FROM jobs j WHERE j.id = u.id LIMIT 1) j ON j.team = $1 AND j.deleted_at IS NULL
             JOIN LATERAL (SELECT r.* FROM job_runtime r WHERE r.job_id = j.id LIMIT 1) r ON true
             LEFT JOIN LATERAL (SELECT c.* FROM clocks c WHERE c.id = coalesce(j.clock_id, j.id) LIMIT 1) c ON true`,
    values: [team, inOrder],
  });
  return { jobs: new Map(rows.map((row) => [row.id, toStored(row)])), at: rows[0]?.at ?? new Date() };
}
