/** Looking at the versions of a job: all of them, one, and what lies between two. Those of a deleted job stay readable by its id. */
import type { Pool } from '../../postgres.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import { isJobId } from '../ids.ts';
import { jobNotFound } from '../job-errors.ts';
import { jobRevisions, type Revision } from '../job-revisions.ts';
import { jobFindId } from '../job-store.ts';
import { type DocumentDiff, documentDiff } from './document-diff.ts';

/** Between generation `from` (null: nothing at all) and `to`. */
export type RevisionDiff = { from: number | null; to: number } & DocumentDiff;
export type RevisionReads = ReturnType<typeof createRevisionReads>;

export function createRevisionReads(pool: Pool) {
  const idOf = async (caller: Caller, idOrName: string): Promise<string | null> =>
    isJobId(idOrName) ? idOrName : await jobFindId(pool, caller.team, idOrName);

  /** One version. @throws JobError `not_found` */
  async function revision(caller: Caller, idOrName: string, generation: number): Promise<Revision> {
    const id = await idOf(caller, idOrName);
    const [found] = id === null ? [] : await jobRevisions(pool, caller.team, id, 1, generation + 1);
    if (!found) throw jobNotFound(idOrName);
    if (found.generation !== generation) throw revisionNotFound(idOrName, generation, found.generation);
    return found;
  }

  return {
    revision,

    /** Every version of a job, newest first. */
    async revisions(
      caller: Caller,
      idOrName: string,
      { limit, before = null }: { limit: number; before?: number | null | undefined },
    ): Promise<{ items: Revision[]; next: number | null }> {
      const id = await idOf(caller, idOrName);
      const found = id === null ? [] : await jobRevisions(pool, caller.team, id, limit + 1, before);
      if (found.length === 0 && before === null) throw jobNotFound(idOrName);
      const items = found.slice(0, limit);
      return { items, next: found.length > limit ? items.at(-1)!.generation : null };
    },

    /**
     * What makes `generation` of another version.
     * @param against absent: the version before it; the first is compared with nothing.
     * @throws JobError `not_found`
     */
    async difference(caller: Caller, idOrName: string, generation: number, against: number | undefined): Promise<RevisionDiff> {
      const to = await revision(caller, idOrName, generation);
      const other = against ?? generation - 1;
      const from = other === 0 ? null : await revision(caller, idOrName, other);
      return { from: from?.generation ?? null, to: generation, ...documentDiff(from?.document ?? {}, to.document) };
    },
  };
}

export const revisionNotFound = (idOrName: string, generation: number, nearest: number): JobError =>
  new JobError(
    'not_found',
    'revision_not_found',
    `Job ${JSON.stringify(idOrName.slice(0, 80))} has no revision ${generation}; its newest up to there is ${nearest}.`,
  );
