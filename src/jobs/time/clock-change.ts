/**
 * A timing around one change of its zone's clocks: which wall times it means there, what Temporal makes of them, and what therefore has to be added.
 *
 * Meant is: each wall time that exists, at its moment; one that comes twice, at both; one that does not exist, at the moment it would have had on the old clocks, which is as
 * long after the jump as it was after the jump's wall time (RFC 5545 reads it so too). Which of these a job runs is its policy.
 *
 * Temporal's own answer is walked in its own steps, each from the slot before, dated extras included, because they are slots it steps from as well: where it is about to pass over a
 * meant slot, that slot becomes an extra; where it fires between meant ones, that is odd.
 */

import type { Mark, MarkKind } from './mark.ts';
import { createWalker, nextOfInterval, type Walker } from './server-walk.ts';
import type { Plan, PlannedWalls } from './timing-plan.ts';
import type { Zone, ZoneChange } from './zone.ts';

const HOUR_S = 3_600;
const DAY_S = 86_400;

/** Slots in (from, to], ascending, in epoch seconds, and what there is to say of some. */
export type Region = { from: number; to: number; slots: number[]; marks: Map<number, Omit<Mark, 'slot'>> };

/** Where the region of a change begins; until then Temporal's times are the meant ones. */
export const regionFrom = (change: ZoneChange): number => change.at - Math.max(widthOf(change), HOUR_S) - HOUR_S;

/** No region ends later than this after its change. */
export const LONGEST_REGION_S = 4 * DAY_S;

const widthOf = (change: ZoneChange): number => Math.abs(change.after - change.before);

export function regionOf(plan: Plan, zone: Zone, change: ZoneChange): Region {
  const from = regionFrom(change);
  const to = change.at + 2 * Math.max(widthOf(change), HOUR_S) + 2 * HOUR_S;
  const meant = meantSlots(plan, change, from, to);
  const region: Region = { from, to, slots: [], marks: new Map() };
  const walk = serverWalk(plan, zone, change, from, to);
  const order = [...meant.keys()].sort((a, b) => a - b);
  let index = 0;
  let position = from;
  for (;;) {
    const wanted = order[index] ?? Number.POSITIVE_INFINITY;
    const fired = walk(position) ?? Number.POSITIVE_INFINITY;
    position = Math.min(wanted, fired);
    if (position > to) break;
    if (position === wanted) index += 1;
    visit(region, position, wanted, fired, meant.get(position) ?? null);
  }
  if (beginsInGap(change) && !region.slots.some((slot) => slot >= change.at)) followDay(plan, zone, change, region, walk);
  return region;
}

/** @param kind of a meant slot; null: an ordinary one, or none. */
function visit(region: Region, position: number, wanted: number, fired: number, kind: MarkKind | null): void {
  const isFired = position === fired;
  region.slots.push(position);
  if (position !== wanted) region.marks.set(position, { kind: 'odd', fired: true });
  else if (kind !== null || !isFired) region.marks.set(position, { kind: kind ?? 'date', fired: isFired });
}

/** Slots that are meant, with their kinds; null for those that nothing is to be said of. */
function meantSlots(plan: Plan, change: ZoneChange, from: number, to: number): Map<number, MarkKind | null> {
  const { at, before, after } = change;
  const meant = new Map<number, MarkKind | null>();
  const add = (slot: number, kind: MarkKind | null): void => {
    const known = meant.get(slot);
    if (known === undefined || rank(kind) < rank(known)) meant.set(slot, kind);
  };
  for (const walls of plan.walls) {
    const copies = walls.everyHour ? (['hourly_first', 'hourly_last'] as const) : (['repeat_first', 'repeat_last'] as const);
    // until the change every wall time is read on the old clocks; in a gap those it leaves out as well
    const oldEnd = at + Math.max(before, after);
    for (const wall of wallsBetween(walls, from + before, oldEnd - 1)) {
      const slot = wall - before;
      if (slot < at) add(slot, wall >= at + after ? copies[0] : plainKind(walls));
      else add(slot, 'gap');
    }
    for (const wall of wallsBetween(walls, at + after - 1, to + after))
      add(wall - after, wall < at + before ? copies[1] : plainKind(walls));
  }
  for (const interval of plan.timing.intervals)
    for (let slot = nextOfInterval(interval, from); slot <= to; slot += interval.everyS) add(slot, null);
  return meant;
}

/** What every job runs wins over what some leave out; a slot is of an hourly calendar when any of them is. */
const RANKS: MarkKind[] = ['date', 'hourly_first', 'hourly_last', 'repeat_first', 'repeat_last', 'gap'];
const rank = (kind: MarkKind | null): number => (kind === null ? -1 : RANKS.indexOf(kind));

const plainKind = (walls: PlannedWalls): MarkKind | null => (walls.isDates ? 'date' : null);

function* wallsBetween({ next }: PlannedWalls, after: number, to: number): Generator<number> {
  for (let wall = next(after); wall !== null && wall <= to; wall = next(wall)) yield wall;
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
const beginsInGap = ({ at, before, after }: ZoneChange): boolean => midnightOf(at, after) >= at + before;
/** The last midnight, on the wall, before the wall time to which clocks jump. */
const midnightOf = (at: number, after: number): number => Math.floor((at + after - 1) / DAY_S) * DAY_S;

/** The rest of such a day: from its first slot on Temporal knows which day it is. */
function followDay(plan: Plan, zone: Zone, change: ZoneChange, region: Region, walk: Walker): void {
  const end = midnightOf(change.at, change.after) + DAY_S - zone.offsetAt(change.at + DAY_S);
  let wanted = Number.POSITIVE_INFINITY;
  let kind: MarkKind | null = null;
  for (const walls of plan.walls) {
    const wall = walls.next(region.to + change.after);
    if (wall === null || wall - change.after > wanted) continue;
    kind = wall - change.after === wanted && kind === null ? null : plainKind(walls);
    wanted = wall - change.after;
  }
  for (const interval of plan.timing.intervals) {
    const slot = nextOfInterval(interval, region.to);
    if (slot <= wanted) [wanted, kind] = [slot, null];
  }
  // from where the server stands, which is before the day
  const fired = walk(region.slots.at(-1) ?? region.from) ?? Number.POSITIVE_INFINITY;
  const position = Math.min(wanted, fired);
  region.to = Math.min(position, end);
  if (position <= end) visit(region, position, wanted, fired, kind);
}
