/** The statement that admits what people ask for, many of them at once: triggers, retries, backfills; decisions as migrations/0011 and 0015 describe them. */
import { v7 } from 'uuid';
import type { Queryable } from '../postgres.ts';
import type { ExecutionStart } from './execution-store.ts';

/** What admit adds to what was asked; `due_at` is the moment of the decision. */
export type AcceptedTrigger = {
  verdict: 'run' | 'wait' | 'skipped_overlap' | 'buffer_dropped';
  /** Set when it has made room at once for a newer one of the same statement, as its overlap policy says. */
  ended: 'cancelled' | 'terminated' | null;
  job_name: string;
  /** Of the current definition. */
  generation: string;
  due_at: Date;
  max_attempts: number;
  priority: number;
  queue: string;
  /** The group it shares a workflow with; null: it has one of its own. */
  pool: string | null;
  /** Of one that is skipped or dropped: the execution in whose way it came; null when that has ended meanwhile. */
  blocker: { executionId: string | null } | null;
};
/** `until` as RFC 3339; null: until somebody ends it. */
export type Freezing = { freezeId: string; reason: string; until: string | null };
export type AdmittedTrigger =
  | AcceptedTrigger
  | { verdict: 'disabled' | 'paused'; job_name: string; pause: { reason?: string } | null }
  | { verdict: 'frozen'; job_name: string; blocker: Freezing }
  | { verdict: 'not_found' };

export type TriggerQuestion = {
  team: string;
  job: string;
  id: string;
  partitionAt: Date;
  /** A backfill runs in slot order behind what is due now, one at a time unless its job is `allow_all`; it is never skipped, and makes nobody go. */
  kind: 'manual' | 'retry' | 'backfill' | 'batch';
  slot: Date | null;
  input: unknown;
  hasInput: boolean;
  requestedBy: string;
  retryOf: string | null;
  pinnedGeneration: number | null;
  /** The job's own unless said: of one attempt, priority 1 to 5, queue. The caller knows that the queue is allowed. */
  timeoutMs: number | null;
  priority?: number | undefined;
  queue?: string | undefined;
  /** What for, in the words of who asks. */
  label?: string | undefined;
  /** The backfill or bulk operation that asks for it. */
  operationId?: string | undefined;
  bufferLimit: number;
  requestId: string;
};

/** Which groups of executions there are to join. */
export type TriggerPlacing = {
  /** Pool id by queue: whoever comes now joins these. */
  open: Readonly<Record<string, string>>;
  /** Uuid of groups that begin here. */
  fresh: string;
  /** False: the caller writes one event for all. */
  audit: boolean;
};

/** How the statement answers: one row for all items that have the same outcome. */
type Outcome = { items: number[] } & AdmittedTrigger;

/**
 * Inserts and decides executions of one team that somebody asks for, all in one statement; each row is made of what is asked and what is answered.
 * Answers in the order of the questions. Durable when it returns (outside a transaction).
 */
export async function admitTriggers(
  database: Queryable,
  questions: readonly TriggerQuestion[],
  { open, fresh, audit }: TriggerPlacing,
): Promise<AdmittedTrigger[]> {
  const [first] = questions;
  if (!first) return [];
  const { rows } = await database.query<Outcome>({
    name: 'admit-requests',
    text: `SELECT items, verdict, ended, pause, job_name, generation, due_at, max_attempts, priority, queue, pool, blocker
             FROM admit_requests($1, $2, $3, $4, $5, $6, $7)`,
    values: [
      first.team,
      [...new Set(questions.map((question) => question.job))].sort(),
      JSON.stringify(questions.map(itemOf)),
      JSON.stringify(open),
      fresh,
      first.bufferLimit,
      audit,
    ],
  });
  const admitted = new Array<AdmittedTrigger>(questions.length);
  for (const { items, ...outcome } of rows) for (const nth of items) admitted[nth] = outcome;
  return admitted;
}

/** One by itself, in a statement of its own. */
export async function admitTrigger(database: Queryable, question: TriggerQuestion): Promise<AdmittedTrigger> {
  return (await admitTriggers(database, [question], { open: {}, fresh: v7(), audit: true }))[0]!;
}

/** What the start of one that runs needs to know. */
export function startOf(asked: TriggerQuestion, admitted: AcceptedTrigger): ExecutionStart {
  return {
    team: asked.team,
    id: asked.id,
    partitionAt: asked.partitionAt.toISOString(),
    workflowId: admitted.pool ?? asked.id,
    queue: admitted.queue,
    dueAt: admitted.due_at.toISOString(),
    priority: admitted.priority,
    jobName: admitted.job_name,
    dispatch: admitted.pool ? 'pooled' : 'dedicated',
  };
}

/** Without what is not said: an absent member is null. */
const itemOf = (asked: TriggerQuestion) => ({
  job: asked.job,
  id: asked.id,
  at: asked.partitionAt,
  kind: asked.kind,
  slot: asked.slot ?? undefined,
  input: asked.hasInput ? asked.input : undefined,
  has: asked.hasInput,
  by: asked.requestedBy,
  retryOf: asked.retryOf ?? undefined,
  gen: asked.pinnedGeneration ?? undefined,
  timeout: asked.timeoutMs ?? undefined,
  prio: asked.priority,
  queue: asked.queue,
  label: asked.label,
  op: asked.operationId,
  request: asked.requestId,
});
