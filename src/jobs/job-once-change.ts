/** What a new document means for the single run of a one-off: it is moved, kept, cancelled, or made anew. */
import type { Transaction } from '../postgres.ts';
import type { Caller } from './caller.ts';
import { choiceOf, type DispatchChoice, OWN, SAME_SECOND } from './dispatch-choice.ts';
import { closeExecution, type ExecutionStart } from './execution-store.ts';
import { bucketPoolId, newExecutionId, newGroupPoolId, partitionAtOf } from './ids.ts';
import type { JobDocument } from './job-document.ts';
import { type JobFacts, onceDue } from './job-facts.ts';
import { type OncePlace, type OnceValues, onceCompany, onceFindLast, onceInsert, onceRewrite, type PendingOnce } from './job-once-store.ts';
import type { StoredJob } from './job-store.ts';

export const onceValues = (job: StoredJob, facts: JobFacts, dueAt: Date): OnceValues => ({
  team: job.team,
  jobId: job.id,
  jobName: job.name,
  generation: job.generation,
  priority: job.document.priority,
  queue: facts.queue,
  maxAttempts: job.document.retry.maxAttempts,
  dueAt,
});

/** When the single run is due: the time it has, unless the schedule says another; null when it has run and nobody set a new time. */
export async function nextDue(
  tx: Transaction,
  job: StoredJob,
  document: JobDocument,
  rescheduled: boolean,
  pendingDue: Date | null,
  at: Date,
): Promise<Date | null> {
  if (rescheduled) return onceDue(document, at);
  if (pendingDue) return pendingDue;
  if (job.document.enabled) return null;
  // enabled again: a run whose time is still ahead is made good, one that has run or whose time has passed is not
  const last = await onceFindLast(tx, job.team, job.id);
  if (last && last.reason !== 'job_disabled') return null;
  const due = last ? last.dueAt : onceDue(document, at)!;
  return due > at ? due : null;
}

/** Where a run goes: the workflow it will have, and why. */
export type OncePlan = { id: string; place: OncePlace; choice: DispatchChoice; moves: boolean };

/**
 * Finds the workflow of the run that is due then. It stays where it is when neither its time and queue nor the document ask for another place.
 * @param job as it will be, in its next generation.
 */
export async function planOnce(
  tx: Transaction,
  job: StoredJob,
  facts: JobFacts,
  pending: PendingOnce | null,
  dueAt: Date,
): Promise<OncePlan> {
  const certain = choiceOf(job.document, null);
  const stays = pending !== null && pending.dueAt.getTime() === dueAt.getTime() && pending.queue === facts.queue;
  if (stays && (certain?.dispatch ?? pending.dispatch) === pending.dispatch)
    return { id: pending.id, place: pending, choice: certain ?? (pending.dispatch === 'pooled' ? SAME_SECOND : OWN), moves: false };

  const id = pending?.id ?? newExecutionId(job.id, 'once');
  const { taken, canWait } = await onceCompany(tx, { team: job.team, jobId: job.id, queue: facts.queue, dueAt });
  const choice = certain ?? (taken ? SAME_SECOND : OWN);
  // the old workflow may be running already, so a moved run has another id
  const own = pending ? `${id}-g${job.generation}` : id;
  const pool = canWait ? bucketPoolId(job.team, facts.queue, dueAt) : newGroupPoolId(facts.queue);
  return { id, place: { workflowId: choice.dispatch === 'pooled' ? pool : own, dispatch: choice.dispatch }, choice, moves: true };
}

/** Writes the run as planned. @returns the start of its workflow, when that is a new one, and the workflow that has nothing left to do. */
export async function writeOnce(
  tx: Transaction,
  caller: Caller,
  pending: PendingOnce | null,
  { id, place, moves }: OncePlan,
  values: OnceValues,
): Promise<{ start: ExecutionStart | null; stale: string[] }> {
  if (!pending) return { start: await onceInsert(tx, id, place, values, caller.name), stale: [] };
  const start = await onceRewrite(tx, pending, place, values);
  return moves ? { start, stale: staleOf(pending) } : { start: null, stale: [] };
}

/** Cancels the run, because the job is disabled or no one-off any more. @returns the workflow that has nothing left to do. */
export async function cancelOnce(tx: Transaction, caller: Caller, job: StoredJob, pending: PendingOnce): Promise<string[]> {
  await closeExecution(tx, {
    team: job.team,
    partitionAt: partitionAtOf(pending.id)!,
    id: pending.id,
    status: 'cancelled',
    reason: job.document.enabled ? 'rescheduled' : 'job_disabled',
    error: null,
    by: caller.name,
  });
  // closing a one-off finishes its job, and this job goes on
  await tx.query('UPDATE jobs SET state = $3 WHERE id = $1 AND team = $2', [job.id, job.team, job.state]);
  await tx.query('UPDATE job_runtime SET next_run_at = $3 WHERE job_id = $1 AND team = $2', [job.id, job.team, job.nextRunAt]);
  return staleOf(pending);
}

/** The workflow of a pool goes on for the others. */
const staleOf = (pending: PendingOnce): string[] => (pending.dispatch === 'dedicated' ? [pending.workflowId] : []);
