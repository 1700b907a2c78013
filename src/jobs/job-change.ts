/**
 * Turns a stored job into its next generation: decides what the new document means for clock, membership and one-off, and writes it in the caller's transaction.
 * Only timing, queue, dispatch, name and deletion can be Temporal's business; every other edit touches Postgres alone (semantics.md 7).
 */
import type { Transaction } from '../postgres.ts';
import type { Caller } from './caller.ts';
import type { DesiredClock } from './clocks/clock-store.ts';
import type { ExecutionStart } from './execution-store.ts';
import { changeClock, placeSlots } from './job-clock-change.ts';
import { invalidJob, type JobDocument } from './job-document.ts';
import { factsOf, type JobFacts, onceDue, type QueueOf, stateOf, upcomingSlots } from './job-facts.ts';
import { sameJson } from './job-json.ts';
import { cancelOnce, nextDue, onceValues, planOnce, writeOnce } from './job-once-change.ts';
import { onceFindPending, onceTakeBack } from './job-once-store.ts';
import type { StoredJob } from './job-store.ts';
import { jobWriteGeneration } from './job-write-store.ts';

/** What is left to do in Temporal after the commit. */
export type Effects = {
  /** Clocks as they should be now; their schedules are to be reconciled. */
  clocks: DesiredClock[];
  /** The workflow of a one-off, to be started with a delay. */
  start: ExecutionStart | null;
  /** Workflows of runs that have moved or gone; they would end by themselves when they wake up. */
  stale: string[];
};

export const NO_EFFECTS: Effects = { clocks: [], start: null, stale: [] };

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

/**
 * Writes `document` as the next generation of `job`, whose lock the caller holds.
 * @param at the database's time after the lock was won.
 * @param action what the audit trail calls it; absent: `job.updated`.
 * @returns the job as it is now, and what to do after the commit.
 */
export async function changeJob(
  tx: Transaction,
  caller: Caller,
  job: StoredJob,
  document: JobDocument,
  at: Date,
  queueOf: QueueOf,
  action?: string,
): Promise<{ job: StoredJob; effects: Effects }> {
  const before = factsOf(job.document, job.id, job.createdAt, () => job.queue);
  const facts = factsOf(document, job.id, job.createdAt, queueOf);
  const rescheduled = !sameJson(job.document.schedule, document.schedule);
  if (rescheduled && document.enabled) firstRun(document, facts, at);

  if (before.kind === 'once') await onceTakeBack(tx, job.team, job.id);
  const pending = await onceFindPending(tx, job.team, job.id);
  const due = facts.kind === 'once' && document.enabled ? await nextDue(tx, job, document, rescheduled, pending?.dueAt ?? null, at) : null;
  const slot = facts.kind !== 'once' && document.enabled ? (upcomingSlots(facts, at, 1)[0] ?? null) : null;
  const next = due ?? slot;
  const slots = await placeSlots(tx, job, document, before, facts, slot !== null);
  const changed: StoredJob = {
    ...job,
    name: document.name,
    document,
    generation: job.generation + 1,
    updatedAt: at,
    queue: facts.queue,
    clockId: slots.clockId,
    dispatchChoice: slots.choice,
    state: stateOf(facts.kind, { enabled: document.enabled, paused: job.pause !== null, hasNextRun: next !== null }),
  };
  changed.nextRunAt = changed.state === 'active' ? next : null;
  const once = due && (await planOnce(tx, changed, facts, pending, due));
  if (once) changed.dispatchChoice = once.choice;
  await jobWriteGeneration(tx, caller, job.document, changed, facts, action);

  const { clocks, sync } = await changeClock(tx, job, changed, before, facts, slot, at);
  const effects: Effects = { ...NO_EFFECTS, clocks };
  if (once) Object.assign(effects, await writeOnce(tx, caller, pending, once, onceValues(changed, facts, due)));
  else if (pending) effects.stale = await cancelOnce(tx, caller, changed, pending);
  changed.sync = clocks.length > 0 || effects.start ? 'pending' : sync;
  return { job: changed, effects };
}
