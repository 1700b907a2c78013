/** The row of what somebody has asked for, made of the question and what admit has answered, so that nobody reads it back. */
import { JobError } from './errors.ts';
import type { ExecutionRow } from './execution-view.ts';
import { jobNotFound } from './job-errors.ts';
import type { AcceptedTrigger, AdmittedTrigger, TriggerQuestion } from './trigger-store.ts';

/** The overlap policies by which one makes room for the next. */
const ROOM_MADE = { cancelled: 'cancel_other', terminated: 'terminate_other' } as const;

/** @throws JobError when there is no row. */
export function acceptedOrRefused(jobId: string, admitted: AdmittedTrigger): AcceptedTrigger {
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
    case 'frozen': {
      const { freezeId, reason, until } = admitted.blocker;
      const name = JSON.stringify(admitted.job_name);
      const end = until ? `until ${until}` : 'until somebody ends it';
      throw new JobError(
        'refused',
        'frozen',
        `Job ${name} is frozen ${end} (${reason}); try again after that, or end freeze ${freezeId}.`,
        {
          extra: { freezeId, reason, until },
        },
      );
    }
    default:
      return admitted;
  }
}

/** Why what has come in the way of another of its job does not run; the row is there all the same, and says so too. */
export function overlapRefusal(asked: TriggerQuestion, { verdict, blocker, job_name: jobName }: AcceptedTrigger): JobError {
  const name = JSON.stringify(jobName);
  const other = blocker?.executionId ?? null;
  const extra = { executionId: other, skippedId: asked.id };
  if (verdict === 'buffer_dropped')
    return new JobError(
      'refused',
      'buffer_full',
      `So many executions of job ${name} wait that none is added; try again when some have ended.`,
      {
        extra,
      },
    );
  const which = other ? `execution ${other}` : 'an execution that has just ended';
  const sentence = `Job ${name} lets one run at a time, and ${which} was there first; wait for its end or cancel it, or set "overlap" to buffer_all or allow_all.`;
  return new JobError('refused', 'overlap', sentence, { extra });
}

/** The row as it is now: what was asked and what admit has added. */
export function requestedRow(asked: TriggerQuestion, admitted: AcceptedTrigger): ExecutionRow {
  const accepted = admitted.verdict === 'run' || admitted.verdict === 'wait';
  return {
    partition_at: asked.partitionAt,
    id: asked.id,
    team: asked.team,
    job_id: asked.job,
    job_name: admitted.job_name,
    generation: asked.pinnedGeneration === null ? admitted.generation : String(asked.pinnedGeneration),
    trigger: asked.kind,
    slot: asked.slot,
    due_at: admitted.due_at,
    status: admitted.ended ?? (accepted ? 'queued' : 'skipped'),
    waiting: admitted.verdict === 'wait' && !admitted.ended,
    reason: admitted.ended ? ROOM_MADE[admitted.ended] : accepted ? null : admitted.verdict,
    attempt: 0,
    tries: 0,
    max_attempts: admitted.max_attempts,
    priority: admitted.priority,
    queue: admitted.queue,
    dispatch: admitted.pool ? 'pooled' : 'dedicated',
    workflow_id: admitted.pool ?? asked.id,
    run_id: null,
    chunk: null,
    retry_of: asked.retryOf,
    label: asked.label ?? null,
    operation_id: asked.operationId ?? null,
    freeze_id: null,
    freeze_reason: null,
    requested_by: asked.requestedBy,
    input: asked.input,
    has_input: asked.hasInput,
    created_at: admitted.due_at,
    started_at: null,
    finished_at: accepted && !admitted.ended ? null : admitted.due_at,
    cancel_requested_at: null,
    cancel_by: null,
    result: null,
    error: null,
  };
}
