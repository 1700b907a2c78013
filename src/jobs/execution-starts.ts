/**
 * Starts the workflow of a row that is admitted already. The row is the truth: a start that fails now is made by the controller later,
 * and a start that is made twice ends in the row's claim, not in a second call (semantics.md 16, 19). Pooled rows ask for their pool's workflow.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { defineSearchAttributeKey, SearchAttributeType, TypedSearchAttributes } from '@temporalio/common';
import pLimit from 'p-limit';
import type { Log } from '../log.ts';
import { isPostgresAway, type Pool } from '../postgres.ts';
import { isTemporalAway } from '../temporal.ts';
import type { ExecuteJobInput } from '../workflows/execution-activities.ts';
import { type ExecutionStart, executionIsStarted, noteStarted, type StartedRow } from './execution-store.ts';
import { jobIdOf, taskQueueFor } from './ids.ts';
import { createPoolStarts } from './pool-starts.ts';

/** Temporal's own attribute: makes the Web UI and the CLI list our starts beside the schedule's. */
const SCHEDULED_BY = defineSearchAttributeKey('TemporalScheduledById', SearchAttributeType.KEYWORD);
/** Starts gather this long before their rows are told; an execution that begins sooner says so itself. */
const NOTE_AFTER_MS = 50;
/** An older run of the same workflow id may be just about to close; it is asked again after these pauses. */
const SAME_ID_PAUSES_MS = [30, 100, 300];
/** Starts under way at once, per process: so many that Temporal can write them in groups, and a burst of thousands waits here instead of there, where it would time out. */
const IN_FLIGHT = 64;
/** After this time in line the controller may have started the row; milliseconds, a little under its own patience. */
const LONG_IN_LINE_MS = 1_500;

export type Starter = ReturnType<typeof createStarter>;

export function createStarter({ pool, temporal, log }: { pool: Pool; temporal: Client; log: Log }) {
  const inLine = pLimit(IN_FLIGHT);
  const pools = createPoolStarts({ pool, temporal, log, inLine });
  const underway = new Set<Promise<unknown>>();
  let started: StartedRow[] = [];
  let noting: Promise<void> | null = null;

  /** Tells the rows that their workflows run. Losing this costs the controller a look, nothing more. */
  function note(row: StartedRow): void {
    started.push(row);
    noting ??= sleep(NOTE_AFTER_MS)
      .then(() => {
        const rows = started;
        started = [];
        noting = null;
        return noteStarted(pool, rows);
      })
      .catch((error: unknown) => log.debug({ error: String(error) }, 'starts could not be noted'));
  }

  /** Answers the id of the run. */
  async function startWorkflow(row: ExecutionStart): Promise<string> {
    const delayMs = Date.parse(row.dueAt) - Date.now();
    const input: ExecuteJobInput = { team: row.team, execution: row.id };
    const handle = await temporal.workflow.start('executeJob', {
      workflowId: row.workflowId,
      taskQueue: taskQueueFor(row.queue),
      args: [input],
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      workflowIdConflictPolicy: 'FAIL',
      typedSearchAttributes: new TypedSearchAttributes([{ key: SCHEDULED_BY, value: jobIdOf(row.id) ?? row.id }]),
      staticSummary: row.jobName,
      priority: { priorityKey: row.priority },
      ...(delayMs > 0 ? { startDelay: delayMs } : {}),
    });
    return handle.firstExecutionRunId;
  }

  /**
   * Starts the workflow, with a start delay when the row is due later.
   * `pending`: Temporal or Postgres is away, or a run of that id is still open; the controller looks again.
   */
  async function start(row: ExecutionStart): Promise<'started' | 'pending'> {
    return await (row.dispatch === 'pooled' ? pools.start(row) : startOwn(row));
  }

  async function startOwn(row: ExecutionStart): Promise<'started' | 'pending'> {
    const askedAt = performance.now();
    for (const pauseMs of [...SAME_ID_PAUSES_MS, null]) {
      try {
        await inLine(async () => {
          if (performance.now() - askedAt > LONG_IN_LINE_MS && (await executionIsStarted(pool, row))) return;
          const runId = await startWorkflow(row);
          note({ partitionAt: row.partitionAt, id: row.id, workflowId: row.workflowId, runId });
        });
        return 'started';
      } catch (error) {
        if (error instanceof WorkflowExecutionAlreadyStartedError) {
          if (pauseMs === null) return 'pending';
          await sleep(pauseMs);
          continue;
        }
        const away = isTemporalAway(error) || isPostgresAway(error);
        log[away ? 'info' : 'warn'](
          { execution: row.id, error: String(error) },
          'an execution could not be started yet; the controller will',
        );
        return 'pending';
      }
    }
    return 'pending';
  }

  /** `drain` waits for what goes on behind an answer. */
  function behind<T>(work: Promise<T>): Promise<T> {
    const tracked = work.finally(() => underway.delete(tracked));
    underway.add(tracked);
    return tracked;
  }

  /** Starts in the background. */
  function startSoon(row: ExecutionStart | null): void {
    if (row) void behind(start(row));
  }

  /** Starts the pool of rows that were written after its start had gone out. */
  function startPoolAgain(row: ExecutionStart): void {
    void behind(pools.start(row, true));
  }

  /** Starts, but waits no longer than the budget; the start goes on behind. */
  async function within(budgetMs: number, row: ExecutionStart): Promise<'started' | 'pending'> {
    const starting = behind(start(row));
    const clock = new AbortController();
    const late = sleep(budgetMs, 'pending' as const, { signal: clock.signal }).catch(() => 'pending' as const);
    try {
      return await Promise.race([starting, late]);
    } finally {
      clock.abort();
    }
  }

  /** Waits for every start that is under way, and for its note. */
  async function drain(): Promise<void> {
    while (underway.size > 0) await Promise.allSettled([...underway]);
    await noting;
    await pools.drain();
  }

  return { start, startSoon, startPoolAgain, within, behind, drain };
}
