/**
 * What the process that has written an operation does for it at once. Its workflow is started, and a pause is not left to it alone: a pass needs nothing but Postgres, and whoever
 * pauses thousands of jobs wants them to stop now, whatever Temporal and the workers are doing.
 */
import type { Log } from '../../log.ts';
import { isPostgresAway } from '../../postgres.ts';
import type { OperationRunner } from './operation-runner.ts';
import type { OperationStarts } from './operation-starts.ts';
import type { OperationKind } from './operation-store.ts';

export type BeginOperation = ReturnType<typeof createBeginOperation>;

export function createBeginOperation({ starts, runner, log }: { starts: OperationStarts; runner: OperationRunner; log: Log }) {
  const underway = new Set<Promise<unknown>>();
  let stopped = false;

  async function workOff(team: string, id: string): Promise<void> {
    try {
      while (!stopped) {
        const { done, waitMs } = await runner.pass(team, id);
        // whatever has to wait is left to the workflow
        if (done || waitMs > 0) return;
      }
    } catch (error) {
      if (!isPostgresAway(error)) log.info({ operation: id, error: String(error) }, 'an operation goes on in its workflow');
    }
  }

  function begin(team: string, id: string, kind: OperationKind): void {
    for (const work of [starts.start(team, id), ...(kind === 'pause' ? [workOff(team, id)] : [])]) {
      const tracked = work.finally(() => underway.delete(tracked));
      underway.add(tracked);
    }
  }

  /** Leaves what is still to be done to the workflow; resolves when no pass is under way. */
  async function drain(): Promise<void> {
    stopped = true;
    await Promise.allSettled(underway);
  }

  return { begin, drain };
}
