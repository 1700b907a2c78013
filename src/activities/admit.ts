/** Admit as the workflows ask for it: works out the slot's successor with the oracle and puts the question to Postgres, which claims a short call with it. */
import { activityInfo } from '@temporalio/activity';
import type { Config } from '../config.ts';
import { type BegunRow, beginQueued, beginSlot } from '../jobs/beginning-store.ts';
import { backoffMs, planOf, SHORT_TARGET_MS } from '../jobs/execution-plan.ts';
import { type ClaimedCall, findLaterTry, type LaterTry } from '../jobs/execution-store.ts';
import { partitionAtOf } from '../jobs/ids.ts';
import { laterSlots } from '../jobs/later-slots.ts';
import { isSlot, nextSlot } from '../jobs/time/oracle.ts';
import type { Timing } from '../jobs/time/timing.ts';
import type { Pool } from '../postgres.ts';
import type { Beginning } from '../workflows/execution-activities.ts';
import { withPartition } from './partitions.ts';
import { withPatience } from './patience.ts';

/** Clocks whose timing this worker remembers, so that a slot takes one round trip. The hash is checked by admit every time. */
const REMEMBERED_CLOCKS = 20_000;

/** What admit says of one execution, before anything was tried, and the call that is claimed already where it is short and due. */
export type Admission = { beginning: Beginning; claimed: ClaimedCall | null };
export type Admit = {
  slot: (input: { team: string; clock: string; slot: string }) => Promise<Admission>;
  queued: (input: { team: string; execution: string }) => Promise<Admission>;
};
const NOBODY: Admission = { beginning: { decision: 'none' }, claimed: null };

export function createAdmit({ pool, config }: { pool: Pool; config: Pick<Config, 'BUFFER_LIMIT_SLOTS' | 'BUFFER_LIMIT_TRIGGERS'> }): Admit {
  const timings = new Map<string, { hash: string; timing: Timing }>();

  function remember(clock: string, known: { hash: string; timing: Timing }): void {
    timings.delete(clock);
    timings.set(clock, known);
    if (timings.size > REMEMBERED_CLOCKS) timings.delete(timings.keys().next().value!);
  }

  async function decideSlot(input: { team: string; clock: string; slot: string }): Promise<Admission> {
    const nominal = new Date(input.slot);
    for (;;) {
      const known = timings.get(input.clock);
      if (known && !isSlot(known.timing, nominal)) {
        // Fired by a timing that Temporal has not yet forgotten; unless ours is the old one, nobody expects this time.
        const stale = await ask(null);
        if (stale?.decision !== 'stale' || stale.timing_hash === known.hash) return NOBODY;
        remember(input.clock, { hash: stale.timing_hash, timing: stale.timing });
        continue;
      }
      const row = await ask(known ?? null);
      if (!row) return NOBODY;
      if (row.decision !== 'stale') return await admissionOf(row);
      remember(input.clock, { hash: row.timing_hash, timing: row.timing });
    }

    async function ask(by: { hash: string; timing: Timing } | null) {
      const { runId } = activityInfo().workflowExecution!;
      const successor = by && nextSlot(by.timing, nominal);
      const question = {
        team: input.team,
        clock: input.clock,
        nominal,
        timingHash: by?.hash ?? null,
        successor,
        later: by ? laterSlots(by.timing, nominal, successor) : [],
        runId,
        bufferLimit: config.BUFFER_LIMIT_SLOTS,
        shortMs: SHORT_TARGET_MS,
      };
      return await withPatience(() => withPartition(pool, nominal, () => beginSlot(pool, question)));
    }
  }

  async function admissionOf(row: BegunRow): Promise<Admission> {
    // tries that are recorded are of a pool that this execution has left, or of a run that died before it could wait for the next one
    const before =
      row.decision === 'run' && row.tries > 0 ? await withPatience(() => findLaterTry(pool, partitionAtOf(row.id)!, row.id)) : null;
    return { beginning: beginningOf(row, before), claimed: row.attempt === null ? null : row };
  }

  return {
    slot: decideSlot,
    async queued({ team, execution }) {
      const partitionAt = partitionAtOf(execution);
      if (!partitionAt) return NOBODY;
      const { workflowId, runId } = activityInfo().workflowExecution!;
      const row = await withPatience(() =>
        beginQueued(pool, {
          team,
          partitionAt,
          id: execution,
          workflowId,
          runId,
          bufferLimit: config.BUFFER_LIMIT_TRIGGERS,
          shortMs: SHORT_TARGET_MS,
        }),
      );
      return row ? await admissionOf(row) : NOBODY;
    },
  };
}

function beginningOf(row: BegunRow, before: LaterTry | null): Beginning {
  const execution = row.id;
  if (row.decision === 'wait') return { decision: 'wait', execution };
  if (row.decision === 'early') return { decision: 'early', execution, dueAt: row.due_at.getTime() };
  if (row.decision !== 'run') return { decision: row.decision, execution, reason: row.reason };
  const plan = planOf(row.document!, row.timeout_ms ? Number(row.timeout_ms) : null);
  const due = row.due_at.getTime();
  const startedAt = before?.started_at?.getTime() ?? Date.now();
  return {
    decision: 'run',
    execution,
    dueAt: row.tries === 0 ? due : nextTryAt(row.tries, before, Math.max(due, Date.now() + backoffMs(plan, row.tries))),
    triesDone: row.tries,
    timeoutMs: plan.timeoutMs,
    deadlineAt: plan.deadlineMs === null ? null : Math.max(due, startedAt) + plan.deadlineMs,
    long: plan.timeoutMs > SHORT_TARGET_MS,
    first: null,
  };
}

/** An execution that has left its pool knows when its second try may come: its receiver may have asked for a pause. */
const nextTryAt = (triesDone: number, before: LaterTry | null, backoffAt: number): number =>
  (triesDone === 1 ? before?.retry_at?.getTime() : undefined) ?? backoffAt;
