/** Executions that somebody asks for: a trigger, a retry. The committed row makes the answer durable; the workflow is started after it. */
import type { Config } from '../config.ts';
import { inTransaction, type Pool, type Queryable } from '../postgres.ts';
import type { Caller } from './caller.ts';
import { JobError } from './errors.ts';
import { findExecution } from './execution-queries.ts';
import type { Starter } from './execution-starts.ts';
import { admitTrigger } from './execution-store.ts';
import { type ExecutionRow, type ExecutionView, executionView } from './execution-view.ts';
import { claimIdempotencyKey, type IdempotencyContext } from './idempotency.ts';
import { newExecutionId, partitionAtOf } from './ids.ts';

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

  async function admit(
    database: Queryable,
    caller: Caller,
    job: { id: string; name: string },
    asked: RequestedExecution,
  ): Promise<ExecutionRow> {
    const id = newExecutionId(job.id, asked.kind);
    const key = { team: caller.team, partitionAt: partitionAtOf(id)!, id };
    const question = {
      ...key,
      job: job.id,
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
    refuse(job, await admitTrigger(database, question));
    const row = await findExecution(database, key);
    if (!row) throw new Error(`execution ${id} was admitted but is not there`);
    return row;
  }

  function start(job: { name: string }, row: ExecutionRow): void {
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
      jobName: job.name,
    });
  }

  return {
    /**
     * Admits one execution under the job's overlap policy and starts it. The row is durable when this returns.
     * @throws JobError `not_found`; `refused` (409) when the job is disabled, or paused with `blockManual`.
     */
    async one(
      caller: Caller,
      job: { id: string; name: string },
      asked: RequestedExecution,
      idempotency?: IdempotencyContext,
    ): Promise<ExecutionView> {
      const row = idempotency
        ? await inTransaction(pool, async (tx) => {
            const written = await admit(tx, caller, job, asked);
            await claimIdempotencyKey(tx, idempotency, viewOf(written));
            return written;
          })
        : await admit(pool, caller, job, asked);
      start(job, row);
      return viewOf(row);
    },

    /** The same for several of one job: all of them, or none. */
    async all(
      caller: Caller,
      job: { id: string; name: string },
      asked: RequestedExecution[],
      idempotency?: IdempotencyContext,
    ): Promise<ExecutionView[]> {
      const rows = await inTransaction(pool, async (tx) => {
        const written: ExecutionRow[] = [];
        for (const one of asked) written.push(await admit(tx, caller, job, one));
        await claimIdempotencyKey(tx, idempotency, written.map(viewOf));
        return written;
      });
      for (const row of rows) start(job, row);
      return rows.map(viewOf);
    },
  };
}

function refuse(job: { name: string }, { verdict, pause }: { verdict: string; pause: { reason?: string } | null }): void {
  const name = JSON.stringify(job.name);
  if (verdict === 'not_found') throw new JobError('not_found', 'job_not_found', `Job ${name} has been deleted.`);
  if (verdict === 'disabled') throw new JobError('refused', 'job_disabled', `Job ${name} is disabled; set "enabled": true first.`);
  if (verdict === 'paused') {
    const why = pause?.reason ? ` (${pause.reason})` : '';
    throw new JobError('refused', 'job_paused', `Job ${name} is paused for manual starts too${why}; resume it first.`);
  }
}
