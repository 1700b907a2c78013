/**
 * What a job's frozen stretches come to when its freezes are over: which slots lie in them and in nothing else, and which of them its catch-up policy wants. Admit grows a stretch
 * with each slot it swallows; slots may have come to it in any order, so that only now they are counted by the oracle, and what has another fate is left out.
 */
import { slotsBetween } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';
import type { FrozenRange, JobState, MembershipSince, SettledRange } from './settlement-store.ts';

/** Slots of one stretch that are counted, or told apart one by one; of more nobody knows how many they are. */
const COUNTED_AT_MOST = 1_000_000;
const TOLD_APART_AT_MOST = 200_000;
/** Slots that a catch-up runs at most, the newest ones: as many as one operation takes. */
const CAUGHT_UP_AT_MOST = 100_000;
/** The newest of them may not run for another reason, e.g. a calendar: so many are looked at to find the last that does. */
const LOOKED_AT_FOR_LAST = 1_000;

export type JobFacts = {
  job: JobState;
  ranges: readonly FrozenRange[];
  memberships: readonly MembershipSince[];
  timingOf: (hash: string) => Timing | undefined;
  /** Slots in these stretches that have rows of their own. */
  rows: readonly Date[];
  /** Slots that were lost one by one. */
  skipped: readonly Date[];
  /** When the last of its freezes was over. */
  end: Date;
  others: readonly { from: Date; to: Date | null }[];
};
export type JobPlan = {
  settled: Omit<SettledRange, 'operation'>[];
  /** Rows in which no slot is left. */
  gone: { jobId: string; key: string }[];
  /** Slots of which the job's policy wants all, or the last, ascending. */
  catchUp: Date[];
};

/** Null: some slot of that time may still be admitted; look again later. */
export function planSettlement(facts: JobFacts): JobPlan | null {
  const { job, ranges } = facts;
  if (!facts.memberships.every(({ admitted }) => admitted)) return null;
  const settled: JobPlan['settled'] = [];
  const gone: JobPlan['gone'] = [];
  let told = Number.NEGATIVE_INFINITY;
  for (const range of ranges) {
    const from = new Date(Math.max(range.from.getTime(), told));
    const whole = from >= range.to ? [] : stretchesOf(facts, from, range.to);
    told = Math.max(told, range.to.getTime());
    for (const [nth, stretch] of whole.entries()) {
      const key = nth === 0 && stretch.from.getTime() === range.from.getTime() ? range.key : null;
      settled.push({ team: job.team, jobId: job.job_id, freezeId: range.freeze_id, note: range.reason, key, ...stretch });
    }
    if (whole[0]?.from.getTime() !== range.from.getTime()) gone.push({ jobId: job.job_id, key: range.key });
  }
  return { settled, gone, catchUp: job.runs ? catchUpOf(facts, settled) : [] };
}

/** Contiguous stretches in [from, to) whose slots are told by nothing else. */
function stretchesOf(facts: JobFacts, from: Date, to: Date): { from: Date; to: Date; count: number | null }[] {
  const isOther = othersIn(facts, from, to);
  const count = isOther ? null : countIn(facts, from, to);
  if (!isOther) return count === 0 ? [] : [{ from, to, count }];
  const slots = slotsIn(facts, from, to, TOLD_APART_AT_MOST + 1);
  if (slots.length > TOLD_APART_AT_MOST) return [{ from, to, count: null }];
  const stretches: { from: Date; to: Date; count: number }[] = [];
  let open: (typeof stretches)[number] | undefined;
  for (const [nth, slot] of slots.entries()) {
    if (isOther(slot)) {
      if (open) open.to = slot;
      open = undefined;
    } else if (open) open.count += 1;
    else {
      open = { from: nth === 0 ? from : slot, to, count: 1 };
      stretches.push(open);
    }
  }
  return stretches;
}

/** Says of a slot whether something else tells it; null: nothing else does of any. */
function othersIn({ rows, others }: JobFacts, from: Date, to: Date): ((slot: Date) => boolean) | null {
  const own = new Set(rows.filter((slot) => slot >= from && slot < to).map((slot) => slot.getTime()));
  const over = others.filter((other) => other.from < to && (other.to === null || other.to > from));
  if (own.size === 0 && over.length === 0) return null;
  return (slot) => own.has(slot.getTime()) || over.some((other) => other.from <= slot && (other.to === null || slot < other.to));
}

function countIn({ memberships, timingOf }: JobFacts, from: Date, to: Date): number | null {
  let count = 0;
  for (const member of memberships) {
    const timing = timingOf(member.timing_hash);
    const counted = timing ? countSlots(timing, later(from, member.from), earlier(to, member.to)) : 0;
    if (counted === null) return null;
    count += counted;
  }
  return count;
}

/** How many slots lie in [from, until); null: too many to count. */
function countSlots(timing: Timing, from: Date, until: Date): number | null {
  if (from >= until) return 0;
  const [interval] = timing.intervals;
  if (interval && timing.intervals.length === 1 && timing.calendars.length === 0) {
    const { everyS, offsetS } = interval;
    const before = (moment: Date) => Math.floor((Math.ceil(moment.getTime() / 1_000) - 1 - offsetS) / everyS);
    return before(until) - before(from);
  }
  const count = slotsBetween(timing, new Date(from.getTime() - 1), new Date(until.getTime() - 1), COUNTED_AT_MOST + 1).length;
  return count > COUNTED_AT_MOST ? null : count;
}

/** The earliest of the job's slots with from <= slot < to. */
function slotsIn({ memberships, timingOf }: JobFacts, from: Date, to: Date, most: number): Date[] {
  const slots: Date[] = [];
  for (const member of memberships) {
    const timing = timingOf(member.timing_hash);
    const [first, last] = [later(from, member.from), earlier(to, member.to)];
    if (!timing || first >= last || slots.length >= most) continue;
    for (const slot of slotsBetween(timing, new Date(first.getTime() - 1), new Date(last.getTime() - 1), most - slots.length))
      slots.push(slot);
  }
  return slots;
}

/** What the job's policy wants of the slots that were swallowed: its window reaches back from the end of the freeze. */
function catchUpOf(facts: JobFacts, settled: JobPlan['settled']): Date[] {
  const { job, skipped, end } = facts;
  if (job.catch_up === 'none') return [];
  const most = job.catch_up === 'last' ? LOOKED_AT_FOR_LAST : CAUGHT_UP_AT_MOST;
  const since = new Date(end.getTime() - Number(job.catch_up_window_ms));
  const slots = new Set(skipped.filter((slot) => slot >= since).map((slot) => slot.getTime()));
  for (const { from, to } of settled.toReversed()) {
    if (to <= since || slots.size >= most) break;
    for (const slot of slotsIn(facts, later(from, since), to, COUNTED_AT_MOST).slice(-most)) slots.add(slot.getTime());
  }
  return [...slots]
    .sort((a, b) => a - b)
    .slice(-most)
    .map((ms) => new Date(ms));
}

const later = (a: Date, b: Date): Date => (a > b ? a : b);
const earlier = (a: Date, b: Date): Date => (a < b ? a : b);
