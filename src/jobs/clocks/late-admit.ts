/** Carries out what is planned for the late slots of one clock: admits them, or writes a range for those that cannot run (semantics.md 9). */
import type { Pool } from '../../postgres.ts';
import { type AdmittedRow, admitSlot, type ExecutionStart } from '../execution-store.ts';
import { jobIdOf, latePoolId } from '../ids.ts';
import { laterSlots } from '../later-slots.ts';
import { nextSlot } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';
import type { Step } from './late-slot-plan.ts';
import { type ClockToCheck, type Membership, writeMissedRows, writeSlotRange } from './late-slot-store.ts';

/** Slots of one clock that are admitted in one pass. */
const ADMITS_PER_CLOCK = 500;
/** The same of all clocks of a pass: whoever comes behind is checked in the next one, from where it stands. */
const ADMITS_PER_PASS = 5_000;

export type CarriedOut = {
  /** Late slots admitted now, and those that became a range row. */
  admitted: number;
  ranged: number;
  /** Slots that were admitted one by one. */
  calls: number;
  /** What is to be started, in no order. */
  starts: ExecutionStart[];
};

export function createLateAdmit({
  pool,
  bufferLimit,
  timingOf,
}: {
  pool: Pool;
  bufferLimit: number;
  timingOf: (hash: string) => Timing | undefined;
}) {
  /** Admits one slot for all members of its clock at that time. Null: the membership has changed since it was read. */
  async function admit(
    clock: ClockToCheck,
    member: Membership,
    slot: Date,
    members: Map<string, Membership>,
  ): Promise<ExecutionStart[] | null> {
    const timing = timingOf(member.timing_hash);
    const shared = clock.kind === 'pooled' ? latePoolId(clock.id, slot) : null;
    const successor = timing ? nextSlot(timing, slot) : null;
    const decided = await admitSlot(pool, {
      team: clock.team,
      clock: clock.id,
      nominal: slot,
      timingHash: member.timing_hash,
      successor,
      later: timing ? laterSlots(timing, slot, successor) : [],
      workflowId: shared,
      runId: null,
      bufferLimit,
    });
    if (decided.some((row) => row.decision === 'stale')) return null;
    const starts = decided
      .filter((row): row is AdmittedRow => row.decision === 'run')
      .sort((a, b) => a.due_at.getTime() - b.due_at.getTime())
      .map((row): ExecutionStart => {
        const { queue, priority } = members.get(jobIdOf(row.id) ?? '') ?? member;
        return {
          team: clock.team,
          id: row.id,
          partitionAt: slot.toISOString(),
          workflowId: shared ?? row.id,
          queue,
          dueAt: row.due_at.toISOString(),
          priority,
          jobName: row.job_name,
          dispatch: shared ? 'pooled' : 'dedicated',
        };
      });
    // the members of a shared clock share the workflow of the late slot as well; it begins with the first that is due
    return shared ? starts.slice(0, 1) : starts;
  }

  /** The slot after one, in the same membership. */
  function successorOf(member: Membership, slot: Date): Date | null {
    const timing = timingOf(member.timing_hash);
    const next = timing ? nextSlot(timing, slot) : null;
    return next && (member.valid_to === null || next < member.valid_to) ? next : null;
  }

  /** Carries out the steps of one clock in slot order; answers up to where all is done now. */
  return async function carryOut(clock: ClockToCheck, members: Membership[], steps: Step[], until: Date, done: CarriedOut): Promise<Date> {
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
          successor: successorOf(member, step.last),
          count: step.count,
          catchUp: member.catch_up,
          windowMs: member.catch_up_window_ms,
          blocked: member.blocked,
        });
        done.ranged += written ? step.count : 0;
        if (!written) return new Date(step.from.getTime() - 1);
        continue;
      }
      if (step.kind === 'rows') {
        const { member, slots, judged } = step;
        const written = await writeMissedRows(pool, { clock, member, slots, judged, successor: successorOf(member, slots.at(-1)!) });
        if (!written) return new Date(slots[0]!.getTime() - 1);
        done.admitted += slots.length;
        continue;
      }
      const at = step.slot.getTime();
      if (admitted.has(at)) continue; // for another member of the same clock
      const room = admitted.size < ADMITS_PER_CLOCK && done.calls < ADMITS_PER_PASS;
      const starts = room ? await admit(clock, step.member, step.slot, byJob) : null;
      if (starts === null) return new Date(at - 1);
      admitted.add(at);
      done.admitted += 1;
      done.calls += 1;
      done.starts.push(...starts);
    }
    return until;
  };
}
