/** The walk from slot to slot of a timing: what its clock fires, which is what Temporal makes of its calendars and intervals, and the dated extras. */
import { createRegion, LONGEST_REGION_S, type Region, regionFrom } from './clock-change.ts';
import type { Mark, MarkKind } from './mark.ts';
import { createWalker, END_S, HORIZON_S, type Walker } from './server-walk.ts';
import type { Timing } from './timing.ts';
import { planOf } from './timing-plan.ts';
import { type Zone, type ZoneChange, zoneOf } from './zone.ts';

export type SlotWalk = {
  /** The first slot after an epoch second; null when there is none within about 40 years. */
  next: Walker;
  /** What there is to say of a slot; null: nothing. */
  kindOf: (slotS: number) => MarkKind | null;
  /** Marks in (fromS, toS], ascending, at most `limit`. */
  marks: (fromS: number, toS: number, limit: number) => Mark[];
  /** False: it never has a mark after this epoch second. */
  hasMarksAfter: (afterS: number) => boolean;
  /** True: Temporal brings each of its slots by itself, always. */
  isCarried: boolean;
};

const walks = new WeakMap<Timing, SlotWalk>();
/** Rows bring a new object each time; the same timing in other objects shares what was compiled. */
const walksByText = new Map<string, SlotWalk>();
const MOST_WALKS = 2_000;

export function slotWalkOf(timing: Timing): SlotWalk {
  let walk = walks.get(timing);
  if (walk) return walk;
  const text = JSON.stringify(timing);
  walk = walksByText.get(text);
  if (!walk) {
    walk = createSlotWalk(timing, zoneOf(timing.timezone));
    const oldest = walksByText.size >= MOST_WALKS ? walksByText.keys().next().value : undefined;
    if (oldest !== undefined) walksByText.delete(oldest);
    walksByText.set(text, walk);
  }
  walks.set(timing, walk);
  return walk;
}

/** A sparse timing is asked about every change of a century, and keeps all regions; a dense one has thousands of slots in each, and keeps a few. */
const MOST_KEPT_SLOTS = 1_000;
const CHECKED_EVERY = 4;

function createSlotWalk(timing: Timing, zone: Zone): SlotWalk {
  const plan = planOf(timing);
  const server = createWalker(
    plan.sent.map(({ compiled }) => compiled),
    plan.sentIntervals,
    zone,
  );
  const hasWalls = plan.walls.length > 0;
  /** Temporal's intervals lose nothing, so that there the marks are all there is to say. */
  const losesSlots = plan.sent.length > 0 || plan.dates.length > 0;

  const regions = new Map<number, Region>();
  function region(change: ZoneChange): Region {
    let known = regions.get(change.at);
    if (!known) {
      if (regions.size % CHECKED_EVERY === 0 && [...regions.values()].some((each) => each.size() > MOST_KEPT_SLOTS)) regions.clear();
      known = createRegion(plan, zone, change);
      regions.set(change.at, known);
    }
    return known;
  }

  function nextDate(afterS: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const source of plan.dates) {
      const wall = source(afterS + zone.offsetAt(afterS));
      if (wall !== null) next = Math.min(next, zone.epochOf(wall));
    }
    return next;
  }

  /** Away from changes. */
  function plainNext(afterS: number): number | null {
    const fired = server(afterS);
    if (plan.dates.length === 0) return fired;
    const from = Math.max(afterS, -1);
    const next = Math.min(fired ?? Number.POSITIVE_INFINITY, nextDate(from));
    return next < END_S && next - from <= HORIZON_S ? next : null;
  }

  function next(afterS: number): number | null {
    if (!losesSlots) return server(afterS);
    let position = afterS;
    for (let change = zone.nextChange(afterS - LONGEST_REGION_S); change; change = zone.nextChange(change.at)) {
      const start = regionFrom(change);
      if (position < start) {
        const plain = plainNext(position);
        if (plain !== null && plain <= start) return plain;
        position = start;
      }
      // No slot of either kind is left.
      if (start > afterS + HORIZON_S) return null;
      const around = region(change);
      const slot = around.next(position);
      if (slot !== null) return slot < END_S ? slot : null;
      position = Math.max(position, around.end());
    }
    return plainNext(position);
  }

  function kindOf(slotS: number): MarkKind | null {
    if (!hasWalls) return null;
    const change = zone.nextChange(slotS - LONGEST_REGION_S);
    if (change && slotS > regionFrom(change)) {
      const around = region(change);
      const kind = around.kindOf(slotS);
      if (kind !== null || slotS <= around.end()) return kind;
    }
    return plan.dates.length > 0 && nextDate(slotS - 1) === slotS && server(slotS - 1) !== slotS ? 'date' : null;
  }

  function* marksBetween(fromS: number, toS: number): Generator<Mark> {
    let position = fromS;
    for (let change = zone.nextChange(fromS - LONGEST_REGION_S); ; change = change && zone.nextChange(change.at)) {
      const start = Math.min(change ? regionFrom(change) : END_S, toS);
      for (let date = nextDate(position); date <= start; date = nextDate(date))
        if (server(date - 1) !== date) yield { slot: new Date(date * 1_000), kind: 'date', fired: false };
      if (!change || start === toS) return;
      const around = region(change);
      for (const [slot, mark] of around.marks(toS)) if (slot > fromS) yield { slot: new Date(slot * 1_000), ...mark };
      position = Math.max(position, around.end());
    }
  }

  return {
    next,
    kindOf,
    marks(fromS, toS, limit) {
      const found: Mark[] = [];
      if (!hasWalls) return found;
      for (const mark of marksBetween(fromS, toS)) {
        if (found.length >= limit) break;
        found.push(mark);
      }
      return found;
    },
    isCarried: !losesSlots,
    hasMarksAfter: (afterS) => plan.dates.length > 0 || (hasWalls && zone.nextChange(afterS - LONGEST_REGION_S) !== null),
  };
}
