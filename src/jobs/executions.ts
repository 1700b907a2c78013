/** Use cases on executions: trigger, retry, cancel, terminate, look. Rows first; Temporal is told afterwards and may be away. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { Config } from '../config.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import type { Caller } from './caller.ts';
import { JobError } from './errors.ts';
import { liveState } from './execution-live.ts';
import {
  type ExecutionQuery,
  findAttempts,
  findExecution,
  findExecutions,
  findJobOfExecutions,
  findRetryable,
  inputOfRevision,
} from './execution-queries.ts';
import { type AcceptedBatch, createExecutionRequests, type RequestedExecution } from './execution-requests.ts';
import type { Starter } from './execution-starts.ts';
import { cancelExecution, closeExecution } from './execution-store.ts';
import { attemptView, type ExecutionRow, type ExecutionView, executionView, TERMINAL_STATUSES } from './execution-view.ts';
import type { IdempotencyContext } from './idempotency.ts';
import { isJobId, jobIdOf, partitionAtOf } from './ids.ts';
import { jobNotFound } from './job-errors.ts';
import { createTriggerWishes, type TriggerWishes } from './trigger-wishes.ts';

export type ExecutionsDeps = { pool: Pool; temporal: Client; log: Log; config: Config; starter: Starter };
export type TriggerRequest = TriggerWishes & { input?: unknown; hasInput: boolean };
export type Executions = ReturnType<typeof createExecutions>;

const RETRYABLE = new Set(['failed', 'timed_out', 'cancelled', 'terminated']);
const LONGEST_POLL_MS = 400;

export function createExecutions({ pool, temporal, log, config, starter }: ExecutionsDeps) {
  const view = (row: ExecutionRow): ExecutionView => executionView(row, config);
  const request = createExecutionRequests({ pool, config, starter });
  const wishesOf = createTriggerWishes(config);

  /** One row by job and execution id; another team's, another job's and a made-up one are all "not found". */
  async function find(
    caller: Caller,
    idOrName: string,
    id: string,
  ): Promise<{ row: ExecutionRow; key: { team: string; partitionAt: Date; id: string } }> {
    const partitionAt = partitionAtOf(id);
    const key = { team: caller.team, partitionAt: partitionAt ?? new Date(0), id };
    const row = partitionAt ? await findExecution(pool, key) : null;
    if (!row || (row.job_id !== idOrName && row.job_name !== idOrName && (await jobOf(caller, idOrName)).id !== row.job_id)) {
      throw new JobError(
        'not_found',
        'execution_not_found',
        `There is no execution ${JSON.stringify(id)} of job ${JSON.stringify(idOrName)}.`,
      );
    }
    return { row, key };
  }

  async function jobOf(caller: Caller, idOrName: string): Promise<{ id: string; name: string }> {
    const job = await findJobOfExecutions(pool, caller.team, idOrName);
    if (!job) throw jobNotFound(idOrName);
    return job;
  }

  async function retryRow(
    caller: Caller,
    row: ExecutionRow,
    definition: 'current' | 'original',
    idempotency?: IdempotencyContext,
  ): Promise<ExecutionView> {
    if (!RETRYABLE.has(row.status)) {
      throw notFailed(row);
    }
    return await request.one(caller, row.job_id, await retryOf(row, definition), idempotency);
  }

  async function retryOf(row: ExecutionRow, definition: 'current' | 'original'): Promise<RequestedExecution> {
    return {
      kind: 'retry',
      input: row.has_input ? row.input : await inputOfRevision(pool, row.team, row.job_id, row.generation),
      hasInput: true,
      slot: row.slot,
      retryOf: row.id,
      ...(definition === 'original' ? { generation: Number(row.generation) } : {}),
    };
  }

  return {
    /** @throws JobError `not_found`; `invalid` when there is no such queue; `refused` (409) as `createExecutionRequests` says. */
    async trigger(caller: Caller, idOrName: string, asked: TriggerRequest, idempotency?: IdempotencyContext): Promise<ExecutionView> {
      // admit finds a job by its id, or says that there is none
      const jobId = isJobId(idOrName) ? idOrName : (await jobOf(caller, idOrName)).id;
      return await request.one(
        caller,
        jobId,
        { ...wishesOf(asked), kind: 'manual', input: asked.input, hasInput: asked.hasInput },
        idempotency,
      );
    },

    /** One execution per input: all of them are written, or none. @throws as `trigger`. */
    async triggerMany(
      caller: Caller,
      idOrName: string,
      asked: TriggerWishes & { inputs: readonly unknown[] },
      idempotency?: IdempotencyContext,
    ): Promise<AcceptedBatch> {
      const jobId = isJobId(idOrName) ? idOrName : (await jobOf(caller, idOrName)).id;
      const wishes = wishesOf(asked);
      const executions = asked.inputs.map((input) => ({ ...wishes, kind: 'batch' as const, input, hasInput: true }));
      return await request.batch(caller, jobId, executions, idempotency);
    },

    /** Executions of the team, newest first. */
    async search(caller: Caller, query: Omit<ExecutionQuery, 'team'>) {
      const page = await findExecutions(pool, { ...query, team: caller.team });
      return { items: page.rows.map(view), next: page.next };
    },

    /** One job's executions, newest first. Those of a deleted job stay readable under its id. */
    async ofJob(caller: Caller, idOrName: string, query: Omit<ExecutionQuery, 'team' | 'jobId'>) {
      const job = await jobOf(caller, idOrName);
      const page = await findExecutions(pool, { ...query, team: caller.team, jobId: job.id });
      return { items: page.rows.map(view), next: page.next };
    },

    /** One execution with its attempts, and what Temporal says of it right now (null when it says nothing any more, or is away). */
    async get(caller: Caller, idOrName: string, id: string) {
      const { row, key } = await find(caller, idOrName, id);
      const [attempts, live] = await Promise.all([findAttempts(pool, key), liveState(temporal, row)]);
      return {
        ...view(row),
        attempts: attempts.map(attemptView),
        live,
      };
    },

    /** Waits until the execution has ended, at most `ms`. */
    async wait(caller: Caller, id: string, ms: number): Promise<ExecutionView> {
      const key = { team: caller.team, partitionAt: partitionAtOf(id)!, id };
      const until = Date.now() + ms;
      for (let pollMs = 20; ; pollMs = Math.min(pollMs * 1.5, LONGEST_POLL_MS)) {
        const row = (await findExecution(pool, key))!;
        if ((TERMINAL_STATUSES as readonly string[]).includes(row.status) || Date.now() >= until) return view(row);
        await sleep(Math.min(pollMs, Math.max(1, until - Date.now())));
      }
    },

    /** Retries the named executions, or the latest that ended without success. @throws JobError `refused` (409) when there is none, or one has not failed. */
    async retry(
      caller: Caller,
      idOrName: string,
      asked: { executionIds?: readonly string[] | undefined; definition: 'current' | 'original' },
      idempotency?: IdempotencyContext,
    ): Promise<ExecutionView[]> {
      const job = await jobOf(caller, idOrName);
      if (!asked.executionIds) {
        const latest = await findRetryable(pool, caller.team, job.id);
        if (!latest)
          throw new JobError('refused', 'nothing_failed', `Job ${JSON.stringify(job.name)} has no execution that ended without success.`);
        return [await retryRow(caller, latest, asked.definition, idempotency)];
      }
      const rows = [];
      for (const id of new Set(asked.executionIds)) rows.push((await find(caller, job.id, id)).row);
      const unfit = rows.find((row) => !RETRYABLE.has(row.status));
      if (unfit) throw notFailed(unfit);
      return await request.all(caller, job.id, await Promise.all(rows.map((row) => retryOf(row, asked.definition))), idempotency);
    },

    async retryOne(
      caller: Caller,
      idOrName: string,
      id: string,
      definition: 'current' | 'original',
      idempotency?: IdempotencyContext,
    ): Promise<ExecutionView> {
      return await retryRow(caller, (await find(caller, idOrName, id)).row, definition, idempotency);
    },

    /** Asks the execution to stop; a call in flight is aborted within a second. @throws JobError `refused` (409) when it has ended. */
    async cancel(caller: Caller, idOrName: string, id: string): Promise<ExecutionView> {
      const { key } = await find(caller, idOrName, id);
      const answer = await cancelExecution(pool, { ...key, by: caller.name });
      if (answer.verdict === 'finished') throw hasEnded((await findExecution(pool, key))!);
      await audit(caller, 'execution.cancelled', id);
      starter.startSoon(answer.released);
      const row = (await findExecution(pool, key))!;
      tellTemporal('cancel', row, answer);
      return view(row);
    },

    /** Ends the execution at once; whatever its call still brings is dropped. @throws JobError `refused` (409) when it has ended. */
    async terminate(caller: Caller, idOrName: string, id: string): Promise<ExecutionView> {
      const { key } = await find(caller, idOrName, id);
      const closed = await closeExecution(pool, { ...key, status: 'terminated', reason: null, error: null, by: caller.name });
      if (!closed?.applied) throw hasEnded((await findExecution(pool, key))!);
      await audit(caller, 'execution.terminated', id);
      starter.startSoon(closed.released);
      const row = (await findExecution(pool, key))!;
      tellTemporal('terminate', row, closed);
      return view(row);
    },
  };

  /**
   * The row decides; Temporal is told so that its own view agrees. When it is away the controller ends the workflow later.
   * A workflow that others share goes on: the worker that serves it looks at the row.
   */
  function tellTemporal(
    wish: 'cancel' | 'terminate',
    row: ExecutionRow,
    { workflow_id: workflowId, run_id: runId }: { workflow_id: string | null; run_id: string | null },
  ): void {
    if (!workflowId || !runId || row.dispatch !== 'dedicated' || row.workflow_id !== workflowId) return;
    const handle = temporal.workflow.getHandle(workflowId, runId);
    void (wish === 'cancel' ? handle.cancel() : handle.terminate('terminated through the API')).catch((error: unknown) =>
      log.debug({ workflowId, error: String(error) }, `Temporal could not be told to ${wish}`),
    );
  }

  async function audit(caller: Caller, action: string, execution: string): Promise<void> {
    await pool.query(
      `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, after, request_id) VALUES ($1, $2, $3, 'job', $4, $5, $6)`,
      [caller.team, caller.name, action, jobIdOf(execution), JSON.stringify({ execution }), caller.requestId],
    );
  }
}

function notFailed({ id, status }: ExecutionRow): JobError {
  const sentence = `Execution ${id} is ${status}; only one that ended without success can be retried.`;
  return new JobError('refused', 'not_failed', sentence, { extra: { status } });
}

function hasEnded(row: ExecutionRow): JobError {
  return new JobError('refused', 'execution_finished', `Execution ${row.id} has ended already: ${row.status}.`, {
    extra: { status: row.status },
  });
}
