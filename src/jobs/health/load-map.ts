/**
 * The load map: how many executions start in each minute ahead, by queue; the worst minutes; and whom to spread. Worked out by the oracle, offsets included, calendars and
 * changes of clocks as each job's rules say. Jobs that start alike are worked out once. The work is bounded, and others of the process have their turn all the time:
 * what does not fit into the budget is left out, smallest groups first, and counted.
 */
import { setImmediate as yieldTurn } from 'node:timers/promises';
import type { Pool } from '../../postgres.ts';
import type { Caller } from '../caller.ts';
import { timingsByHash } from '../clocks/late-slot-store.ts';
import { marksOf, slotsBetween, verdictOf } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';
import { type LoadGroup, loadGroups, loadOfOnce, loadSpans } from './load-store.ts';
import { type SpreadSuggestion, suggestSpread } from './spread-suggestions.ts';

/** Slots worked out by walking calendars for one answer, and starts counted: a second or two of work. */
const MOST_WALKED = 600_000;
const MOST_COUNTED = 120_000_000;
/** Between two turns of others. */
const WALKED_AT_ONCE = 4_000;
const COUNTED_AT_ONCE = 1_000_000;
/** What a look for slots costs even where there is none, in slots. */
const LOOK = 20;
const WORST = 10;
/** An answer is good for so long, milliseconds. */
const KEPT_MS = 30_000;
const MOST_KEPT = 100;

export type LoadMap = {
  from: string;
  to: string;
  bucket: '1m';
  /** Jobs with slots in the window. */
  jobs: number;
  /** Jobs that were left out of the count, because working them out would have taken too long. */
  jobsLeftOut: number;
  total: number;
  /** Starts per minute, from `from` on. */
  queues: { queue: string; total: number; peak: number; starts: number[] }[];
  worst: { minute: string; starts: number; byQueue: Record<string, number> }[];
  suggestions: SpreadSuggestion[];
};

/** Where work has come to. */
type Budget = { walked: number; counted: number; walkTurnAt: number; turnAt: number };

export function createLoadMap({ pool }: { pool: Pool }) {
  const kept = new Map<string, { until: number; map: Promise<LoadMap> }>();

  /** @param windowMs whole minutes. */
  return async function loadMap({ team }: Pick<Caller, 'team'>, windowMs: number): Promise<LoadMap> {
    const key = `${team} ${windowMs}`;
    const now = Date.now();
    const known = kept.get(key);
    if (known && known.until > now) return known.map;
    if (kept.size >= MOST_KEPT) kept.clear();
    const map = workOut(pool, team, now, windowMs);
    kept.set(key, { until: now + KEPT_MS, map });
    map.catch(() => kept.delete(key));
    return map;
  };
}

export async function workOut(pool: Pool, team: string, now: number, windowMs: number): Promise<LoadMap> {
  const firstMinute = Math.floor(now / 60_000);
  const minutes = Math.round(windowMs / 60_000);
  const [from, until] = [new Date(firstMinute * 60_000), new Date((firstMinute + minutes) * 60_000)];
  const groups = await loadGroups(pool, team, from, until);
  const timings = await timingsByHash(pool, [...new Set(groups.map(({ timing_hash }) => timing_hash))]);
  const calendars = [...new Set(groups.flatMap(({ include, exclude }) => [...(include ?? []), ...(exclude ?? [])]))];
  const spans = calendars.length > 0 ? await loadSpans(pool, team, calendars, from, until) : new Map();

  const starts = new Map<string, Uint32Array>();
  const startsOf = (queue: string): Uint32Array => {
    const known = starts.get(queue) ?? new Uint32Array(minutes);
    starts.set(queue, known);
    return known;
  };
  const budget: Budget = { walked: 0, counted: 0, walkTurnAt: WALKED_AT_ONCE, turnAt: COUNTED_AT_ONCE };
  let [jobs, jobsLeftOut] = [0, 0];
  const byTiming = [...Map.groupBy(groups, ({ timing_hash }) => timing_hash)].map(([hash, ofTiming]) => ({
    hash,
    groups: ofTiming,
    jobs: ofTiming.reduce((sum, group) => sum + group.jobs, 0),
  }));
  for (const { hash, groups: ofTiming, jobs: count } of byTiming.sort((a, b) => b.jobs - a.jobs)) {
    const timing = timings.get(hash);
    // an offset moves what was due before the window into it
    const longest = Math.max(...ofTiming.map(({ offset_s }) => offset_s));
    const slots = timing && (await slotsOfWindow(timing, firstMinute * 60 - longest, (firstMinute + minutes) * 60, budget));
    if (!timing || !slots || budget.counted + slots.length * ofTiming.length > MOST_COUNTED) {
      jobsLeftOut += count;
      continue;
    }
    jobs += count;
    for (const group of ofTiming) {
      const counts = startsOf(group.queue);
      const runs = filterOf(group, timing, slots, spans);
      for (let n = 0; n < slots.length; n += 1) {
        const slot = slots[n]!;
        const minute = Math.floor((slot + group.offset_s) / 60) - firstMinute;
        if (minute >= 0 && minute < minutes && (runs === null || runs(slot))) counts[minute]! += group.jobs;
      }
      budget.counted += slots.length;
      if (budget.counted > budget.turnAt) {
        budget.turnAt = budget.counted + COUNTED_AT_ONCE;
        await yieldTurn();
      }
    }
  }
  for (const { queue, minute, starts: count } of await loadOfOnce(pool, team, from, until)) startsOf(queue)[minute - firstMinute]! += count;

  const worst = worstMinutes(starts, minutes);
  const total = sumOf([...starts.values()].map(sumOf));
  const minuteOf = (minute: number): string => new Date((firstMinute + minute) * 60_000).toISOString();
  return {
    from: from.toISOString(),
    to: until.toISOString(),
    bucket: '1m',
    jobs: jobs + jobsLeftOut,
    jobsLeftOut,
    total,
    queues: [...starts]
      .map(([queue, counts]) => ({
        queue,
        total: sumOf(counts),
        peak: counts.reduce((most, count) => Math.max(most, count), 0),
        starts: [...counts],
      }))
      .sort((a, b) => (a.queue < b.queue ? -1 : 1)),
    worst: worst.map(({ minute, starts: count }) => ({
      minute: minuteOf(minute),
      starts: count,
      byQueue: Object.fromEntries(
        [...starts].filter(([, counts]) => counts[minute]! > 0).map(([queue, counts]) => [queue, counts[minute]!]),
      ),
    })),
    suggestions: await suggestSpread(pool, team, {
      timings,
      unspread: byTiming.map(({ hash, groups: ofTiming }) => ({ hash, jobs: sumOf(ofTiming.map(({ unspread }) => unspread)) })),
      worst: worst.map(({ minute }) => firstMinute + minute),
      meanPerMinute: total / minutes,
    }),
  };
}

const sumOf = (numbers: ArrayLike<number>): number => {
  let sum = 0;
  for (let n = 0; n < numbers.length; n += 1) sum += numbers[n]!;
  return sum;
};

/** Epoch seconds of a timing's slots with fromS <= slot < toS; null: the budget is spent. */
async function slotsOfWindow(timing: Timing, fromS: number, toS: number, budget: Budget): Promise<number[] | null> {
  const slots: number[] = [];
  const [interval] = timing.intervals;
  if (interval && timing.intervals.length === 1 && timing.calendars.length === 0) {
    const { everyS, offsetS } = interval;
    for (let at = Math.ceil((fromS - offsetS) / everyS) * everyS + offsetS; at < toS; at += everyS) slots.push(at);
    return slots;
  }
  const end = new Date(toS * 1_000 - 1);
  for (let after = new Date(fromS * 1_000 - 1); ; ) {
    if (budget.walked > MOST_WALKED) return null;
    const found = slotsBetween(timing, after, end, WALKED_AT_ONCE);
    for (const slot of found) slots.push(slot.getTime() / 1_000);
    // the way to a slot costs too, also where there is none
    budget.walked += found.length + LOOK;
    if (budget.walked > budget.walkTurnAt) {
      budget.walkTurnAt = budget.walked + WALKED_AT_ONCE;
      await yieldTurn();
    }
    if (found.length < WALKED_AT_ONCE) return slots;
    after = found.at(-1)!;
  }
}

/** Which of the slots a group's rules let run; null: all of them. */
function filterOf(
  group: LoadGroup,
  timing: Timing,
  slots: readonly number[],
  spans: Map<string, { fromS: number; toS: number }[]>,
): ((slot: number) => boolean) | null {
  const { begins, ends, include, exclude, zone } = group;
  const rules: ((slot: number) => boolean)[] = [];
  if (begins) rules.push((slot) => slot * 1_000 >= begins.getTime());
  if (ends) rules.push((slot) => slot * 1_000 < ends.getTime());
  const within = (calendars: readonly string[]) => {
    const stretches = calendars.flatMap((calendar) => spans.get(`${calendar} ${zone}`) ?? []);
    return (slot: number) => stretches.some(({ fromS, toS }) => fromS <= slot && slot < toS);
  };
  if (include) rules.push(within(include));
  if (exclude) {
    const excluded = within(exclude);
    rules.push((slot) => !excluded(slot));
  }
  if (slots.length > 0) {
    const policy = { gap: group.dst_gap, repeat: group.dst_repeat ?? undefined };
    const marks = marksOf(timing, new Date(slots[0]! * 1_000 - 1), new Date(slots.at(-1)! * 1_000));
    const left = new Set(marks.filter(({ kind }) => verdictOf(kind, policy) !== null).map(({ slot }) => slot.getTime() / 1_000));
    if (left.size > 0) rules.push((slot) => !left.has(slot));
  }
  if (rules.length === 0) return null;
  return (slot) => rules.every((rule) => rule(slot));
}

/** The minutes with the most starts, worst first; the earlier of equals. */
function worstMinutes(starts: Map<string, Uint32Array>, minutes: number): { minute: number; starts: number }[] {
  const all = [...starts.values()];
  return Array.from({ length: minutes }, (_, minute) => ({ minute, starts: all.reduce((sum, counts) => sum + counts[minute]!, 0) }))
    .filter(({ starts: count }) => count > 0)
    .sort((a, b) => b.starts - a.starts || a.minute - b.minute)
    .slice(0, WORST);
}
