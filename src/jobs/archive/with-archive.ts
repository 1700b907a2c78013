/** Executions as if none had ever left the database: one that has is read from its archive, and what can no longer be done with it is refused with the archive's id. */
import type { Config } from '../../config.ts';
import type { Pool } from '../../postgres.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import { attemptView, executionView } from '../execution-view.ts';
import type { Executions } from '../executions.ts';
import { jobFindId } from '../job-store.ts';
import type { ArchivedExecution, Archives } from './archives.ts';

export function withArchive(executions: Executions, deps: { archives: Archives; pool: Pool; config: Config }): Executions {
  const { archives, pool, config } = deps;

  /** The archived one, when `error` says that there is none in the database. */
  async function archivedInstead(error: unknown, caller: Caller, idOrName: string, id: string): Promise<ArchivedExecution | null> {
    if (!(error instanceof JobError) || error.kind !== 'not_found') return null;
    const found = await archives.execution(caller, id);
    if (!found) return null;
    const { job_id: jobId, job_name: jobName } = found.row;
    return idOrName === jobId || idOrName === jobName || (await jobFindId(pool, caller.team, idOrName)) === jobId ? found : null;
  }

  /** What has ended so long ago that it was archived can't be changed. @throws JobError `gone` */
  async function refuseArchived(error: unknown, caller: Caller, idOrName: string, ids: readonly string[]): Promise<never> {
    for (const id of ids) {
      const found = await archivedInstead(error, caller, idOrName, id);
      if (found)
        throw new JobError(
          'gone',
          'execution_archived',
          `Execution ${id} ended ${found.row.status} and has left the database for archive ${found.archive}; GET still answers it. Trigger the job with the same input to run it again.`,
          { extra: { archive: found.archive } },
        );
    }
    throw error;
  }

  return {
    ...executions,
    get: (caller, idOrName, id) =>
      executions.get(caller, idOrName, id).catch(async (error: unknown) => {
        const found = await archivedInstead(error, caller, idOrName, id);
        if (!found) throw error;
        return { ...executionView(found.row, config), attempts: found.attempts.map(attemptView), live: null, archive: found.archive };
      }),
    retry: (caller, idOrName, asked, idempotency) =>
      executions
        .retry(caller, idOrName, asked, idempotency)
        .catch((error: unknown) => refuseArchived(error, caller, idOrName, asked.executionIds ?? [])),
    retryOne: (caller, idOrName, id, definition, idempotency) =>
      executions
        .retryOne(caller, idOrName, id, definition, idempotency)
        .catch((error: unknown) => refuseArchived(error, caller, idOrName, [id])),
    cancel: (caller, idOrName, id) =>
      executions.cancel(caller, idOrName, id).catch((error: unknown) => refuseArchived(error, caller, idOrName, [id])),
    terminate: (caller, idOrName, id) =>
      executions.terminate(caller, idOrName, id).catch((error: unknown) => refuseArchived(error, caller, idOrName, [id])),
  };
}
