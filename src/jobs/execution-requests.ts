/** Executions that somebody asks for: a trigger, a retry. The committed row makes the answer durable; the workflow is started after it. */
import type { Config } from '../config.ts';
import { inTransaction, type Pool, type Queryable } from '../postgres.ts';
import type { Caller } from './caller.ts';
import { JobError } from './errors.ts';
import type { Starter } from './execution-starts.ts';
import { type ExecutionRow, type ExecutionView, executionView } from './execution-view.ts';
import { claimIdempotencyKey, type IdempotencyContext } from './idempotency.ts';
import { newExecutionId, partitionAtOf } from './ids.ts';
import { jobNotFound } from './job-errors.ts';
import { type AcceptedTrigger, type AdmittedTrigger, admitTrigger, type TriggerQuestion } from './trigger-store.ts';

export type RequestedExecution = {
  kind: 'manual' | 'retry';
  /** Given to the target instead of the definition's input when `hasInput`. */
  input: unknown;
  hasInput: boolean;
  timeoutMs?: number | undefined;
  slot?: Date | null;
  retryOf?: string;
  /** Runs this generation's definition instead of the current one. */
  generation?: number;
};

export function createExecutionRequests({ pool, config, starter }: { pool: Pool; config: Config; starter: Starter }) {
  const viewOf = (row: ExecutionRow): ExecutionView => executionView(row, config);

  async function admit(database: Queryable, caller: Caller, jobId: string, asked: RequestedExecution): Promise<ExecutionRow> {
    const id = newExecutionId(jobId, asked.kind);
    const question: TriggerQuestion = {
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
      bufferLimit: config.BUFFER_LIMIT_TRIGGERS,
      requestId: caller.requestId,
    };
    return rowOf(question, accepted(jobId, await admitTrigger(database, question)));
  }

  function start(row: ExecutionRow): void {
    if (row.status !== 'queued' || row.waiting) return;
    const { id, team, workflow_id: workflowId, queue, due_at: dueAt, priority } = row;
    const partitionAt = partitionAtOf(id)!.toISOString();
    starter.startSoon({
      team,
      id,
      partitionAt,
      workflowId: workflowId ?? id,
      queue,
      dueAt: dueAt.toISOString(),
      priority,
      jobName: row.job_name,
      dispatch: row.dispatch,
    });
  }

  return {
    /**
     * Admits one execution under the job's overlap policy and starts it. The row is durable when this returns.
     * @throws JobError `not_found`; `refused` (409) when the job is disabled, or paused with `blockManual`.
     */
    async one(caller: Caller, jobId: string, asked: RequestedExecution, idempotency?: IdempotencyContext): Promise<ExecutionView> {
      const row = idempotency
        ? await inTransaction(pool, async (tx) => {
            const written = await admit(tx, caller, jobId, asked);
            await claimIdempotencyKey(tx, idempotency, viewOf(written));
            return written;
          })
        : await admit(pool, caller, jobId, asked);
      start(row);
      return viewOf(row);
    },

    /** The same for several of one job: all of them, or none. */
    async all(caller: Caller, jobId: string, asked: RequestedExecution[], idempotency?: IdempotencyContext): Promise<ExecutionView[]> {
      const rows = await inTransaction(pool, async (tx) => {
        const written: ExecutionRow[] = [];
        for (const one of asked) written.push(await admit(tx, caller, jobId, one));
        await claimIdempotencyKey(tx, idempotency, written.map(viewOf));
        return written;
      });
      for (const row of rows) start(row);
      return rows.map(viewOf);
    },
  };
}

/** @throws JobError when there is no row. */
function accepted(jobId: string, admitted: AdmittedTrigger): AcceptedTrigger {
  switch (admitted.verdict) {
    case 'not_found':
      throw jobNotFound(jobId);
    case 'disabled': {
      const name = JSON.stringify(admitted.job_name);
      throw new JobError('refused', 'job_disabled', `Job ${name} is disabled; set "enabled": true first.`);
    }
    case 'paused': {
      const why = admitted.pause?.reason ? ` (${admitted.pause.reason})` : '';
      const name = JSON.stringify(admitted.job_name);
      throw new JobError('refused', 'job_paused', `Job ${name} is paused for manual starts too${why}; resume it first.`);
    }
    default:
      return admitted;
  }
}

/** The row as it is now: what was asked and what admit has added. */
function rowOf(asked: TriggerQuestion, admitted: AcceptedTrigger): ExecutionRow {
  const runs = admitted.verdict === 'run' || admitted.verdict === 'wait';
  return {
    partition_at: asked.partitionAt,
    id: asked.id,
    team: asked.team,
    job_id: asked.job,
    job_name: admitted.job_name,
    generation: admitted.generation,
    trigger: asked.kind,
    slot: asked.slot,
    due_at: admitted.due_at,
    status: runs ? 'queued' : 'skipped',
    waiting: admitted.verdict === 'wait',
    reason: runs ? null : admitted.verdict,
    attempt: 0,
    tries: 0,
    max_attempts: admitted.max_attempts,
    priority: admitted.priority,
    queue: admitted.queue,
    dispatch: admitted.dispatch,
    workflow_id: asked.id,
    run_id: null,
    retry_of: asked.retryOf,
    requested_by: asked.requestedBy,
    input: asked.input,
    has_input: asked.hasInput,
    created_at: admitted.due_at,
    started_at: null,
    finished_at: runs ? null : admitted.due_at,
    cancel_requested_at: null,
    cancel_by: null,
    result: null,
    error: null,
  };
}
