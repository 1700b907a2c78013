/** Record: writes what became of attempts, tells the log and the metrics, and starts what that lets go on. */

import type { Starter } from '../jobs/execution-starts.ts';
import type { ExecutionStart, RecordedRow } from '../jobs/execution-store.ts';
import { closeExecution, recordOutcomes } from '../jobs/execution-store.ts';
import { partitionAtOf } from '../jobs/ids.ts';
import { type Log, plainChild } from '../log.ts';
import type { Pool } from '../postgres.ts';
import type { ExecutionActivities, FinalStatus, Outcome } from '../workflows/execution-activities.ts';
import { withPatience } from './patience.ts';

/** Told of every execution that has ended, for the metrics. Seconds. */
export type ExecutionEnded = (ended: { status: string; trigger: string; durationS: number; latenessS: number }) => void;

export type Recorder = ReturnType<typeof createRecorder>;

export function createRecorder({
  pool,
  log,
  starter,
  ended,
}: {
  pool: Pool;
  /** Takes the line of each execution. */
  log: Log;
  starter: Starter;
  ended: ExecutionEnded;
}) {
  const lines = plainChild(log);

  /** Says in log and metrics that an execution has ended, and starts what that released. */
  function tell(outcome: Outcome, row: RecordedRow): void {
    starter.startSoon(row.released);
    if (!row.applied || row.status === 'running') return;
    const finishedAt = row.finished_at?.getTime() ?? Date.now();
    const durationMs = finishedAt - row.started_at.getTime();
    const latenessMs = row.started_at.getTime() - row.due_at.getTime();
    ended({ status: row.status, trigger: row.trigger, durationS: durationMs / 1000, latenessS: latenessMs / 1000 });
    lines.info(
      { execution: row.id, jobName: row.job_name, status: row.status, durationMs, latenessMs, attempt: outcome.attempt },
      'execution finished',
    );
  }

  return {
    /**
     * Writes one outcome with short patience. Answers the row's status afterwards: terminal, `running` when a retry follows, null when there is no row.
     * @throws the error of Postgres when it stays away; the workflow then keeps the outcome and repeats.
     */
    async record(outcome: Outcome): Promise<FinalStatus | 'running' | null> {
      const [row] = await withPatience(() => recordOutcomes(pool, [outcome]));
      if (!row) return null;
      tell(outcome, row);
      return row.status as FinalStatus | 'running';
    },
    tell,
    startReleased(released: ExecutionStart | null): void {
      starter.startSoon(released);
    },
  };
}

/** The record and close activities of the workflows, for what could not be written at once. */
export function createRecordActivities({ pool, starter, recorder }: { pool: Pool; starter: Starter; recorder: Recorder }) {
  const activities: Pick<ExecutionActivities, 'record' | 'close'> = {
    async record(outcome) {
      const status = await recorder.record(outcome);
      return status === 'running' ? null : status;
    },
    async close({ team, execution, status, reason, message }) {
      const partitionAt = partitionAtOf(execution)!;
      const error = message ? { type: reason, message, attempt: null } : null;
      const row = await withPatience(() =>
        closeExecution(pool, { team, partitionAt, id: execution, status, reason, error, by: 'almanac' }),
      );
      if (row) starter.startSoon(row.released);
    },
  };
  return activities;
}
