/**
 * Turns a stored job into its next generation: decides what the new document means for clock, membership and one-off, and writes it in the caller's transaction.
 * Only timing, queue, name and deletion are Temporal's business; every other edit touches Postgres alone (semantics.md 7).
 */
import type { Transaction } from '../postgres.ts';
import type { Caller } from './caller.ts';
import type { DesiredClock } from './clocks/clock-store.ts';
import { closeExecution, type ExecutionStart } from './execution-store.ts';
import { newExecutionId, partitionAtOf } from './ids.ts';
import {
  clockCheckAnew,
  clockEmpty,
  clockRaise,
  clockShow,
  clockTombstone,
  membershipClose,
  membershipOpen,
  type RaisedClock,
} from './job-clock-store.ts';
import { invalidJob, type JobDocument } from './job-document.ts';
import { factsOf, type JobFacts, membershipEnd, onceDue, type QueueOf, stateOf, upcomingSlots } from './job-facts.ts';
import { sameJson } from './job-json.ts';
import { type OnceValues, onceFindLast, onceFindPending, onceInsert, onceRewrite } from './job-once-store.ts';
import { jobWriteGeneration, type StoredJob } from './job-store.ts';

/** What is left to do in Temporal after the commit. */
export type Effects = {
  /** The clock as it should be now; its schedule is to be reconciled. */
  clock: DesiredClock | null;
  /** The workflow of a one-off, to be started with a delay. */
  start: ExecutionStart | null;
  /** Workflows of runs that have moved or gone; they would end by themselves when they wake up. */
  stale: string[];
};

export const NO_EFFECTS: Effects = { clock: null, start: null, stale: [] };

/** How long before now a one-off's `at` may lie, so that a request that says "now" is not refused for its own travel time. */
const AT_GRACE_MS = 15_000;

/**
 * The next run of a job whose schedule is new or changed.
 * @throws JobError `invalid` for a schedule that has no time ahead.
 */
export function firstRun(document: JobDocument, facts: JobFacts, at: Date): Date | null {
  if (facts.kind === 'on_demand') return null;
  if (facts.kind === 'once') {
    const due = onceDue(document, at)!;
    if (due.getTime() < at.getTime() - AT_GRACE_MS)
      throw invalidJob([
        {
          path: '/schedule/at',
          message: `${document.schedule!.at} is in the past; write a later time, or trigger the job`,
          code: 'in_the_past',
        },
      ]);
    return due;
  }
  const [next] = upcomingSlots(facts, at, 1);
  if (!next) {
    const message = facts.window.endAt
      ? 'has no time left before endAt; write a later endAt'
      : 'never fires; write a schedule that has a time ahead';
    throw invalidJob([{ path: facts.window.endAt ? '/schedule/endAt' : '/schedule', message, code: 'never_fires' }]);
  }
  return next;
}

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

/** The clock of a job as its reconciler wants to know it. */
export const desiredClock = (
  job: StoredJob,
  facts: Pick<JobFacts, 'queue' | 'timing'>,
  clock: RaisedClock,
  deleted = false,
): DesiredClock => ({
  id: job.id,
  team: job.team,
  kind: 'dedicated',
  queue: facts.queue,
  paused: clock.paused,
  generation: clock.generation,
  observedGeneration: clock.observedGeneration,
  deleted,
  timing: facts.timing!,
  label: job.name,
});

/**
 * Writes `document` as the next generation of `job`, whose lock the caller holds.
 * @param at the database's time after the lock was won.
 * @returns the job as it is now, and what to do after the commit.
 */
export async function changeJob(
  tx: Transaction,
  caller: Caller,
  job: StoredJob,
  document: JobDocument,
  at: Date,
  queueOf: QueueOf,
): Promise<{ job: StoredJob; effects: Effects }> {
  const before = factsOf(job.document, job.id, job.createdAt, () => job.queue);
  const facts = factsOf(document, job.id, job.createdAt, queueOf);
  const rescheduled = !sameJson(job.document.schedule, document.schedule);
  if (rescheduled && document.enabled) firstRun(document, facts, at);

  const changed: StoredJob = {
    ...job,
    name: document.name,
    document,
    generation: job.generation + 1,
    updatedAt: at,
    queue: facts.queue,
    clockId: clockIdOf(job, document, facts),
  };
  const pending = await onceFindPending(tx, job.team, job.id);
  const due = facts.kind === 'once' && document.enabled ? await nextDue(tx, job, document, rescheduled, pending?.dueAt ?? null, at) : null;
  const next = facts.kind === 'once' ? due : document.enabled ? (upcomingSlots(facts, at, 1)[0] ?? null) : null;
  changed.state = stateOf(facts.kind, { enabled: document.enabled, paused: job.pause !== null, hasNextRun: next !== null });
  changed.nextRunAt = changed.state === 'active' ? next : null;
  await jobWriteGeneration(tx, caller, job.document, changed, facts);

  const effects: Effects = { ...NO_EFFECTS, stale: [] };
  effects.clock = await changeClock(tx, job, changed, before, facts, next, at);
  if (due) {
    const values = onceValues(changed, facts, due);
    const moves = pending !== null && (pending.dueAt.getTime() !== due.getTime() || pending.queue !== facts.queue);
    if (!pending) effects.start = await onceInsert(tx, newExecutionId(job.id, 'once'), values, caller.name);
    else {
      const start = await onceRewrite(tx, pending, moves ? `${pending.id}-g${changed.generation}` : pending.workflowId, values);
      if (moves) {
        effects.start = start;
        effects.stale.push(pending.workflowId);
      }
    }
  } else if (pending) {
    const reason = document.enabled ? 'rescheduled' : 'job_disabled';
    const row = {
      team: job.team,
      partitionAt: partitionAtOf(pending.id)!,
      id: pending.id,
      status: 'cancelled',
      reason,
      error: null,
      by: caller.name,
    };
    await closeExecution(tx, row);
    effects.stale.push(pending.workflowId);
    // closing a one-off finishes its job, and this job goes on
    await tx.query('UPDATE jobs SET state = $3 WHERE id = $1 AND team = $2', [job.id, job.team, changed.state]);
    await tx.query('UPDATE job_runtime SET next_run_at = $3 WHERE job_id = $1 AND team = $2', [job.id, job.team, changed.nextRunAt]);
  }
  changed.sync = effects.clock || effects.start ? 'pending' : job.sync;
  return { job: changed, effects };
}

/** A disabled job keeps its clock, empty, until the controller takes it away; one created disabled has none yet. */
function clockIdOf(job: StoredJob, document: JobDocument, facts: JobFacts): string | null {
  if (facts.kind !== 'scheduled') return null;
  return document.enabled ? job.id : job.clockId;
}

/** When the single run of a one-off is due: the time it has, unless the schedule says another; null when it has run and nobody set a new time. */
async function nextDue(
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

async function changeClock(
  tx: Transaction,
  job: StoredJob,
  changed: StoredJob,
  before: JobFacts,
  facts: JobFacts,
  nextSlot: Date | null,
  at: Date,
): Promise<DesiredClock | null> {
  const had = job.clockHeld;
  const has = facts.kind === 'scheduled' && changed.document.enabled && nextSlot !== null;
  const sameClock = had && has && before.timingHash === facts.timingHash && before.queue === facts.queue;
  const sameMembership = sameClock && sameJson(before.window, facts.window);

  if (job.clockId !== null && !sameMembership) await membershipClose(tx, job.team, job.id, at);
  if (has && !sameMembership) {
    await membershipOpen(tx, {
      team: job.team,
      jobId: job.id,
      clockId: job.id,
      generation: changed.generation,
      timingHash: facts.timingHash!,
      timing: facts.timing!,
      at,
      startAt: facts.window.startAt ?? null,
      end: membershipEnd(facts.window),
    });
  }

  if (has && !sameClock) {
    const paused = changed.pause !== null;
    const raised = await clockRaise(tx, {
      id: job.id,
      team: job.team,
      timingHash: facts.timingHash!,
      queue: facts.queue,
      paused,
      nextSlot,
      at,
    });
    return desiredClock(changed, facts, raised);
  }
  if (has && !sameMembership) await clockCheckAnew(tx, job.team, job.id);
  if (has && job.name !== changed.name) {
    const shown = await clockShow(tx, job.team, job.id, changed.pause !== null, nextSlot);
    return shown && desiredClock(changed, facts, shown);
  }
  if (!has && job.clockId !== null && facts.kind === 'scheduled') {
    const emptied = had ? await clockEmpty(tx, job.team, job.id, at) : null;
    return emptied && desiredClock(changed, before, emptied);
  }
  if (!has && job.clockId !== null) {
    const gone = await clockTombstone(tx, job.team, job.id, at);
    return gone && desiredClock(changed, before, gone, true);
  }
  return null;
}
