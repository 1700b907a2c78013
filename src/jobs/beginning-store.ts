/** How a workflow run begins to serve a row: admit and, where a short call is due, its claim, in one round trip (migrations/0006, 0015). */
import type { Queryable } from '../postgres.ts';
import type { AdmittedRow, ClaimedCall } from './execution-store.ts';
import { laterOf } from './later-slots.ts';
import type { Timing } from './time/timing.ts';

/** With `attempt` the call has been claimed and must be made now; without, admit has said what it says. */
export type BegunRow = (AdmittedRow & { attempt: null }) | (ClaimedCall & { decision: 'run'; id: string; tries: number });
export type BegunSlot = BegunRow | { decision: 'stale'; timing_hash: string; timing: Timing };

const COLUMNS =
  'decision, id, reason, due_at, tries, job_name, document, timeout_ms, attempt, input, has_input, slot, job_id, max_attempts, service';

/** Begins one slot of a dedicated clock. Calls of at most `shortMs` are claimed with it. No row: nobody is a member at that time. */
export async function beginSlot(
  database: Queryable,
  slot: {
    team: string;
    clock: string;
    nominal: Date;
    timingHash: string | null;
    successor: Date | null;
    /** Those behind the successor that are due by now, in order: catch-up `last` looks among them for one that runs. */
    later?: readonly Date[];
    runId: string;
    bufferLimit: number;
    shortMs: number;
  },
): Promise<BegunSlot | null> {
  const { rows } = await database.query<BegunSlot>({
    name: 'begin-due-slot',
    text: `SELECT ${COLUMNS}, timing_hash, timing FROM begin_due_slot($1, $2, $3, $4, $5, $6, $7, $8)`,
    values: [slot.team, slot.clock, slot.nominal, slot.timingHash, laterOf(slot), slot.runId, slot.bufferLimit, slot.shortMs],
  });
  return rows[0] ?? null;
}

/** Begins a row that exists already: trigger, retry, one-off, released or late slot. Null: there is no such row. */
export async function beginQueued(
  database: Queryable,
  row: { team: string; partitionAt: Date; id: string; workflowId: string; runId: string; bufferLimit: number; shortMs: number },
): Promise<BegunRow | null> {
  const { rows } = await database.query<BegunRow>({
    name: 'begin-queued',
    text: `SELECT ${COLUMNS} FROM begin_queued($1, $2, $3, $4, $5, $6, $7)`,
    values: [row.team, row.partitionAt, row.id, row.workflowId, row.runId, row.bufferLimit, row.shortMs],
  });
  return rows[0] ?? null;
}
