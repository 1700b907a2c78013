/**
 * Finds slots that nobody admitted and has them admitted (semantics.md 9). Temporal is only the fast path: it skips what was due while a schedule was paused or before an
 * update, and gives up on what is over a minute late. So each clock's expected slots are worked out by the oracle, from memberships, and compared with the rows.
 *
 * Cheap when all is well: per pass one statement each for clocks, memberships, rows and the note of how far all is checked, however many clocks there are. A shared
 * clock costs one more; its slots are worked out once, and its members stay in the database unless something is missing.
 */
import type { Pool } from '../../postgres.ts';
import { slotExecutionId } from '../ids.ts';
import { jobsFinish } from '../job-finish.ts';
import { nextSlot, slotsBetween } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';
import { type CarriedOut, createLateAdmit } from './late-admit.ts';
import { type Missing, ONE_BY_ONE_AT_MOST, plan } from './late-slot-plan.ts';
import {
  type ClockToCheck,
  clocksNoteChecked,
  jobsWithStops,
  type Membership,
  membershipsAfter,
  slotsWithoutRow,
  timingsByHash,
} from './late-slot-store.ts';
import { type SharedClock, sharedClocks, sharedSlotsWithoutRow } from './shared-clock-store.ts';

/** A slot without a row is late when it was due longer ago than this, milliseconds. As `late_after()` in SQL. */
export const LATE_AFTER_MS = 15_000;
/** Slots of one clock that are worked out in one pass; fewer when there are many clocks, but enough to make a range row of a stretch. */
const SLOTS_PER_CLOCK = 5_000;
const SLOTS_PER_PASS = 100_000;
/** The same for a shared clock: so many pairs of slot and member, but no fewer slots than make a range row where all are missing. */
const PAIRS_PER_CLOCK = 200_000;
const SLOTS_OF_MANY = 200;
/** A clock is looked at this often even if no slot is due, milliseconds, whatever its row says of the next slot. */
const AT_LEAST_EVERY_MS = 600_000;
const MEMBERLESS_EVERY_MS = 60_000;
/** Timings kept compiled. */
const TIMINGS = 20_000;

export type LateSlots = ReturnType<typeof createLateSlots>;
export type Checked = CarriedOut & {
  /** Clocks without any open membership. */
  memberless: string[];
  /** True: some clock has more to check at once. */
  more: boolean;
};

/** What was found of one clock: what is missing up to `end`, and when to look again if all of that is done. */
type Look = { clock: ClockToCheck; end: Date; members: Membership[]; missing: Missing[]; open: boolean; nextLook: (done: Date) => Date };

export function createLateSlots({ pool, bufferLimit }: { pool: Pool; bufferLimit: number }) {
  const timings = new Map<string, Timing>();
  const carryOut = createLateAdmit({ pool, bufferLimit, timingOf: (hash) => timings.get(hash) });

  async function loadTimings(hashes: Iterable<string>): Promise<void> {
    if (timings.size > TIMINGS) timings.clear();
    const unknown = [...new Set(hashes)].filter((hash) => !timings.has(hash));
    if (unknown.length === 0) return;
    for (const [hash, timing] of await timingsByHash(pool, unknown)) timings.set(hash, timing);
  }

  /** Expected slots of one membership in (since, until], and whether there are more than were worked out. */
  function expected(member: Membership, since: Date, until: Date, most: number): Date[] {
    const timing = timings.get(member.timing_hash);
    if (!timing) return [];
    const from = new Date(Math.max(since.getTime(), member.valid_from.getTime() - 1));
    const to = new Date(Math.min(until.getTime(), member.valid_to ? member.valid_to.getTime() - 1 : Number.POSITIVE_INFINITY));
    return from < to ? slotsBetween(timing, from, to, most) : [];
  }

  const isOpen = (member: Membership, now: number): boolean => member.valid_to === null || member.valid_to.getTime() > now;
  const atLeast = (open: boolean, now: number): number => now + (open ? AT_LEAST_EVERY_MS : MEMBERLESS_EVERY_MS);

  /** When to look again: when the next slot of an open membership, or its end, is overdue. */
  function nextLook(members: Membership[], until: Date, now: number): Date {
    let next = atLeast(
      members.some((member) => isOpen(member, now)),
      now,
    );
    for (const member of members) {
      const timing = timings.get(member.timing_hash);
      const slot = timing && nextSlot(timing, new Date(Math.max(until.getTime(), member.valid_from.getTime() - 1)));
      if (slot && (member.valid_to === null || slot < member.valid_to)) next = Math.min(next, slot.getTime() + LATE_AFTER_MS + 1);
      if (member.valid_to && member.valid_to.getTime() > now) next = Math.min(next, member.valid_to.getTime() + 1);
    }
    return new Date(next);
  }

  /** Up to here clocks are checked: what was due later is not late yet. */
  const endOf = (clock: ClockToCheck, now: number): Date => new Date(Math.max(now - LATE_AFTER_MS, clock.checked_until.getTime()));

  async function lookAtOwn(clocks: ClockToCheck[], now: number): Promise<Look[]> {
    if (clocks.length === 0) return [];
    const members = await membershipsAfter(
      pool,
      clocks.map((clock) => ({ id: clock.id, since: clock.checked_until })),
    );
    await loadTimings(members.map((member) => member.timing_hash));
    const byClock = Map.groupBy(members, (member) => member.clock_id);

    const slots: Missing[] = [];
    const ends = new Map<string, Date>();
    const most = Math.max(SLOTS_OF_MANY, Math.min(SLOTS_PER_CLOCK, Math.floor(SLOTS_PER_PASS / clocks.length)));
    for (const clock of clocks) {
      let end = endOf(clock, now);
      const ofClock = (byClock.get(clock.id) ?? []).map((member) => ({ member, slots: expected(member, clock.checked_until, end, most) }));
      for (const one of ofClock) if (one.slots.length === most && one.slots.at(-1)! < end) end = one.slots.at(-1)!;
      for (const { member, slots: found } of ofClock) for (const slot of found) if (slot <= end) slots.push({ clock, member, slot });
      ends.set(clock.id, end);
    }
    const missing = Map.groupBy(slots.length === 0 ? [] : await withoutRow(slots), (one) => one.clock.id);
    return clocks.map((clock): Look => {
      const ofClock = byClock.get(clock.id) ?? [];
      return {
        clock,
        end: ends.get(clock.id)!,
        members: ofClock,
        missing: missing.get(clock.id) ?? [],
        open: ofClock.some((member) => isOpen(member, now)),
        nextLook: (done) => nextLook(ofClock, done, now),
      };
    });
  }

  async function withoutRow(slots: Missing[]): Promise<Missing[]> {
    const positions = await slotsWithoutRow(
      pool,
      slots.map(({ member, slot }) => ({ jobId: member.job_id, executionId: slotExecutionId(member.job_id, slot), slot })),
    );
    return slots.filter((_, index) => positions.has(index));
  }

  async function lookAtShared(clocks: ClockToCheck[], now: number): Promise<Look[]> {
    if (clocks.length === 0) return [];
    await loadTimings(clocks.map((clock) => clock.timing_hash));
    const states = new Map((await sharedClocks(pool, clocks)).map((state) => [state.id, state]));
    const looks: Look[] = [];
    for (const clock of clocks) {
      const state = states.get(clock.id)!;
      if (state.over.length > 0) await jobsFinish(pool, clock.team, clock.id, state.over);
      looks.push(await lookAtOneShared(clock, state, now));
    }
    return looks;
  }

  async function lookAtOneShared(clock: ClockToCheck, state: SharedClock, now: number): Promise<Look> {
    const timing = timings.get(clock.timing_hash);
    const limit = Math.min(SLOTS_PER_CLOCK, Math.max(SLOTS_OF_MANY, Math.floor(PAIRS_PER_CLOCK / Math.max(1, state.members))));
    let end = endOf(clock, now);
    const slots = timing && state.members > 0 ? slotsBetween(timing, clock.checked_until, end, limit) : [];
    if (slots.length === limit) end = slots.at(-1)!;
    const found = slots.length === 0 ? [] : await sharedSlotsWithoutRow(pool, clock.id, slots);
    const members = found.length === 0 ? [] : await membershipsAfter(pool, [{ id: clock.id, since: clock.checked_until }]);
    const keyOf = (member: { job_id: string; valid_from: Date }) => `${member.job_id} ${member.valid_from.getTime()}`;
    const byKey = new Map(members.map((member) => [keyOf(member), member]));
    const missing = found.flatMap((one): Missing[] => {
      const member = byKey.get(keyOf(one));
      return member ? one.positions.map((position) => ({ clock, member, slot: slots[position - 1]! })) : [];
    });
    return {
      clock,
      end,
      members,
      missing,
      open: state.open,
      nextLook: (done) => {
        const slot = state.open && timing ? nextSlot(timing, done) : null;
        const ends = [slot && slot.getTime() + LATE_AFTER_MS + 1, state.next_end && state.next_end.getTime() + 1];
        return new Date(Math.min(atLeast(state.open, now), ...ends.filter((at) => at !== null)));
      },
    };
  }

  /**
   * Checks clocks up to 15 s before they were read. Late slots are admitted here; their workflows are the caller's to start.
   */
  async function check(clocks: ClockToCheck[]): Promise<Checked> {
    const checked: Checked = { admitted: 0, ranged: 0, calls: 0, starts: [], memberless: [], more: false };
    if (clocks.length === 0) return checked;
    const now = clocks[0]!.now.getTime();
    const { dedicated = [], pooled = [] } = Object.groupBy(clocks, (clock) => clock.kind);
    const looks = [...(await lookAtOwn(dedicated, now)), ...(await lookAtShared(pooled, now))];

    // what few slots are is said by admit one by one all the same
    const many = looks.filter(({ missing }) => missing.length > ONE_BY_ONE_AT_MOST);
    const since = new Date(Math.min(...many.map(({ clock }) => clock.checked_until.getTime())));
    const oneByOne =
      many.length > 0
        ? await jobsWithStops(
            pool,
            many.flatMap(({ members }) => members),
            since,
          )
        : new Set<string>();
    const notes: { clock: ClockToCheck; until: Date; next: Date }[] = [];
    for (const { clock, end, members, missing, open, nextLook: next } of looks) {
      const steps = plan(missing, (member) => timings.get(member.timing_hash)!, now, oneByOne);
      const done = await carryOut(clock, members, steps, end, checked);
      const unfinished = done < end || end.getTime() < now - LATE_AFTER_MS - 1_000;
      if (unfinished) checked.more = true;
      if (!open) checked.memberless.push(clock.id);
      notes.push({ clock, until: done, next: unfinished ? new Date(now) : next(done) });
    }
    await clocksNoteChecked(pool, notes);
    return checked;
  }

  return { check };
}
