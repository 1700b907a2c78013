/**
 * Pausing and resuming, one job or hundreds: the same few statements. What is paused is paused when they commit; Temporal is shown it afterwards, because admit asks the rows.
 * The caller holds the jobs' locks.
 */
import type { Transaction } from '../../postgres.ts';
import type { DesiredClock } from '../clocks/clock-store.ts';
import { desiredClock } from '../job-clock-change.ts';
import { clockWake, type RaisedClock } from '../job-clock-store.ts';
import { factsOf, type JobFacts, stateOf, upcomingSlots } from '../job-facts.ts';
import { onceFindPending } from '../job-once-store.ts';
import type { Pause, StoredJob } from '../job-store.ts';
import type { MissedInPause } from './missed-in-pause.ts';
import { clocksCheckFrom, ownClocksShow, pausedRangesEnd, pausedRangesOpen, pausesAudit, pausesRaise, pausesWrite } from './pause-store.ts';

export type Actor = { team: string; name: string; requestId: string };
/** What is wanted of a job: a pause, another pause, or none. */
export type PauseWish = {
  job: StoredJob;
  pause: Pause | null;
  /** When the pause that is taken away ends, where that may lie a little ahead; else now. */
  endsAt?: Date;
};
export type PausedJob = { job: StoredJob; clocks: DesiredClock[] };

type Planned = { wish: PauseWish; facts: JobFacts; next: Date | null; job: StoredJob };

/**
 * Writes pauses as they are wished for, all of one team.
 * @param at the database's time after the locks were won.
 * @param missed of the jobs that are resumed: how their pauses end.
 * @returns the jobs as they are now, in the order of the wishes, each with the clocks of which Temporal has something to learn.
 */
export async function writePauses(
  tx: Transaction,
  actor: Actor,
  wishes: readonly PauseWish[],
  at: Date,
  missed: ReadonlyMap<string, MissedInPause> = new Map(),
): Promise<PausedJob[]> {
  if (wishes.length === 0) return [];
  const planned: Planned[] = [];
  for (const wish of wishes) planned.push(await plan(tx, wish, at));
  await pausesWrite(
    tx,
    actor.team,
    planned.map(({ job }) => job),
  );
  const begun = planned.filter(({ wish }) => wish.pause && !wish.job.pause).map(({ job }) => job);
  if (begun.length > 0) {
    await pausedRangesOpen(tx, actor.team, begun, at);
    await pausesRaise(tx, actor.team, begun);
  }
  const over = planned.filter(({ wish }) => !wish.pause).flatMap(({ job }) => missed.get(job.id)?.ended ?? []);
  await pausedRangesEnd(tx, actor.team, over);
  await pausesAudit(
    tx,
    actor,
    planned.map(({ wish, job }) => ({
      jobId: job.id,
      action: job.pause ? 'job.paused' : 'job.resumed',
      before: { state: wish.job.state, pause: wish.job.pause },
      after: { state: job.state, pause: job.pause },
    })),
  );
  const shown = await showPauses(tx, actor.team, planned);
  await clocksCheckFrom(tx, actor.team, passed(planned, missed, at));
  return planned.map(({ job }) => {
    const clocks = shown.get(job.id) ?? [];
    return { job: clocks.length > 0 ? { ...job, sync: 'pending' } : job, clocks };
  });
}

async function plan(tx: Transaction, wish: PauseWish, at: Date): Promise<Planned> {
  const { job, pause, endsAt = at } = wish;
  const facts = factsOf(job.document, job.id, job.createdAt, () => job.queue);
  const next =
    facts.kind === 'once'
      ? ((await onceFindPending(tx, job.team, job.id))?.dueAt ?? null)
      : (upcomingSlots(facts, endsAt > at ? new Date(endsAt.getTime() - 1) : at, 1)[0] ?? null);
  const state = stateOf(facts.kind, { enabled: job.document.enabled, paused: pause !== null, hasNextRun: next !== null });
  return { wish, facts, next, job: { ...job, pause, state, nextRunAt: state === 'active' ? next : null, updatedAt: at } };
}

/** A job's own clock shows its pause. One that it shares goes on for the others, and rests only when the controller finds all of them paused. */
async function showPauses(tx: Transaction, team: string, planned: readonly Planned[]): Promise<Map<string, DesiredClock[]>> {
  // whose clock was woken for the end of its pause sleeps on when that is put off
  const isPutOff = ({ pause, job }: PauseWish) => pause !== null && Boolean(job.pause?.until) && job.pause?.until !== pause.until;
  const turned = planned.filter(
    ({ wish, job }) => ((wish.pause === null) !== (wish.job.pause === null) || isPutOff(wish)) && job.clockHeld,
  );
  const shown = new Map<string, DesiredClock[]>();
  const sharing = turned.filter(({ job }) => job.clockId !== job.id && job.pause === null);
  for (const [clockId, jobs] of [...Map.groupBy(sharing, ({ job }) => job.clockId!)].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const { job, facts, next } = jobs[0]!;
    const woken = await clockWake(tx, team, clockId, next);
    if (woken) shown.set(job.id, [desiredClock(clockId, job, facts, woken)]);
  }
  const own = turned.filter(({ job }) => job.clockId === job.id).sort((a, b) => (a.job.id < b.job.id ? -1 : 1));
  const raised = new Map<string, RaisedClock>();
  for (const clock of await ownClocksShow(
    tx,
    team,
    own.map(({ job, next }) => ({ id: job.id, paused: job.pause !== null, nextSlot: next })),
  ))
    raised.set(clock.id, clock);
  for (const { job, facts } of own) {
    const clock = raised.get(job.id);
    if (clock) shown.set(job.id, [desiredClock(job.id, job, facts, clock)]);
  }
  return shown;
}

/** Clocks with slots after the end of a pause that were still taken for paused. */
function passed(planned: readonly Planned[], missed: ReadonlyMap<string, MissedInPause>, at: Date): { id: string; from: Date }[] {
  return planned.flatMap(({ wish, job }) => {
    const end = wish.pause ? undefined : missed.get(job.id)?.ended.at(-1)?.to;
    return end && end < at && job.clockHeld ? [{ id: job.clockId!, from: end }] : [];
  });
}
