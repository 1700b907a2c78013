/** The activities of a worker, with what they stand on. */
import type { Config } from '../config.ts';
import type { Starter } from '../jobs/execution-starts.ts';
import type { Log } from '../log.ts';
import type { Pool } from '../postgres.ts';
import type { ExecutionActivities } from '../workflows/execution-activities.ts';
import { createAdmit } from './admit.ts';
import { createAttempt } from './attempt.ts';
import { createBegin } from './begin.ts';
import type { CallTarget } from './call-target.ts';
import { createInterruptions } from './interruptions.ts';
import { createRecordActivities, createRecorder, type ExecutionEnded } from './record.ts';

export type ActivitiesDeps = {
  pool: Pool;
  log: Log;
  config: Pick<Config, 'BUFFER_LIMIT_SLOTS' | 'BUFFER_LIMIT_TRIGGERS'>;
  starter: Starter;
  callTarget: CallTarget;
  ended: ExecutionEnded;
};

/** Close with `close()` after the worker has stopped. */
export function createActivities(deps: ActivitiesDeps): { activities: ExecutionActivities; close: () => void } {
  const interruptions = createInterruptions(deps);
  const recorder = createRecorder(deps);
  const attempt = createAttempt({ ...deps, recorder, interruptions });
  return {
    activities: {
      begin: createBegin({ admit: createAdmit(deps), attempt }),
      attempt: attempt.next,
      ...createRecordActivities({ ...deps, recorder }),
    },
    close: () => interruptions.close(),
  };
}
