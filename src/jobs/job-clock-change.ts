/**
 * Which clock fires a job, its own or one shared with others, and how it gets from one to the other: the membership in one ends at the very moment at which that in the other
 * begins, in the job's own transaction, so that each slot has one clock (semantics.md 6). Whoever leaves a shared clock does not touch it: the controller finds it empty.
 */
import type { Transaction } from '../postgres.ts';
import { type DesiredClock, SHARED_LABEL } from './clocks/clock-store.ts';
import { COMPANY, choiceOf, type Dispatch, type DispatchChoice, isPoolable, OWN } from './dispatch-choice.ts';
import { pooledClockId } from './ids.ts';
import {
  clockCheckAnew,
  clockEmpty,
  clockHasOthers,
  clockJoin,
  clockRaise,
  clockShow,
  clockTombstone,
  membershipClose,
  membershipOpen,
  type RaisedClock,
} from './job-clock-store.ts';
import type { JobDocument } from './job-document.ts';
import { factsOf, type JobFacts, membershipEnd, upcomingSlots } from './job-facts.ts';
import { sameJson } from './job-json.ts';
import type { StoredJob, Sync } from './job-store.ts';
import { jobWriteDispatch } from './job-write-store.ts';

/** A clock as its reconciler wants to know it: the job's own, or one that it shares. */
export function desiredClock(
  clockId: string,
  job: StoredJob,
  facts: Pick<JobFacts, 'queue' | 'timing'>,
  clock: RaisedClock,
  deleted = false,
): DesiredClock {
  const own = clockId === job.id;
  return {
    id: clockId,
    team: job.team,
    kind: own ? 'dedicated' : 'pooled',
    queue: facts.queue,
    paused: clock.paused,
    generation: clock.generation,
    observedGeneration: clock.observedGeneration,
    deleted,
    timing: facts.timing!,
    label: own ? job.name : SHARED_LABEL,
  };
}

/** The clock of a job's slots under its next document, and why. */
export async function placeSlots(
  tx: Transaction,
  job: StoredJob,
  document: JobDocument,
  before: JobFacts,
  facts: JobFacts,
  fires: boolean,
): Promise<{ clockId: string | null; choice: DispatchChoice }> {
  const certain = choiceOf(document, facts.timing);
  if (!fires) return { clockId: idleClockId(job, document, facts), choice: certain ?? OWN };
  const asBefore =
    job.clockHeld &&
    before.timingHash === facts.timingHash &&
    job.document.dispatch === document.dispatch &&
    isPoolable(job.document) === isPoolable(document);
  // whoever is there already is moved by the controller alone
  if (asBefore) return { clockId: job.clockId, choice: job.dispatchChoice };
  const shared = pooledClockId(facts.timingHash!);
  const choice = certain ?? ((await clockHasOthers(tx, job.team, shared, job.id)) ? COMPANY : OWN);
  return { clockId: choice.dispatch === 'pooled' ? shared : job.id, choice };
}

/** A job that does not fire keeps its own clock, empty, until the controller takes it away; one disabled has no share in another, one created disabled none at all. */
function idleClockId(job: StoredJob, document: JobDocument, facts: JobFacts): string | null {
  if (facts.kind !== 'scheduled') return null;
  if (document.enabled) return job.clockId ?? job.id;
  return job.clockId === job.id ? job.id : null;
}

export type ClockChange = {
  /** Clocks of which Temporal has something to learn. */
  clocks: DesiredClock[];
  /** Whether Temporal has the job's clock, when there is nothing to learn. */
  sync: Sync;
};

/**
 * Brings memberships and clock rows from `job` to `changed`. The caller holds the job's lock and has written its row.
 * @param nextSlot null: it does not fire.
 */
export async function changeClock(
  tx: Transaction,
  job: StoredJob,
  changed: StoredJob,
  before: JobFacts,
  facts: JobFacts,
  nextSlot: Date | null,
  at: Date,
): Promise<ClockChange> {
  const change: ClockChange = { clocks: [], sync: job.sync };
  const { clockId } = changed;
  const fires = facts.kind === 'scheduled' && changed.document.enabled && nextSlot !== null && clockId !== null;
  const sameClock = job.clockHeld && fires && job.clockId === clockId && before.timingHash === facts.timingHash;
  const sameMembership = sameClock && sameJson(before.window, facts.window);
  const learn = (id: string, of: JobFacts, clock: RaisedClock | null, deleted = false) => {
    if (clock) change.clocks.push(desiredClock(id, changed, of, clock, deleted));
  };

  if (job.clockId !== null && !sameMembership) await membershipClose(tx, job.team, job.id, at);
  if (fires && !sameMembership) {
    if (clockId !== job.id) {
      const joined = await clockJoin(tx, { id: clockId, team: job.team, timingHash: facts.timingHash!, queue: facts.queue, nextSlot, at });
      change.sync = joined.generation === joined.observedGeneration ? 'synced' : 'pending';
      if (joined.raised) learn(clockId, facts, joined);
    }
    await membershipOpen(tx, {
      team: job.team,
      jobId: job.id,
      clockId,
      generation: changed.generation,
      timingHash: facts.timingHash!,
      timing: facts.timing!,
      at,
      startAt: facts.window.startAt ?? null,
      end: membershipEnd(facts.window),
    });
  }
  if (fires && clockId === job.id) {
    const paused = changed.pause !== null;
    if (!sameClock) {
      const { timingHash, queue } = facts;
      learn(job.id, facts, await clockRaise(tx, { id: job.id, team: job.team, timingHash: timingHash!, queue, paused, nextSlot, at }));
    } else {
      if (!sameMembership) await clockCheckAnew(tx, job.team, job.id);
      if (job.name !== changed.name) learn(job.id, facts, await clockShow(tx, job.team, job.id, paused, nextSlot));
    }
  } else if (job.clockId === job.id) {
    if (fires || facts.kind !== 'scheduled') learn(job.id, before, await clockTombstone(tx, job.team, job.id, at), true);
    else if (job.clockHeld) learn(job.id, before, await clockEmpty(tx, job.team, job.id, at));
  }
  return change;
}

/**
 * Moves a job whose lock the caller holds to the shared clock of its timing, or back to one of its own. No new generation: its document stays as it is.
 * @param timingHash of the jobs that move together.
 * @returns false when there is nothing to move: it does not fire, has another timing, its document says otherwise, or it is there already.
 */
export async function moveJob(tx: Transaction, job: StoredJob, at: Date, timingHash: string, to: Dispatch): Promise<boolean> {
  const facts = factsOf(job.document, job.id, job.createdAt, () => job.queue);
  const [next] = upcomingSlots(facts, at, 1);
  if (!job.clockHeld || facts.timingHash !== timingHash || !next) return false;
  const choice = choiceOf(job.document, facts.timing) ?? (to === 'pooled' ? COMPANY : OWN);
  const changed = { ...job, clockId: choice.dispatch === 'pooled' ? pooledClockId(timingHash) : job.id, dispatchChoice: choice };
  if (changed.clockId === job.clockId) return false;
  await jobWriteDispatch(tx, job.dispatchChoice, changed);
  await changeClock(tx, job, changed, facts, facts, next, at);
  return true;
}
