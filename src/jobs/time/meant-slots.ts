/** The slots that a timing means around one change of clocks, one after the other, each with what there is to say of it. */
import type { MarkKind } from './mark.ts';
import { nextOfInterval } from './server-walk.ts';
import type { Plan } from './timing-plan.ts';
import type { ZoneChange } from './zone.ts';

/** `kind` null: an ordinary one. */
export type MeantSlot = { slot: number; kind: MarkKind | null };

/** Returns a function that gives the first meant slot after a moment near the change; null: none. */
export function createMeantSlots(plan: Plan, { at, before, after }: ZoneChange): (afterS: number) => MeantSlot | null {
  const { intervals } = plan.timing;
  /** Up to here wall times are read on the old clocks: until the change, and in a gap those that it leaves out as well. */
  const oldEnd = at + Math.max(before, after);

  return (afterS) => {
    let slot = Number.POSITIVE_INFINITY;
    let kind: MarkKind | null = null;
    const offer = (candidate: number, as: MarkKind | null): void => {
      if (candidate > slot || (candidate === slot && rank(as) >= rank(kind))) return;
      slot = candidate;
      kind = as;
    };
    // the old clocks and the new ones are asked in turn, each by a source that remembers its answer
    for (const { onOld, onNew, everyHour, isDates } of plan.walls) {
      const plain = isDates ? 'date' : null;
      const old = afterS + before < oldEnd ? onOld(afterS + before) : null;
      if (old !== null && old < oldEnd) {
        const first = everyHour ? 'hourly_first' : 'repeat_first';
        offer(old - before, old - before >= at ? 'gap' : old >= at + after ? first : plain);
      }
      const wall = onNew(Math.max(afterS, at - 1) + after);
      if (wall !== null) offer(wall - after, wall >= at + before ? plain : everyHour ? 'hourly_last' : 'repeat_last');
    }
    for (const interval of intervals) offer(nextOfInterval(interval, afterS), null);
    return slot === Number.POSITIVE_INFINITY ? null : { slot, kind };
  };
}

/** What every job runs wins over what some leave out; a slot is of an hourly calendar when any of them is. */
const RANKS: MarkKind[] = ['date', 'hourly_first', 'hourly_last', 'repeat_first', 'repeat_last', 'gap'];
const rank = (kind: MarkKind | null): number => (kind === null ? -1 : RANKS.indexOf(kind));
