/** What Temporal says of one execution right now. Asked for one row at a time, never for lists. */
import type { Client } from '@temporalio/client';
import type { ExecutionRow } from './execution-view.ts';

export type LiveState = {
  status: string;
  /** True: the workflow is that of a pool, and serves others too. */
  shared: boolean;
  startedAt: string;
  closedAt: string | null;
  historyLength: number;
  taskQueue: string;
  pending: { activity: string; state: string; attempt: number; lastHeartbeatAt: string | null; lastFailure: string | null }[];
};

const BUDGET_MS = 1_000;

/** Null when Temporal has forgotten the workflow (retention), has not been told of it yet, or does not answer within a second. */
export async function liveState(
  temporal: Client,
  row: Pick<ExecutionRow, 'workflow_id' | 'run_id' | 'dispatch'>,
): Promise<LiveState | null> {
  if (!row.workflow_id || !row.run_id) return null;
  const handle = temporal.workflow.getHandle(row.workflow_id, row.run_id);
  try {
    const description = await temporal.withDeadline(Date.now() + BUDGET_MS, () => handle.describe());
    return {
      status: description.status.name,
      shared: row.dispatch === 'pooled',
      startedAt: description.startTime.toISOString(),
      closedAt: description.closeTime?.toISOString() ?? null,
      historyLength: description.historyLength,
      taskQueue: description.taskQueue,
      pending: (description.raw.pendingActivities ?? []).map((activity) => ({
        activity: activity.activityType?.name ?? '',
        state: String(activity.state ?? ''),
        attempt: activity.attempt ?? 0,
        lastHeartbeatAt: activity.lastHeartbeatTime?.seconds
          ? new Date(Number(activity.lastHeartbeatTime.seconds) * 1000).toISOString()
          : null,
        lastFailure: activity.lastFailure?.message ?? null,
      })),
    };
  } catch {
    return null;
  }
}
