/** What a team sees of archives: when months left, and its own rows in them. */
import type { Queryable } from '../../postgres.ts';
import { type ArchiveObject, type ArchiveState, type Chunk, chunksOf } from './archive-store.ts';
import type { PlaceKind } from './place.ts';

export type ArchiveRow = {
  id: string;
  month: Date;
  until: Date;
  state: ArchiveState;
  reason: string | null;
  detail: string | null;
  place: PlaceKind | null;
  address: string | null;
  folder: string;
  schema_version: string | null;
  created_at: Date;
  written_at: Date | null;
  completed_at: Date | null;
  /** The team's. */
  executions: string;
  attempts: string;
  ranges: string;
  bytes: string;
};

const COLUMNS = `a.id, a.month, a.until, a.state, a.reason, a.detail, a.place, a.address, a.folder, a.schema_version, a.created_at, a.written_at, a.completed_at,
  coalesce(c.executions, 0) AS executions, coalesce(c.attempts, 0) AS attempts, coalesce(c.ranges, 0) AS ranges, coalesce(c.bytes, 0) AS bytes`;
/** Sums over the team's chunks; $1 is the team. */
const OWN = `LEFT JOIN LATERAL (
    SELECT sum(c.executions) AS executions, sum(c.attempts) AS attempts, sum(c.ranges) AS ranges, sum((SELECT sum((o ->> 'bytes')::bigint) FROM json_array_elements(c.objects) o)) AS bytes
      FROM archive_chunks c WHERE c.archive_id = a.id AND c.team = $1) c ON true`;

/** Where a page ended. */
export type ArchiveKey = { month: string; id: string };

/** Archives, newest month first. */
export async function archivesList(
  database: Queryable,
  team: string,
  { limit, after }: { limit: number; after?: ArchiveKey | undefined },
): Promise<{ rows: ArchiveRow[]; next: ArchiveKey | null }> {
  const { rows } = await database.query<ArchiveRow>(
    `SELECT ${COLUMNS} FROM archives a ${OWN}
      WHERE $2::timestamptz IS NULL OR (a.month, a.id) < ($2, $3)
      ORDER BY a.month DESC, a.id DESC LIMIT $4`,
    [team, after?.month ?? null, after?.id ?? null, limit + 1],
  );
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return { rows: page, next: rows.length > limit && last ? { month: last.month.toISOString(), id: last.id } : null };
}

export async function archiveFind(database: Queryable, team: string, id: string): Promise<ArchiveRow | null> {
  const { rows } = await database.query<ArchiveRow>(`SELECT ${COLUMNS} FROM archives a ${OWN} WHERE a.id = $2`, [team, id]);
  return rows[0] ?? null;
}

/** A stretch of the team's rows, and where it is. */
export type OwnChunk = { archive: string; place: PlaceKind; nth: number; objects: ArchiveObject[] };
const CHUNK = 'a.id AS archive, a.place, c.nth, c.objects';

/** The team's chunks of an archive, from one on; with a job only those that may hold something of it. */
export async function chunksFrom(
  database: Queryable,
  query: { team: string; archive: string; from: number; job: string | null; limit: number },
): Promise<OwnChunk[]> {
  const { rows } = await database.query<OwnChunk>(
    `SELECT ${CHUNK} FROM archive_chunks c JOIN archives a ON a.id = c.archive_id
      WHERE c.team = $1 AND c.archive_id = $2 AND c.nth >= $3 AND c.executions > 0 AND ($4::text IS NULL OR (c.first_job <= $4 AND $4 <= c.last_job))
      ORDER BY c.nth LIMIT $5`,
    [query.team, query.archive, query.from, query.job, query.limit],
  );
  return rows;
}

/** Chunks that may hold an execution, in the newest archive of its month first. */
export async function chunksWith(database: Queryable, team: string, job: string, at: Date): Promise<OwnChunk[]> {
  const { rows } = await database.query<OwnChunk>(
    `SELECT ${CHUNK} FROM archives a JOIN archive_chunks c ON c.archive_id = a.id
      WHERE a.month <= $3 AND $3 < a.until AND c.team = $1 AND c.executions > 0
        AND (c.first_job < $2 OR (c.first_job = $2 AND c.first_at <= $3)) AND (c.last_job > $2 OR (c.last_job = $2 AND c.last_at >= $3))
      ORDER BY a.id DESC, c.nth`,
    [team, job, at],
  );
  return rows;
}

/** The team's chunks of an archive, as its manifest tells them. */
export async function manifestChunks(database: Queryable, team: string, archive: string): Promise<Chunk[]> {
  return (await chunksOf(database, archive)).filter((chunk) => chunk.team === team);
}
