/**
 * Rolling back: an older version's document is written as the next generation, by the same rules and the same path as an edit. What it names must still be there, and what has become
 * wrong since (a field, a time that has passed) is refused. The pause of a job is no part of its document, and stays.
 */
import type { Pool } from '../../postgres.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import { isJobId } from '../ids.ts';
import type { JobDocument } from '../job-document.ts';
import { jobNotFound } from '../job-errors.ts';
import { jobFindId, type StoredJob } from '../job-store.ts';
import type { JobView } from '../job-view.ts';
import type { Jobs, WriteOptions, Written } from '../jobs.ts';
import { type DocumentDiff, documentDiff } from './document-diff.ts';

export type RolledBack = Written<JobView> & {
  /** The generation before, and the one whose document it has now. */
  from: number;
  to: number;
  diff: DocumentDiff;
};
export type Rollback = ReturnType<typeof createRollback>;

export function createRollback({ pool, jobs }: { pool: Pool; jobs: Jobs }) {
  /** @throws JobError `invalid` when today's rules refuse it, as they would refuse it in a PUT. */
  function documentOf(caller: Caller, document: JobDocument, generation: number): JobDocument {
    try {
      return jobs.parse(caller, document);
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
      throw new JobError(
        error.kind,
        error.code,
        `Revision ${generation} is no longer a valid job. ${error.message} PUT a document that is like it.`,
        {
          errors: error.errors,
          extra: { generation },
          cause: error,
        },
      );
    }
  }

  /**
   * Gives a job the document of an older generation; nothing is written when it has that already.
   * @param options.dryRun tries everything, and writes nothing: what it answers is what would be.
   * @throws JobError `not_found`; `gone` for a deleted job; `invalid`, `conflict` (its name is another job's now), `precondition`
   */
  return async function rollback(caller: Caller, idOrName: string, generation: number, options: WriteOptions = {}): Promise<RolledBack> {
    const id = isJobId(idOrName) ? idOrName : await jobFindId(pool, caller.team, idOrName);
    if (id === null) throw jobNotFound(idOrName);
    const revision = await jobs.revision(caller, id, generation);
    if ((await jobFindId(pool, caller.team, id)) === null) throw jobDeleted(id, generation);
    let before: StoredJob | undefined;
    let document: JobDocument | undefined;
    const written = await jobs.change(caller, id, { ...options, action: 'job.rolled_back' }, ({ job }) => {
      before = job;
      document = documentOf(caller, revision.document, generation);
      return document;
    });
    return { ...written, from: before!.generation, to: generation, diff: documentDiff(before!.document, document) };
  };
}

const jobDeleted = (id: string, generation: number) =>
  new JobError(
    'gone',
    'job_deleted',
    `Job ${id} was deleted, and its name may be another job's. To have it again, POST the document of GET /api/v1/jobs/${id}/revisions/${generation} to /api/v1/jobs.`,
  );
