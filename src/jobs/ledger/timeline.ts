/**
 * One job's slots in one timeline, past and ahead. Which slots there are is said by the oracle within the job's memberships (also those that have ended, with the timings
 * they had); what became of them by rows and ranges; what will become of those ahead by
 * what is known now: pause, and the function by which admit decides.
 *
 * A page costs as much as its slots, whatever the range: slots are worked out in stretches from where the last page ended. With a filter a page may be searched in vain;
 * then it ends early, and its cursor goes on.
 */
import { setImmediate as yieldTurn } from 'node:timers/promises';
import type { Pool } from '../../postgres.ts';
import type { Caller } from '../caller.ts';
import { jobNotFound } from '../job-errors.ts';
import { marksOf, slotsBetween } from '../time/oracle.ts';
import { DECIDED_WITHIN_MS, outcomeOfRange, outcomeOfRow, type SlotOutcome } from './outcomes.ts';
import { type SlotView, type SlotWord, slotView } from './slot-view.ts';
import {
  type LedgerJob,
  laterRows,
  ledgerJob,
  onceRows,
  type RangeRow,
  rangesOver,
  type SlotRow,
  type StopRow,
  slotRows,
  stopsAhead,
  stretchesOf,
  type TimedStretch,
} from './timeline-store.ts';

/** Slots looked at for one page; and those worked out at a stretch when there is a filter. */
const MOST_SCANNED = 5_000;
const SCANNED_AT_ONCE = 1_000;
/** What can be said of a slot that is not due yet. */
const AHEAD: readonly SlotOutcome[] = ['expected', 'paused', 'frozen', 'excluded', 'dst_gap', 'dst_repeat'];

export type TimelineQuery = {
  from: Date;
  /** Exclusive. */
  to: Date;
  outcome?: readonly SlotOutcome[] | undefined;
  limit: number;
  /** Slots after this one. */
  after?: Date | undefined;
};
export type TimelinePage = { items: SlotView[]; next: Date | null };

export function createTimeline({ pool }: { pool: Pool }) {
  return async function timeline(caller: Caller, idOrName: string, query: TimelineQuery): Promise<TimelinePage> {
    const job = await ledgerJob(pool, caller.team, idOrName);
    if (!job) throw jobNotFound(idOrName);
    const from = query.after && query.after >= query.from ? new Date(query.after.getTime() + 1) : query.from;
    const wanted = query.outcome && new Set<string>(query.outcome);
    // what has happened is not looked for in what lies ahead
    const to = wanted && !AHEAD.some((outcome) => wanted.has(outcome)) && job.now < query.to ? job.now : query.to;
    const stretches = from < to ? await stretchesOf(pool, caller.team, job.id, from, to) : [];
    const items: SlotView[] = [];
    let position = from;
    for (let scanned = 0; scanned < MOST_SCANNED; ) {
      const most = wanted ? SCANNED_AT_ONCE : query.limit - items.length + 1;
      const stretch = slotsFrom(stretches, position, most);
      // what lies behind the last slot of a full stretch belongs to the next one
      const last = stretch.length === most ? stretch.at(-1)!.slot : new Date(to.getTime() - 1);
      const words = await wordsOf(caller.team, job, stretch, position, last);
      for (const word of words) {
        if (wanted && !wanted.has(word.outcome)) continue;
        if (items.length === query.limit) return { items: await withLater(caller.team, job, items), next: new Date(items.at(-1)!.slot) };
        items.push(slotView(job, word));
      }
      if (stretch.length < most) return { items: await withLater(caller.team, job, items), next: null };
      scanned += words.length;
      position = new Date(last.getTime() + 1);
      await yieldTurn();
    }
    return { items: await withLater(caller.team, job, items), next: new Date(position.getTime() - 1) };
  };

  /** What became, or will become, of the slots in [first, last]: those that are expected, and rows of slots that nobody expects any more. */
  async function wordsOf(
    team: string,
    job: LedgerJob,
    expected: { slot: Date; stretch: TimedStretch }[],
    first: Date,
    last: Date,
  ): Promise<SlotWord[]> {
    const ahead = expected.filter(({ slot }) => slot > job.now && !isPaused(job, slot));
    const [rows, once, ranges, stops] = await Promise.all([
      first <= job.now ? slotRows(pool, team, job.id, first, last) : [],
      job.once ? onceRows(pool, team, job.id, first, last, MOST_SCANNED) : [],
      first <= job.now ? rangesOver(pool, team, job.id, first, last) : [],
      ahead.length > 0
        ? stopsAhead(
            pool,
            team,
            job.id,
            ahead.map(({ slot, stretch }) => ({ slot, hash: stretch.timing_hash })),
          )
        : [],
    ]);
    const byTime = new Map<number, SlotWord>();
    const marks = marksBetween(expected);
    const stopped = new Map(stops.map((stop) => [stop.slot.getTime(), stop]));
    for (const { slot } of expected) {
      const at = slot.getTime();
      const mark = marks.get(at) ?? null;
      const known = { slot, row: null, mark, future: slot > job.now };
      const range = ranges.find((one) => one.from_at !== null && one.from_at <= slot && (one.to_at === null || slot < one.to_at)) ?? null;
      // a pause whose end has been written down a little ahead (operations/due-resumes.ts)
      if (known.future && range?.reason === 'paused' && range.to_at) byTime.set(at, { ...known, range, outcome: 'paused' });
      else if (known.future) byTime.set(at, { ...known, ...forecast(job, slot, stopped.get(at)) });
      else if (range) byTime.set(at, { ...known, range, outcome: outcomeOfRange(range.reason) });
      else {
        const left = job.archived.has(Date.UTC(slot.getUTCFullYear(), slot.getUTCMonth(), 1));
        const outcome = job.now.getTime() - at < DECIDED_WITHIN_MS ? 'pending' : left ? 'archived' : 'unaccounted';
        byTime.set(at, { ...known, range, outcome });
      }
    }
    for (const row of [...rows, ...once]) byTime.set(row.slot.getTime(), wordOfRow(job, row, marks.get(row.slot.getTime()) ?? null));
    return [...byTime.values()].sort((a, b) => a.slot.getTime() - b.slot.getTime());
  }

  async function withLater(team: string, job: LedgerJob, items: SlotView[]): Promise<SlotView[]> {
    if (items.length === 0) return items;
    const later = Map.groupBy(
      await laterRows(
        pool,
        team,
        job.id,
        items.map(({ slot }) => new Date(slot)),
      ),
      (row) => row.slot.getTime(),
    );
    for (const item of items) {
      const rows = later.get(Date.parse(item.slot)) ?? [];
      item.later = rows.map(({ id, trigger, status, operation_id: operationId }) => ({ executionId: id, trigger, status, operationId }));
    }
    return items;
  }
}

export type Timeline = ReturnType<typeof createTimeline>;

/** The expected slots from a moment on, at most so many. */
function slotsFrom(stretches: readonly TimedStretch[], from: Date, most: number): { slot: Date; stretch: TimedStretch }[] {
  const slots: { slot: Date; stretch: TimedStretch }[] = [];
  for (const stretch of stretches) {
    if (slots.length === most) break;
    const begin = new Date(Math.max(stretch.from.getTime(), from.getTime()) - 1);
    const end = new Date(stretch.to.getTime() - 1);
    if (begin >= end) continue;
    for (const slot of slotsBetween(stretch.timing, begin, end, most - slots.length)) slots.push({ slot, stretch });
  }
  return slots;
}

/** Marks of the slots, by their time. */
function marksBetween(expected: { slot: Date; stretch: TimedStretch }[]): Map<number, string> {
  const marks = new Map<number, string>();
  for (const [stretch, slots] of Map.groupBy(expected, (one) => one.stretch)) {
    const first = new Date(slots[0]!.slot.getTime() - 1);
    for (const { slot, kind } of marksOf(stretch.timing, first, slots.at(-1)!.slot)) marks.set(slot.getTime(), kind);
  }
  return marks;
}

const wordOfRow = (job: LedgerJob, row: SlotRow, mark: string | null): SlotWord => {
  const future = row.slot > job.now;
  return { slot: row.slot, row, range: null, mark, future, outcome: outcomeOfRow(row.status, row.reason, future) };
};

const isPaused = (job: LedgerJob, slot: Date): boolean =>
  !job.enabled || (job.paused_at !== null && (job.paused_until === null || slot < job.paused_until));

/** What admit would say of a slot ahead by what is known now. */
function forecast(job: LedgerJob, slot: Date, stop: StopRow | undefined): { outcome: SlotOutcome; range: RangeRow | null } {
  if (isPaused(job, slot)) return { outcome: 'paused', range: null };
  if (!stop) return { outcome: 'expected', range: null };
  const { reason, from_at, to_at, freeze_id, calendar, note } = stop;
  // a change of clocks stops a moment, not a stretch
  const range = freeze_id || calendar ? { reason, from_at, to_at, freeze_id, calendar, by: null, note } : null;
  return { outcome: outcomeOfRange(reason), range };
}
