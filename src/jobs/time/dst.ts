/** What happens to a timing's slots on the days clocks change, said in sentences: which wall times do not exist, which come twice, and what runs. */
import { type DstPolicy, type Mark, verdictOf } from './mark.ts';
import { marksOf } from './oracle.ts';
import type { Timing } from './timing.ts';
import { formatLocal } from './wall-time.ts';
import { fixedZone, type Zone, type ZoneChange, zoneOf } from './zone.ts';

/** `at` is the moment of the change, in UTC; `date` the local day. */
export type DstNote = { kind: 'dst_gap' | 'dst_repeat'; at: string; date: string; message: string };

/** Nobody reads more about one day. */
const MOST_MARKS = 1_000;
const HOUR_S = 3_600;

/**
 * A note for each offset change in `(from, to]` that moves, drops or doubles slots of the timing's calendars. Intervals count from the epoch and are never touched.
 * @param limit at most so many notes, the earliest ones.
 */
export function dstNotes(timing: Timing, from: Date, to: Date, policy: DstPolicy = {}, limit = 20): DstNote[] {
  const zone = zoneOf(timing.timezone);
  const notes: DstNote[] = [];
  const end = to.getTime() / 1_000;
  for (let change = zone.nextChange(from.getTime() / 1_000); change && change.at <= end; change = zone.nextChange(change.at)) {
    const width = Math.abs(change.after - change.before);
    const around = [change.at - width - HOUR_S, change.at + width + HOUR_S].map((at) => new Date(at * 1_000)) as [Date, Date];
    const note = noteOf(marksOf(timing, ...around, MOST_MARKS), zone, change, policy);
    if (note) notes.push(note);
    if (notes.length >= limit) break;
  }
  return notes;
}

function noteOf(marks: Mark[], zone: Zone, change: ZoneChange, policy: DstPolicy): DstNote | null {
  const isGap = change.after > change.before;
  const old = fixedZone(change.before);
  const clock = (zoneThen: Zone, epochS: number) => formatLocal(epochS, zoneThen).slice(11, secondsMatter(marks) ? 19 : 16);
  const secondOf = ({ slot }: Mark) => slot.getTime() / 1_000;
  const moved = marks.filter(({ kind }) => kind === 'gap');
  const doubled = marks.filter(({ kind }) => kind.endsWith('_first'));
  const concerned = isGap ? moved : doubled;
  if (concerned.length === 0) return null;

  const one = concerned.length === 1;
  const walls = listed(concerned.map((mark) => clock(old, secondOf(mark))));
  const parts = [`clocks ${isGap ? 'jump' : 'go back'} from ${clock(old, change.at)} to ${clock(fixedZone(change.after), change.at)}`];
  if (isGap && policy.gap === 'skip') parts.push(`${walls} ${one ? 'does not exist and is' : 'do not exist and are'} left out`);
  else if (isGap) {
    const shifted = listed(concerned.map((mark) => clock(zone, secondOf(mark))));
    parts.push(`${walls} ${one ? 'does not exist and runs' : 'do not exist and run'} at ${shifted}`);
  } else parts.push(`${walls} ${one ? 'comes' : 'come'} twice and ${one ? 'runs' : 'run'} ${timesOf(doubled, marks, policy)}`);
  const date = formatLocal(change.at, zone).slice(0, 10);
  return {
    kind: isGap ? 'dst_gap' : 'dst_repeat',
    at: new Date(change.at * 1_000).toISOString(),
    date,
    message: `On ${date} in ${zone.id} ${parts.join('; ')}.`,
  };
}

/** A schedule of several calendars may have both sorts. */
function timesOf(doubled: Mark[], marks: Mark[], policy: DstPolicy): string {
  const runs = (suffix: '_first' | '_last') => marks.some(({ kind }) => kind.endsWith(suffix) && verdictOf(kind, policy) === null);
  if (policy.repeat === undefined && doubled.some(({ kind }) => kind === 'hourly_first'))
    return doubled.every(({ kind }) => kind === 'hourly_first')
      ? 'both times'
      : 'the first time, or both where the schedule fires every hour';
  if (runs('_first') && runs('_last')) return 'both times';
  return runs('_first') ? 'the first time' : 'the last time';
}

const secondsMatter = (marks: Mark[]): boolean => marks.some(({ slot }) => slot.getUTCSeconds() !== 0);

function listed(items: string[]): string {
  const unique = [...new Set(items)];
  if (unique.length <= 4) return unique.join(', ');
  return `${unique.slice(0, 2).join(', ')} … ${unique.at(-1)} (${unique.length})`;
}
