/** All that operations can do, with what it stands on. */
import type { Client } from '@temporalio/client';
import type { Config } from '../../config.ts';
import type { Log } from '../../log.ts';
import type { Pool } from '../../postgres.ts';
import type { Starter } from '../execution-starts.ts';
import { queueRouting } from '../job-facts.ts';
import { createClockHint } from '../job-sync.ts';
import { moveToPool } from '../pool-start-store.ts';
import { createTriggerPools } from '../trigger-pools.ts';
import { createApplyDefinitions } from './apply-definitions.ts';
import { createApplyPause, createApplyResume } from './apply-pauses.ts';
import { createApplyRequests } from './apply-requests.ts';
import { createApplyStops, type StoppedWorkflow } from './apply-stops.ts';
import { createBackfills } from './backfills.ts';
import type { Appliers } from './operation-runner.ts';
import { chooseForBackfill } from './turns.ts';

export type ApplierDeps = {
  pool: Pool;
  temporal: Client;
  log: Log;
  config: Pick<Config, 'CATEGORY_QUEUES' | 'BUFFER_LIMIT_TRIGGERS'>;
  starter: Starter;
};

/**
 * Batches are measured in how long their transaction holds the locks of its jobs: well under a second. Whatever is written by one statement for all goes by 500, what takes
 * statements for each by 50 or 100.
 */
export function createAppliers({ pool, temporal, log, config, starter }: ApplierDeps): Appliers {
  const toldLater = createClockHint({ pool, log });
  const pools = createTriggerPools(starter, (rows, from, to) => moveToPool(pool, rows, from, to));
  const { startSoon } = starter;
  const behind = (call: Promise<unknown>): void => {
    void starter.behind(call.catch((error: unknown) => log.debug({ error: String(error) }, 'a workflow could not be told to end')));
  };
  const tellTemporal = (wish: 'cancel' | 'terminate', { workflowId, runId }: StoppedWorkflow): void => {
    const handle = temporal.workflow.getHandle(workflowId, runId);
    behind(wish === 'cancel' ? handle.cancel() : handle.terminate('terminated by a bulk operation'));
  };
  const stopSoon = (workflowId: string): void =>
    behind(temporal.workflow.getHandle(workflowId).terminate('the one-off was moved or cancelled'));

  const { applyTrigger, applyBackfill, applyRetry } = createApplyRequests({ pools, config });
  const { applyCancel, applyTerminate } = createApplyStops({ startSoon, tellTemporal });
  const { applyDelete, applyChange } = createApplyDefinitions({
    queueOf: queueRouting(config.CATEGORY_QUEUES),
    startSoon,
    toldLater,
    stopSoon,
  });
  return {
    pause: { batch: 500, apply: createApplyPause(toldLater) },
    resume: { batch: 200, apply: createApplyResume(createBackfills({ pool }), toldLater) },
    trigger: { batch: 250, apply: applyTrigger },
    delete: { batch: 50, apply: applyDelete },
    change: { batch: 50, apply: applyChange },
    retry: { batch: 200, apply: applyRetry },
    cancel: { batch: 100, apply: applyCancel },
    terminate: { batch: 100, apply: applyTerminate },
    backfill: { batch: 250, apply: applyBackfill, choose: chooseForBackfill },
  };
}
