/** Executions that somebody asks for: a trigger, a retry, many at once. The committed rows make the answer durable; workflows are started after it. */
import { v7 } from 'uuid';
import type { Config } from '../config.ts';
import { inTransaction, type Pool, type Transaction } from '../postgres.ts';
import { auditInsert } from './audit.ts';
import type { Caller } from './caller.ts';
import type { Starter } from './execution-starts.ts';
import { type ExecutionRow, type ExecutionView, executionView } from './execution-view.ts';
import { claimIdempotencyKey, type IdempotencyContext, leaveIdempotencyKey } from './idempotency.ts';
import { newExecutionId, partitionAtOf } from './ids.ts';
import { moveToPool } from './pool-start-store.ts';
import { acceptedOrRefused, overlapRefusal, requestedRow } from './requested-row.ts';
import { createTriggerGroups } from './trigger-groups.ts';
import { createTriggerPools, type TriggerOffer } from './trigger-pools.ts';
import { type AcceptedTrigger, admitTriggers, type TriggerQuestion } from './trigger-store.ts';
import type { TriggerWishes } from './trigger-wishes.ts';

/** Rows of one statement, and of one pool, when one request asks for thousands. */
const MOST_PER_STATEMENT = 1_000;

export type RequestedExecution = TriggerWishes & {
  kind: 'manual' | 'retry' | 'batch';
  /** Given to the target instead of the definition's input when `hasInput`. */
  input: unknown;
  hasInput: boolean;
  slot?: Date | null;
  retryOf?: string;
  /** Runs this generation's definition instead of the current one. */
  generation?: number;
};

/** What became of many: as little as their number allows. */
export type AcceptedBatch = {
  /** Those that run or wait. */
  accepted: number;
  /** The others: `reason` says why. */
  skipped: number;
  /** In the order of the inputs. */
  items: { id: string; status: ExecutionRow['status']; reason: string | null }[];
};

type Written = { offered: TriggerOffer; questions: TriggerQuestion[]; admitted: AcceptedTrigger[] };

export function createExecutionRequests({ pool, config, starter }: { pool: Pool; config: Config; starter: Starter }) {
  const pools = createTriggerPools(starter, (rows, from, to) => moveToPool(pool, rows, from, to));
  const groups = createTriggerGroups({ pool, pools });
  const viewOf = (row: ExecutionRow): ExecutionView => executionView(row, config);

  function questionOf(caller: Caller, jobId: string, asked: RequestedExecution): TriggerQuestion {
    const id = newExecutionId(jobId, asked.kind);
    return {
      team: caller.team,
      partitionAt: partitionAtOf(id)!,
      id,
      job: jobId,
      kind: asked.kind,
      slot: asked.slot ?? null,
      input: asked.input,
      hasInput: asked.hasInput,
      requestedBy: caller.name,
      retryOf: asked.retryOf ?? null,
      pinnedGeneration: asked.generation ?? null,
      timeoutMs: asked.timeoutMs ?? null,
      priority: asked.priority,
      queue: asked.queue,
      label: asked.label,
      bufferLimit: config.BUFFER_LIMIT_TRIGGERS,
      requestId: caller.requestId,
    };
  }

  /** All of one job's questions, or none, in a transaction of their own; `finish` adds what belongs to it. Answers once it is committed. */
  async function written(
    jobId: string,
    questions: TriggerQuestion[],
    offers: (part: TriggerQuestion[]) => TriggerOffer,
    audit: boolean,
    finish: (tx: Transaction, rows: ExecutionRow[]) => Promise<void>,
  ): Promise<{ rows: ExecutionRow[]; admitted: AcceptedTrigger[] }> {
    const parts: Written[] = [];
    for (let from = 0; from < questions.length; from += MOST_PER_STATEMENT) {
      const part = questions.slice(from, from + MOST_PER_STATEMENT);
      parts.push({ offered: offers(part), questions: part, admitted: [] });
    }
    try {
      const rows = await inTransaction(pool, async (tx) => {
        for (const part of parts) {
          const answers = await admitTriggers(tx, part.questions, { ...part.offered, audit });
          part.admitted = answers.map((answer) => acceptedOrRefused(jobId, answer));
        }
        const made = parts.flatMap((part) => part.questions.map((question, nth) => requestedRow(question, part.admitted[nth]!)));
        await finish(tx, made);
        return made;
      });
      for (const part of parts) pools.giveBack(part.offered, part.questions, part.admitted);
      return { rows, admitted: parts.flatMap((part) => part.admitted) };
    } catch (error) {
      for (const part of parts) pools.giveBack(part.offered);
      throw error;
    }
  }

  /** One question with a key, which keeps the answer of those that run or wait. */
  async function keyed(caller: Caller, question: TriggerQuestion, idempotency: IdempotencyContext): Promise<AcceptedTrigger> {
    const offers = () => pools.offer(caller.team);
    const { admitted } = await written(question.job, [question], offers, true, (tx, [made]) =>
      made!.status === 'skipped' ? leaveIdempotencyKey(tx, idempotency) : claimIdempotencyKey(tx, idempotency, viewOf(made!)),
    );
    return admitted[0]!;
  }

  return {
    /**
     * Admits one execution under the job's overlap policy and starts it. The row is durable when this returns.
     * @throws JobError `not_found`; `refused` (409) when the job is disabled, frozen, or paused with `blockManual`, and when its overlap policy lets it neither run
     * nor wait: then there is a row that says so.
     */
    async one(caller: Caller, jobId: string, asked: RequestedExecution, idempotency?: IdempotencyContext): Promise<ExecutionView> {
      const question = questionOf(caller, jobId, asked);
      const admitted = idempotency ? await keyed(caller, question, idempotency) : acceptedOrRefused(jobId, await groups.admit(question));
      if (admitted.verdict !== 'run' && admitted.verdict !== 'wait') throw overlapRefusal(question, admitted);
      return viewOf(requestedRow(question, admitted));
    },

    /** The same for several of one job: all of them, or none. */
    async all(caller: Caller, jobId: string, asked: RequestedExecution[], idempotency?: IdempotencyContext): Promise<ExecutionView[]> {
      const questions = asked.map((one) => questionOf(caller, jobId, one));
      const offers = () => pools.offer(caller.team);
      const { rows } = await written(jobId, questions, offers, true, (tx, made) => claimIdempotencyKey(tx, idempotency, made.map(viewOf)));
      return rows.map(viewOf);
    },

    /** The same for thousands of one job: one event in the trail, pools of their own, a short answer. */
    async batch(caller: Caller, jobId: string, asked: RequestedExecution[], idempotency?: IdempotencyContext): Promise<AcceptedBatch> {
      const questions = asked.map((one) => questionOf(caller, jobId, one));
      const offers = (): TriggerOffer => ({ team: caller.team, open: {}, fresh: v7(), groups: [] });
      const { rows } = await written(jobId, questions, offers, false, async (tx, made) => {
        const { accepted, skipped } = batchOf(made);
        const after = { kind: 'batch', count: made.length, accepted, skipped, first: made[0]?.id, last: made.at(-1)?.id };
        await auditInsert(tx, caller, { action: 'job.triggered', subjectKind: 'job', subjectId: jobId, after });
        await claimIdempotencyKey(tx, idempotency, batchOf(made));
      });
      return batchOf(rows);
    },
  };
}

function batchOf(rows: readonly ExecutionRow[]): AcceptedBatch {
  const accepted = rows.filter((row) => row.status === 'queued').length;
  return { accepted, skipped: rows.length - accepted, items: rows.map(({ id, status, reason }) => ({ id, status, reason })) };
}
