/** The activities of a worker, with what they stand on. */
import type { Client } from '@temporalio/client';
import type { Config } from '../config.ts';
import type { Starter } from '../jobs/execution-starts.ts';
import { createAppliers } from '../jobs/operations/appliers.ts';
import { createOperationRunner } from '../jobs/operations/operation-runner.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import type { ExecutionActivities } from '../workflows/execution-activities.ts';
import type { OperationActivities } from '../workflows/operation-activities.ts';
import type { PoolActivities } from '../workflows/pool-activities.ts';
import { createAdmit } from './admit.ts';
import { createAttempt } from './attempt.ts';
import { createBegin } from './begin.ts';
import type { CallTarget } from './call-target.ts';
import { createInterruptions } from './interruptions.ts';
import { createWorkOff } from './operations/work-off.ts';
import { createCallLines } from './pools/call-lines.ts';
import { createDefinitions } from './pools/definitions.ts';
import { createOutcomeWriter } from './pools/outcome-writer.ts';
import { createClosePool, createPlanPool } from './pools/plan-pool.ts';
import { createPooledCall } from './pools/pooled-call.ts';
import { createRangeReader } from './pools/range-reader.ts';
import { createServeRanges } from './pools/serve-ranges.ts';
import type { Quarantine } from './quarantine/quarantine.ts';
import { createRecordActivities, createRecorder, type ExecutionEnded } from './record.ts';

export type ActivitiesDeps = {
  pool: Pool;
  temporal: Client;
  log: Log;
  /** Takes the line of each execution that has ended. */
  executionLog: Log;
  config: Pick<Config, 'CATEGORY_QUEUES' | 'BUFFER_LIMIT_SLOTS' | 'BUFFER_LIMIT_TRIGGERS' | 'POOL_CALLS' | 'POOL_CALLS_PER_TARGET'>;
  starter: Starter;
  callTarget: CallTarget;
  quarantine: Quarantine;
  ended: ExecutionEnded;
  /** Fires when the worker is told to stop. */
  stopping: AbortSignal;
};

/** Close with `close()` after the worker has stopped. */
export function createActivities(deps: ActivitiesDeps): {
  activities: ExecutionActivities & PoolActivities & OperationActivities;
  close: () => void;
} {
  const interruptions = createInterruptions(deps);
  const recorder = createRecorder({ ...deps, log: deps.executionLog });
  const attempt = createAttempt({ ...deps, recorder, interruptions });
  const writer = createOutcomeWriter({ ...deps, recorder });
  return {
    activities: {
      begin: createBegin({ admit: createAdmit(deps), attempt }),
      attempt: attempt.next,
      ...createRecordActivities({ ...deps, recorder }),
      closePool: createClosePool(deps),
      ...createWorkOff({ ...deps, runner: createOperationRunner({ ...deps, appliers: createAppliers(deps) }) }),
      ...createServeRanges({
        ...deps,
        recorder,
        plan: createPlanPool(deps),
        reader: createRangeReader(deps),
        definitions: createDefinitions(deps),
        lines: createCallLines({ places: deps.config.POOL_CALLS, perTarget: deps.config.POOL_CALLS_PER_TARGET }),
        makeCall: createPooledCall({ ...deps, interruptions, writer }),
      }),
    },
    close() {
      writer.close();
      interruptions.close();
    },
  };
}
