/** What to do with slots that nobody admitted: most go through admit one by one; long stretches that cannot run become one range row each. */
import { nextSlot } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';
import type { ClockToCheck, Membership } from './late-slot-store.ts';

export type Missing = { clock: ClockToCheck; member: Membership; slot: Date };
export type Step =
  | { kind: 'admit'; member: Membership; slot: Date }
  /** `judged`: something may have stopped some of them. */
  | { kind: 'rows'; member: Membership; slots: Date[]; judged: boolean }
  | { kind: 'range'; member: Membership; reason: 'missed' | 'paused'; from: Date; last: Date; count: number };

/** Stretches longer than this become a range row. */
export const ROWS_AT_MOST = 100;
/** Of a clock of its own, a stretch of missed slots longer than this gets its rows by one statement: after hours without a controller thousands of jobs have one. */
export const ONE_BY_ONE_AT_MOST = 4;

/** So many slots of a job are judged by one statement, which holds the job's lock. */
const JUDGED_AT_ONCE = 500;

/**
 * Why a late slot can't run, as admit would say it (semantics.md 13); null when admit has to decide. `replaced`: missed because a later one is due, if nothing stops that.
 * Times in milliseconds.
 */
type Verdict = 'missed' | 'replaced' | 'paused' | null;
function verdict(member: Membership, slot: Date, successor: Date | null, now: number): Verdict {
  if (member.blocked) return 'paused';
  if (member.catch_up === 'none') return 'missed';
  if (slot.getTime() < now - Number(member.catch_up_window_ms)) return 'missed';
  const replaced = successor && successor.getTime() <= now && (member.valid_to === null || successor < member.valid_to);
  return member.catch_up === 'last' && replaced ? 'replaced' : null;
}

/**
 * Puts the missing slots of one clock, all late, into steps in slot order. A stretch is contiguous when the job has no slot between two of its slots.
 * @param now milliseconds since 1970.
 * @param oneByOne jobs whose slots may each end differently, because a calendar, a freeze or a change of clocks may have stopped some.
 */
export function plan(missing: Missing[], timingOf: (member: Membership) => Timing, now: number, oneByOne: ReadonlySet<string>): Step[] {
  const steps: Step[] = [];
  const successorOf = rememberingNextSlot();
  for (const ofMember of Map.groupBy(missing, ({ member }) => member).values()) {
    const { member, clock } = ofMember[0]!;
    const timing = timingOf(member);
    const judged = oneByOne.has(member.job_id);
    let stretch: Date[] = [];
    let reason: Verdict = null;
    let expectedNext: number | null = null;
    const endStretch = () => {
      const together = reason === 'missed' && clock.kind === 'dedicated' && stretch.length > ONE_BY_ONE_AT_MOST;
      if (reason !== null && reason !== 'replaced' && !judged && stretch.length > ROWS_AT_MOST) {
        steps.push({ kind: 'range', member, reason, from: stretch[0]!, last: stretch.at(-1)!, count: stretch.length });
      } else if (together) {
        for (let from = 0; from < stretch.length; from += JUDGED_AT_ONCE)
          steps.push({ kind: 'rows', member, slots: stretch.slice(from, from + JUDGED_AT_ONCE), judged });
      } else for (const slot of stretch) steps.push({ kind: 'admit', member, slot });
      stretch = [];
    };
    for (const { slot } of ofMember) {
      const successor = successorOf(timing, slot);
      const said = verdict(member, slot, successor, now);
      const why = said === 'replaced' && !judged ? 'missed' : said;
      if (why !== reason || slot.getTime() !== expectedNext) endStretch();
      reason = why;
      stretch.push(slot);
      expectedNext = successor?.getTime() ?? null;
    }
    endStretch();
  }
  return steps.sort((a, b) => startOf(a) - startOf(b));
}

/** Members of a shared clock ask for the same slots thousands of times. */
function rememberingNextSlot(): (timing: Timing, slot: Date) => Date | null {
  const known = new Map<Timing, Map<number, Date | null>>();
  return (timing, slot) => {
    let ofTiming = known.get(timing);
    if (!ofTiming) {
      ofTiming = new Map();
      known.set(timing, ofTiming);
    }
    const at = slot.getTime();
    let next = ofTiming.get(at);
    if (next === undefined) {
      next = nextSlot(timing, slot);
      ofTiming.set(at, next);
    }
    return next;
  };
}

const startOf = (step: Step): number => (step.kind === 'admit' ? step.slot : step.kind === 'rows' ? step.slots[0]! : step.from).getTime();
