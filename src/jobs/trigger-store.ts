/** The statement that admits what somebody asks for: a trigger, a retry, a backfill; decisions as migrations/0007 describes them. */
import type { Queryable } from '../postgres.ts';

/** What admit adds to what was asked; `due_at` is the moment of the decision. */
export type AcceptedTrigger = {
  verdict: 'run' | 'wait' | 'skipped_overlap' | 'buffer_dropped';
  job_name: string;
  generation: string;
  due_at: Date;
  max_attempts: number;
  priority: number;
  queue: string;
  dispatch: 'dedicated' | 'pooled';
};
export type AdmittedTrigger =
  | AcceptedTrigger
  | { verdict: 'disabled' | 'paused'; job_name: string; pause: { reason?: string } | null }
  | { verdict: 'not_found' };

export type TriggerQuestion = {
  team: string;
  job: string;
  id: string;
  partitionAt: Date;
  kind: 'manual' | 'retry' | 'backfill' | 'batch';
  slot: Date | null;
  input: unknown;
  hasInput: boolean;
  requestedBy: string;
  retryOf: string | null;
  pinnedGeneration: number | null;
  timeoutMs: number | null;
  bufferLimit: number;
  requestId: string;
};

/** Inserts and decides an execution that somebody asks for; the row is made of what is asked and what is answered. Durable when it returns (outside a transaction). */
export async function admitTrigger(database: Queryable, trigger: TriggerQuestion): Promise<AdmittedTrigger> {
  const { rows } = await database.query<AdmittedTrigger>({
    name: 'admit-trigger',
    text: `SELECT verdict, pause, job_name, generation, due_at, max_attempts, priority, queue, dispatch
             FROM admit_trigger($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    values: [
      trigger.team,
      trigger.job,
      trigger.id,
      trigger.partitionAt,
      trigger.kind,
      trigger.slot,
      trigger.hasInput ? JSON.stringify(trigger.input) : null,
      trigger.hasInput,
      trigger.requestedBy,
      trigger.retryOf,
      trigger.pinnedGeneration,
      trigger.timeoutMs,
      trigger.bufferLimit,
      trigger.requestId,
    ],
  });
  return rows[0]!;
}
