/** Statements on the single execution of a one-off job: it is a row from the first moment, so moving or cancelling it is an UPDATE (semantics.md 17). */
import type { Transaction } from '../postgres.ts';
import type { Dispatch } from './dispatch-choice.ts';
import type { ExecutionStart } from './execution-store.ts';
import { partitionAtOf } from './ids.ts';

/** What a one-off execution takes over from its job. */
export type OnceValues = {
  team: string;
  jobId: string;
  jobName: string;
  generation: number;
  priority: number;
  queue: string;
  maxAttempts: number;
  dueAt: Date;
};

/** The workflow of a one-off: its own, or that of a pool. */
export type OncePlace = { workflowId: string; dispatch: Dispatch };

/** The run that is still ahead: not admitted yet. */
export type PendingOnce = OncePlace & { id: string; dueAt: Date; queue: string };

export async function onceFindPending(tx: Transaction, team: string, jobId: string): Promise<PendingOnce | null> {
  const { rows } = await tx.query<{ id: string; due_at: Date; workflow_id: string; dispatch: Dispatch; queue: string }>({
    name: 'once-find-pending',
    text: `SELECT id, due_at, workflow_id, dispatch, queue FROM job_executions
            WHERE job_id = $1 AND team = $2 AND trigger = 'once' AND finished_at IS NULL AND status = 'queued' AND NOT counted
            ORDER BY partition_at DESC LIMIT 1 FOR UPDATE`,
    values: [jobId, team],
  });
  const row = rows[0];
  return row ? { id: row.id, dueAt: row.due_at, workflowId: row.workflow_id, dispatch: row.dispatch, queue: row.queue } : null;
}

/**
 * Makes a run that waits, for the end of a freeze or of another, and has never begun, one that is still ahead: it is admitted anew, at the time it has then.
 * The caller holds the job's lock.
 */
export async function onceTakeBack(tx: Transaction, team: string, jobId: string): Promise<void> {
  await tx.query({
    name: 'once-take-back',
    text: `WITH taken AS (
             UPDATE job_executions SET waiting = false, counted = false, reason = NULL, freeze_id = NULL, run_id = NULL
              WHERE job_id = $1 AND team = $2 AND trigger = 'once' AND finished_at IS NULL AND status = 'queued' AND waiting AND attempt = 0
             RETURNING id
           )
           UPDATE job_runtime SET waiting = waiting - (SELECT count(*) FROM taken) WHERE job_id = $1 AND team = $2 AND EXISTS (SELECT 1 FROM taken)`,
    values: [jobId, team],
  });
}

/** Whether another one-off is due in the same second, and whether there is time left to share a workflow. */
export async function onceCompany(
  tx: Transaction,
  { team, jobId, queue, dueAt }: Pick<OnceValues, 'team' | 'jobId' | 'queue' | 'dueAt'>,
): Promise<{ taken: boolean; canWait: boolean }> {
  const { rows } = await tx.query<{ taken: boolean; canWait: boolean }>({
    name: 'once-company',
    text: 'SELECT is_second_taken($1, $2, $3, $4) AS taken, can_wait_in_bucket($3) AS "canWait"',
    values: [team, queue, dueAt, jobId],
  });
  return rows[0]!;
}

/** The newest run of a job as a one-off, whatever became of it. */
export async function onceFindLast(tx: Transaction, team: string, jobId: string): Promise<{ dueAt: Date; reason: string | null } | null> {
  const { rows } = await tx.query<{ due_at: Date; reason: string | null }>({
    name: 'once-find-last',
    text: `SELECT due_at, reason FROM job_executions WHERE job_id = $1 AND team = $2 AND trigger = 'once' ORDER BY partition_at DESC LIMIT 1`,
    values: [jobId, team],
  });
  return rows[0] ? { dueAt: rows[0].due_at, reason: rows[0].reason } : null;
}

/** Adds the run of a job that has become a one-off, or has got a new time after its last run. */
export async function onceInsert(
  tx: Transaction,
  id: string,
  place: OncePlace,
  once: OnceValues,
  requestedBy: string,
): Promise<ExecutionStart> {
  await tx.query({
    name: 'once-insert',
    text: `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch,
                                       workflow_id, requested_by)
           VALUES ($1, $2, $3, $4, $5, $6, 'once', $7, $7, 'queued', $8, $9, $10, $12, $13, $11)`,
    values: [
      partitionAtOf(id),
      id,
      once.team,
      once.jobId,
      once.jobName,
      once.generation,
      once.dueAt,
      once.maxAttempts,
      once.priority,
      once.queue,
      requestedBy,
      place.dispatch,
      place.workflowId,
    ],
  });
  return onceStart(id, place, once);
}

/**
 * Writes what the pending run takes over from its job.
 * @param place another workflow than before when the run has moved: the old one finds itself to be a duplicate, a pool's finds a row less.
 */
export async function onceRewrite(tx: Transaction, pending: PendingOnce, place: OncePlace, once: OnceValues): Promise<ExecutionStart> {
  await tx.query({
    name: 'once-rewrite',
    text: `UPDATE job_executions
              SET slot = $4, due_at = $4, run_id = CASE WHEN workflow_id = $5 THEN run_id END, workflow_id = $5, generation = $6, max_attempts = $7,
                  priority = $8, queue = $9, job_name = $10, dispatch = $11
            WHERE partition_at = $1 AND id = $2 AND team = $3 AND status = 'queued' AND NOT counted`,
    values: [
      partitionAtOf(pending.id),
      pending.id,
      once.team,
      once.dueAt,
      place.workflowId,
      once.generation,
      once.maxAttempts,
      once.priority,
      once.queue,
      once.jobName,
      place.dispatch,
    ],
  });
  return onceStart(pending.id, place, once);
}

/** What the start of a one-off's workflow needs. */
export const onceStart = (id: string, { workflowId, dispatch }: OncePlace, once: OnceValues): ExecutionStart => ({
  team: once.team,
  id,
  partitionAt: partitionAtOf(id)!.toISOString(),
  workflowId,
  queue: once.queue,
  dueAt: once.dueAt.toISOString(),
  priority: once.priority,
  jobName: once.jobName,
  dispatch,
});
