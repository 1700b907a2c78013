/**
 * Finds slots that nobody admitted and has them admitted (semantics.md 9). Temporal is only the fast path: it skips what was due while a schedule was paused or before an
 * update, and gives up on what is over a minute late. So each clock's expected slots are worked out by the oracle, from memberships, and compared with the rows.
 *
 * Cheap when all is well: per pass one statement each for clocks, memberships, rows and the note of how far all is checked, however many clocks there are.
 */
import type { Pool } from '../../postgres.ts';
import { type AdmittedRow, admitSlot, type ExecutionStart } from '../execution-store.ts';
import { jobIdOf, slotExecutionId } from '../ids.ts';
import { nextSlot, slotsBetween } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';
import { type Missing, plan, type Step } from './late-slot-plan.ts';
import {
  type ClockToCheck,
  clocksNoteChecked,
  type Membership,
  membershipsAfter,
  slotsWithoutRow,
  timingsByHash,
  writeSlotRange,
} from './late-slot-store.ts';

/** A slot without a row is late when it was due longer ago than this, milliseconds. As `late_after()` in SQL. */
export const LATE_AFTER_MS = 15_000;
/** Slots of one clock that are worked out in one pass, and that are admitted in one pass. */
const SLOTS_PER_CLOCK = 5_000;
const ADMITS_PER_CLOCK = 500;
/** A clock is looked at this often even if no slot is due, milliseconds, whatever its row says of the next slot. */
const AT_LEAST_EVERY_MS = 600_000;
const MEMBERLESS_EVERY_MS = 60_000;
/** Timings kept compiled. */
const TIMINGS = 20_000;

export type LateSlots = ReturnType<typeof createLateSlots>;
export type Checked = {
  /** Late slots admitted now, and those that became a range row. */
  admitted: number;
  ranged: number;
  /** What is to be started, in no order. */
  starts: ExecutionStart[];
  /** Clocks without any open membership. */
  memberless: string[];
  /** True: some clock has more to check at once. */
  more: boolean;
};

export function createLateSlots({ pool, bufferLimit }: { pool: Pool; bufferLimit: number }) {
  const timings = new Map<string, Timing>();

  async function loadTimings(hashes: Iterable<string>): Promise<void> {
    if (timings.size > TIMINGS) timings.clear();
    const unknown = [...new Set(hashes)].filter((hash) => !timings.has(hash));
    if (unknown.length === 0) return;
    for (const [hash, timing] of await timingsByHash(pool, unknown)) timings.set(hash, timing);
  }

  /** Expected slots of one membership in (since, until], and whether there are more than were worked out. */
  function expected(member: Membership, since: Date, until: Date): Date[] {
    const timing = timings.get(member.timing_hash);
    if (!timing) return [];
    const from = new Date(Math.max(since.getTime(), member.valid_from.getTime() - 1));
    const to = new Date(Math.min(until.getTime(), member.valid_to ? member.valid_to.getTime() - 1 : Number.POSITIVE_INFINITY));
    return from < to ? slotsBetween(timing, from, to, SLOTS_PER_CLOCK) : [];
  }

  /** Admits one slot for all members of its clock at that time. Null: the membership has changed since it was read. */
  async function admit(
    clock: ClockToCheck,
    member: Membership,
    slot: Date,
    members: Map<string, Membership>,
  ): Promise<ExecutionStart[] | null> {
    const timing = timings.get(member.timing_hash);
    const decided = await admitSlot(pool, {
      team: clock.team,
      clock: clock.id,
      nominal: slot,
      timingHash: member.timing_hash,
      successor: timing ? nextSlot(timing, slot) : null,
      workflowId: null,
      runId: null,
      bufferLimit,
    });
    if (decided.some((row) => row.decision === 'stale')) return null;
    return decided
      .filter((row): row is AdmittedRow => row.decision === 'run')
      .map((row) => {
        const { queue, priority } = members.get(jobIdOf(row.id) ?? '') ?? member;
        return {
          team: clock.team,
          id: row.id,
          partitionAt: slot.toISOString(),
          workflowId: row.id,
          queue,
          dueAt: row.due_at.toISOString(),
          priority,
          jobName: row.job_name,
          dispatch: 'dedicated' as const,
        };
      });
  }

  /** Carries out the steps of one clock in slot order; answers up to where all is done now. */
  async function carryOut(clock: ClockToCheck, members: Membership[], steps: Step[], until: Date, checked: Checked): Promise<Date> {
    const byJob = new Map(members.map((member) => [member.job_id, member]));
    const admitted = new Set<number>();
    for (const step of steps) {
      if (step.kind === 'range') {
        const { member } = step;
        const written = await writeSlotRange(pool, {
          team: clock.team,
          jobId: member.job_id,
          reason: step.reason,
          from: step.from,
          to: new Date(step.last.getTime() + 1_000),
          count: step.count,
          catchUp: member.catch_up,
          windowMs: member.catch_up_window_ms,
          blocked: member.blocked,
        });
        checked.ranged += written ? step.count : 0;
        if (!written) return new Date(step.from.getTime() - 1);
        continue;
      }
      const at = step.slot.getTime();
      if (admitted.has(at)) continue; // for another member of the same clock
      const starts = admitted.size < ADMITS_PER_CLOCK ? await admit(clock, step.member, step.slot, byJob) : null;
      if (starts === null) return new Date(at - 1);
      admitted.add(at);
      checked.admitted += 1;
      checked.starts.push(...starts);
    }
    return until;
  }

  /** When to look again: when the next slot of an open membership, or its end, is overdue. */
  function nextLook(members: Membership[], until: Date, now: number): Date {
    let next =
      now +
      (members.some((member) => member.valid_to === null || member.valid_to.getTime() > now) ? AT_LEAST_EVERY_MS : MEMBERLESS_EVERY_MS);
    for (const member of members) {
      const timing = timings.get(member.timing_hash);
      const slot = timing && nextSlot(timing, new Date(Math.max(until.getTime(), member.valid_from.getTime() - 1)));
      if (slot && (member.valid_to === null || slot < member.valid_to)) next = Math.min(next, slot.getTime() + LATE_AFTER_MS + 1);
      if (member.valid_to && member.valid_to.getTime() > now) next = Math.min(next, member.valid_to.getTime() + 1);
    }
    return new Date(next);
  }

  /**
   * Checks clocks up to 15 s before they were read. Late slots are admitted here; their workflows are the caller's to start.
   */
  async function check(clocks: ClockToCheck[]): Promise<Checked> {
    const checked: Checked = { admitted: 0, ranged: 0, starts: [], memberless: [], more: false };
    if (clocks.length === 0) return checked;
    const now = clocks[0]!.now.getTime();
    const members = await membershipsAfter(
      pool,
      clocks.map((clock) => ({ id: clock.id, since: clock.checked_until })),
    );
    await loadTimings(members.map((member) => member.timing_hash));
    const byClock = Map.groupBy(members, (member) => member.clock_id);

    const slots: Missing[] = [];
    const until = new Map<string, Date>();
    for (const clock of clocks) {
      let end = new Date(Math.max(now - LATE_AFTER_MS, clock.checked_until.getTime()));
      const ofClock = (byClock.get(clock.id) ?? []).map((member) => ({ member, slots: expected(member, clock.checked_until, end) }));
      for (const one of ofClock) if (one.slots.length === SLOTS_PER_CLOCK && one.slots.at(-1)! < end) end = one.slots.at(-1)!;
      for (const { member, slots: found } of ofClock) for (const slot of found) if (slot <= end) slots.push({ clock, member, slot });
      until.set(clock.id, end);
    }
    const missing = slots.length === 0 ? [] : await withoutRow(slots);
    const missingOf = Map.groupBy(missing, (one) => one.clock.id);

    const notes: { clock: ClockToCheck; until: Date; next: Date }[] = [];
    for (const clock of clocks) {
      const ofClock = byClock.get(clock.id) ?? [];
      const end = until.get(clock.id)!;
      const steps = plan(missingOf.get(clock.id) ?? [], (member) => timings.get(member.timing_hash)!, now);
      const done = await carryOut(clock, ofClock, steps, end, checked);
      const unfinished = done < end || end.getTime() < now - LATE_AFTER_MS - 1_000;
      if (unfinished) checked.more = true;
      if (!ofClock.some((member) => member.valid_to === null || member.valid_to.getTime() > now)) checked.memberless.push(clock.id);
      notes.push({ clock, until: done, next: unfinished ? new Date(now) : nextLook(ofClock, done, now) });
    }
    await clocksNoteChecked(pool, notes);
    return checked;
  }

  async function withoutRow(slots: Missing[]): Promise<Missing[]> {
    const positions = await slotsWithoutRow(
      pool,
      slots.map(({ member, slot }) => ({ jobId: member.job_id, executionId: slotExecutionId(member.job_id, slot), slot })),
    );
    return slots.filter((_, index) => positions.has(index));
  }

  return { check };
}
