/** Old generations of a job: what it was, and who changed it. */
import type { Queryable } from '../postgres.ts';
import type { JobDocument } from './job-document.ts';

export type Revision = { generation: number; document: JobDocument; changedBy: string; createdAt: Date };

/** Generations of a job, newest first, also of a deleted one. @param before only older ones than this generation. */
export async function jobRevisions(
  database: Queryable,
  team: string,
  jobId: string,
  limit: number,
  before: number | null,
): Promise<Revision[]> {
  const { rows } = await database.query<{ generation: string; document: JobDocument; changed_by: string; created_at: Date }>(
    `SELECT generation, document, changed_by, created_at FROM job_revisions
      WHERE job_id = $1 AND team = $2 AND ($4::bigint IS NULL OR generation < $4) ORDER BY generation DESC LIMIT $3`,
    [jobId, team, limit, before],
  );
  return rows.map((row) => ({
    generation: Number(row.generation),
    document: row.document,
    changedBy: row.changed_by,
    createdAt: row.created_at,
  }));
}
