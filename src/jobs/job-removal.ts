/** Deleting a job: a tombstone until Temporal has confirmed and the last execution has ended, then the controller purges it. Executions and revisions stay. */
import type { Transaction } from '../postgres.ts';
import { auditInsert } from './audit.ts';
import type { Caller } from './caller.ts';
import type { Dispatch } from './dispatch-choice.ts';
import { type Effects, NO_EFFECTS } from './job-change.ts';
import { desiredClock } from './job-clock-change.ts';
import { clockTombstone, membershipClose } from './job-clock-store.ts';
import { factsOf } from './job-facts.ts';
import type { StoredJob } from './job-store.ts';
import { missedInPauses } from './operations/missed-in-pause.ts';
import { pausedRangesEnd } from './operations/pause-store.ts';

/** Slots of its last pause are counted up to here. */
const MOST_COUNTED = 10_000;

/**
 * Tombstones a job whose lock the caller holds: its name is free at once, nothing of it starts any more, what runs finishes.
 * @param cancelRunning ends running executions as well.
 */
export async function removeJob(
  tx: Transaction,
  caller: Caller,
  job: StoredJob,
  at: Date,
  cancelRunning: boolean,
): Promise<{ job: StoredJob; effects: Effects }> {
  const removed: StoredJob = { ...job, state: 'deleting', updatedAt: at, nextRunAt: null };
  await tx.query({
    name: 'job-tombstone',
    text: `WITH job AS (
             UPDATE jobs SET state = 'deleting', deleted_at = $3, updated_at = $3 WHERE id = $1 AND team = $2
           )
           UPDATE job_runtime SET enabled = false, next_run_at = NULL WHERE job_id = $1 AND team = $2`,
    values: [job.id, job.team, at],
  });
  await auditInsert(tx, caller, { action: 'job.deleted', subjectKind: 'job', subjectId: job.id, before: job.document });
  const missed = job.pause ? await missedInPauses(tx, job.team, [job.id], () => at, MOST_COUNTED) : null;
  await pausedRangesEnd(tx, job.team, missed?.get(job.id)?.ended ?? []);
  await membershipClose(tx, job.team, job.id, at);
  const facts = factsOf(job.document, job.id, job.createdAt, () => job.queue);
  // a clock that it shares goes on for the others
  const tombstone = await clockTombstone(tx, job.team, job.id, at);
  const stale = await closeQueued(tx, job, caller.name);
  if (cancelRunning) await cancelRunningExecutions(tx, job, caller.name);
  const clocks = tombstone && facts.timing ? [desiredClock(job.id, removed, facts, tombstone, true)] : [];
  removed.sync = clocks.length > 0 ? 'pending' : 'synced';
  return { job: removed, effects: { ...NO_EFFECTS, clocks, stale } };
}

/** Closes what has not begun, those that wait first, so that closing one never releases another. Returns the workflows that were meant for them alone. */
async function closeQueued(tx: Transaction, job: StoredJob, by: string): Promise<string[]> {
  const { rows } = await tx.query<{ workflow_id: string; waiting: boolean; dispatch: Dispatch }>({
    name: 'job-close-queued',
    text: `WITH queued AS MATERIALIZED (
             SELECT partition_at, id, waiting, dispatch FROM job_executions WHERE job_id = $1 AND team = $2 AND finished_at IS NULL AND status = 'queued' ORDER BY waiting DESC
           )
           SELECT c.workflow_id, q.waiting, q.dispatch FROM queued q, LATERAL close_execution($2, q.partition_at, q.id, 'cancelled', 'job_deleted', NULL, $3) c`,
    values: [job.id, job.team, by],
  });
  return rows.filter((row) => !row.waiting && row.dispatch === 'dedicated').map((row) => row.workflow_id);
}

async function cancelRunningExecutions(tx: Transaction, job: StoredJob, by: string): Promise<void> {
  await tx.query({
    name: 'job-cancel-running',
    text: `WITH running AS MATERIALIZED (
             SELECT partition_at, id FROM job_executions WHERE job_id = $1 AND team = $2 AND finished_at IS NULL AND status = 'running'
           )
           SELECT c.verdict FROM running r, LATERAL cancel_execution($2, r.partition_at, r.id, $3) c`,
    values: [job.id, job.team, by],
  });
}
