/** What happens to a timing's slots on the days clocks change, said in sentences: which wall times do not exist, which come twice, and what fires. */
import { type CompiledCalendar, compileCalendar } from './calendar-walk.ts';
import { createWalker, slotsBetween } from './oracle.ts';
import type { Timing } from './timing.ts';
import { formatLocal } from './wall-time.ts';
import { fixedZone, type Zone, type ZoneChange, zoneOf } from './zone.ts';

/** `at` is the moment of the change, in UTC; `date` the local day. */
export type DstNote = { kind: 'dst_gap' | 'dst_repeat'; at: string; date: string; message: string };

/** From each side of a change so many slots are compared; denser timings are described by their first ones. */
const MOST_COMPARED = 200;
const DAY_S = 86_400;

/**
 * A note for each offset change in `(from, to]` that moves, drops or doubles slots of the timing's calendars. Intervals count from the epoch and are never touched.
 * @param limit at most so many notes, the earliest ones.
 */
export function dstNotes(timing: Timing, from: Date, to: Date, limit = 20): DstNote[] {
  if (timing.calendars.length === 0) return [];
  const wallTiming: Timing = { ...timing, intervals: [] };
  const calendars = timing.calendars.map(compileCalendar);
  const zone = zoneOf(timing.timezone);
  const notes: DstNote[] = [];
  for (const change of zone.changes(from.getTime() / 1_000, to.getTime() / 1_000)) {
    const note = noteOf(wallTiming, calendars, zone, change);
    if (note) notes.push(note);
    if (notes.length >= limit) break;
  }
  return notes;
}

function noteOf(timing: Timing, calendars: CompiledCalendar[], zone: Zone, change: ZoneChange): DstNote | null {
  const length = Math.abs(change.after - change.before);
  const gap = change.after > change.before;
  const asBefore = fixedZone(change.before);
  const asAfter = fixedZone(change.after);
  const clock = (zoneThen: Zone, epochS: number) => formatLocal(epochS, zoneThen).slice(11, 16);
  const shown = (list: number[]) => listed(list.map((at) => formatLocal(at, zone)));
  // The stretch of wall time that is missing or comes twice, as moments on the old clock; then the day that follows.
  const start = gap ? change.at : change.at - length;
  const walls = plainTimes(calendars, asBefore, start - 1, start + length - 1);
  const dayAfter = gap ? change.at : change.at + length;
  const fired = firedTimes(timing, start - 1, dayAfter - 1);
  const surprises = surprisesOf(
    plainTimes(calendars, asAfter, dayAfter - 1, dayAfter + DAY_S),
    firedTimes(timing, dayAfter - 1, dayAfter + DAY_S),
    shown,
  );
  if (walls.length === 0 && surprises === '') return null;

  const parts = [`clocks ${gap ? 'jump' : 'go back'} from ${clock(asBefore, change.at)} to ${clock(asAfter, change.at)}`];
  const named = listed(walls.map((at) => clock(asBefore, at)));
  if (walls.length > 0 && gap) parts.push(`${named} ${walls.length === 1 ? 'does not exist and is' : 'do not exist and are'} left out`);
  if (walls.length > 0 && !gap)
    parts.push(
      `${named} ${walls.length === 1 ? 'comes' : 'come'} twice, and of both ${fired.length === 0 ? 'none fires' : `fires ${shown(fired)}`}`,
    );
  if (surprises) parts.push(surprises);
  const date = formatLocal(change.at, zone).slice(0, 10);
  return {
    kind: gap ? 'dst_gap' : 'dst_repeat',
    at: new Date(change.at * 1_000).toISOString(),
    date,
    message: `On ${date} in ${zone.id} ${parts.join('; ')}.`,
  };
}

/** Slots that plain wall time has and Temporal has not, or the other way round (see `calendar-walk.ts`). */
function surprisesOf(plain: number[], fired: number[], shown: (list: number[]) => string): string {
  // When a list was cut, only the stretch that both cover can be compared.
  const known = Math.min(...[plain, fired].map((list) => (list.length < MOST_COMPARED ? Number.POSITIVE_INFINITY : (list.at(-1) ?? 0))));
  const without = (list: number[], other: number[]) => list.filter((at) => at <= known && !other.includes(at));
  const missing = without(plain, fired);
  const extra = without(fired, plain);
  const sentences: string[] = [];
  if (missing.length > 0) sentences.push(`${shown(missing)} ${missing.length === 1 ? 'does' : 'do'} not fire`);
  if (extra.length > 0) sentences.push(`${shown(extra)} ${extra.length === 1 ? 'fires' : 'fire'} as well`);
  return sentences.join('; ');
}

function plainTimes(calendars: CompiledCalendar[], zone: Zone, after: number, to: number): number[] {
  const walk = createWalker(calendars, [], zone);
  const found: number[] = [];
  for (let at = walk(after); at !== null && at <= to && found.length < MOST_COMPARED; at = walk(at)) found.push(at);
  return found;
}

const firedTimes = (timing: Timing, after: number, to: number): number[] =>
  slotsBetween(timing, new Date(after * 1_000), new Date(to * 1_000), MOST_COMPARED).map((slot) => slot.getTime() / 1_000);

function listed(items: string[]): string {
  const unique = [...new Set(items)];
  if (unique.length <= 4) return unique.join(', ');
  return `${unique.slice(0, 2).join(', ')} … ${unique.at(-1)} (${unique.length})`;
}
