/**
 * A timing around one change of its zone's clocks: which wall times it means there, what Temporal makes of them, and what therefore has to be added.
 *
 * Meant is: each wall time that exists, at its moment; one that comes twice, at both; one that does not exist, at the moment it would have had on the old clocks, which is as
 * long after the jump as it was after the jump's wall time (RFC 5545 reads it so too). Which of these a job runs is its policy.
 *
 * Temporal's own answer is walked in its own steps, each from the slot before, dated extras included, because they are slots it steps from as well: where it is about to pass over a
 * meant slot, that slot becomes an extra; where it fires between meant ones, that is odd. The walk goes only as far as somebody asks: a schedule of every second has
 * thousands of slots here.
 */
import type { Mark, MarkKind } from './mark.ts';
import { createMeantSlots, type MeantSlot } from './meant-slots.ts';
import { createWalker, type Walker } from './server-walk.ts';
import type { Plan } from './timing-plan.ts';
import type { Zone, ZoneChange } from './zone.ts';

const HOUR_S = 3_600;
const DAY_S = 86_400;

export type Region = {
  /** The first slot after a moment of the region; null: there is none in it any more. */
  next: (afterS: number) => number | null;
  /** Where it ends, once `next` has answered null. */
  end: () => number;
  kindOf: (slotS: number) => MarkKind | null;
  /** Marks up to a moment, ascending. */
  marks: (toS: number) => [slotS: number, Omit<Mark, 'slot'>][];
  /** How many slots are known so far. */
  size: () => number;
};

/** Where the region of a change begins; until then Temporal's times are the meant ones. */
export const regionFrom = (change: ZoneChange): number => change.at - widthOf(change) - 60;

/** No region ends later than this after its change. */
export const LONGEST_REGION_S = 4 * DAY_S;

const widthOf = (change: ZoneChange): number => Math.abs(change.after - change.before);
/** A slot, or a moment after all slots. */
const at = (slot: number | null): number => slot ?? Number.POSITIVE_INFINITY;

export function createRegion(plan: Plan, zone: Zone, change: ZoneChange): Region {
  const from = regionFrom(change);
  // where clocks change within an hour (Goose Bay, 00:01) the server can look for its second copy that much later
  let to = change.at + widthOf(change) + 2 * HOUR_S;
  const meant = createMeantSlots(plan, change);
  const walk = serverWalk(plan, zone, change, from, to);
  const slots: number[] = [];
  const marks = new Map<number, Omit<Mark, 'slot'>>();
  let position = from;
  let isDone = false;

  function step(): void {
    const wanted = meant(position);
    const fired = at(walk(position));
    const slot = Math.min(at(wanted?.slot ?? null), fired);
    if (slot <= to) {
      visit(slot, wanted, fired);
      return;
    }
    isDone = true;
    if (beginsInGap(change) && position < change.at) followDay(wanted, fired);
  }

  function visit(slot: number, wanted: MeantSlot | null, fired: number): void {
    const isFired = slot === fired;
    const kind = wanted?.slot === slot ? wanted.kind : 'odd';
    if (kind !== null || !isFired) marks.set(slot, { kind: kind ?? 'date', fired: isFired });
    slots.push(slot);
    position = slot;
  }

  /** A day that begins in a gap: from its first slot on Temporal knows which day of the week it is. */
  function followDay(wanted: MeantSlot | null, fired: number): void {
    const end = midnightOf(change) + DAY_S - change.after;
    const slot = Math.min(at(wanted?.slot ?? null), fired);
    to = Math.min(slot, end);
    if (slot <= end) visit(slot, wanted, fired);
  }

  const reach = (toS: number): void => {
    while (!isDone && position <= toS) step();
  };

  return {
    next(afterS) {
      reach(afterS);
      return firstAfter(slots, afterS) ?? null;
    },
    end: () => to,
    kindOf(slotS) {
      reach(slotS - 1);
      return marks.get(slotS)?.kind ?? null;
    },
    marks(toS) {
      reach(toS);
      return [...marks].filter(([slot]) => slot <= toS);
    },
    size: () => slots.length,
  };
}

/** Only calendars that can fire near the change are asked, since one that is due in years takes long to say so. */
function serverWalk(plan: Plan, zone: Zone, change: ZoneChange, from: number, to: number): Walker {
  const near = plan.sent.filter(({ compiled, wall }) => {
    if (beginsInGap(change) && !compiled.anyDayOfWeek) return true;
    const next = wall(from + change.before - DAY_S);
    return next !== null && next <= to + change.after + DAY_S;
  });
  return createWalker(
    near.map(({ compiled }) => compiled),
    plan.sentIntervals,
    zone,
  );
}

/** True when a day's first moment is left out: there Temporal takes the weekday from the evening before. */
const beginsInGap = (change: ZoneChange): boolean => midnightOf(change) >= change.at + change.before;
/** The last midnight, on the wall, before the wall time to which clocks jump. */
const midnightOf = (change: ZoneChange): number => Math.floor((change.at + change.after - 1) / DAY_S) * DAY_S;

/** The first number of an ascending list that is greater. */
function firstAfter(slots: readonly number[], after: number): number | undefined {
  let low = 0;
  let high = slots.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (slots[middle]! > after) high = middle;
    else low = middle + 1;
  }
  return slots[low];
}
