/** Statements on archives and their chunks. An archive holds rows of every team, so that whoever writes one reads all; what people see is in archive-queries.ts. */
import type { Queryable } from '../../postgres.ts';
import type { PlaceKind } from './place.ts';

export type ArchiveState = 'held' | 'writing' | 'written' | 'complete';
/** Why a month does not leave. */
export type HeldReason = 'no_archive' | 'unfinished' | 'clocks_behind' | 'place_failed';

export type Archive = {
  id: string;
  month: Date;
  until: Date;
  state: ArchiveState;
  place: PlaceKind | null;
  folder: string;
  /** Whoever writes has the newest one; null where nobody has written yet. */
  claim: string;
  executions: string;
  attempts: string;
  ranges: string;
  bytes: string;
  executions_digest: string;
  attempts_digest: string;
  ranges_digest: string;
};

const COLUMNS =
  'id, month, until, state, place, folder, claim, executions, attempts, ranges, bytes, executions_digest, attempts_digest, ranges_digest';

export type ArchivedTable = 'executions' | 'attempts' | 'ranges';
/** One object of a chunk; sizes in bytes, `rawBytes` before compression. */
export type ArchiveObject = {
  table: ArchivedTable;
  name: string;
  rows: number;
  bytes: number;
  rawBytes: number;
  sha256: string;
};

export type Chunk = {
  nth: number;
  team: string;
  firstJob: string;
  firstAt: string;
  lastJob: string;
  lastAt: string;
  lastId: string;
  executions: number;
  attempts: number;
  ranges: number;
  /** Sums of 64-bit hashes: larger than a number. */
  executionsDigest: bigint;
  attemptsDigest: bigint;
  rangesDigest: bigint;
  objects: ArchiveObject[];
};

/** The open archive of a month, made if there is none. */
export async function archiveOpen(database: Queryable, id: string, month: Date, until: Date): Promise<Archive> {
  const folder = `${month.toISOString().slice(0, 7)}/${id}`;
  await database.query(
    `INSERT INTO archives (id, month, until, state, folder) VALUES ($1, $2, $3, 'held', $4) ON CONFLICT (month) WHERE state <> 'complete' DO NOTHING`,
    [id, month, until, folder],
  );
  const { rows } = await database.query<Archive>(`SELECT ${COLUMNS} FROM archives WHERE month = $1 AND state <> 'complete'`, [month]);
  return rows[0]!;
}

/** Says why a month stays, once per reason; what is written stays written. */
export async function archiveHold(database: Queryable, id: string, reason: HeldReason, detail: string): Promise<boolean> {
  const { rowCount } = await database.query(
    `UPDATE archives SET state = CASE WHEN $2 = 'place_failed' THEN state ELSE 'held' END, reason = $2, detail = $3, updated_at = now()
      WHERE id = $1 AND state <> 'complete' AND (reason IS DISTINCT FROM $2 OR detail IS DISTINCT FROM $3 OR ($2 <> 'place_failed' AND state <> 'held'))`,
    [id, reason, detail],
  );
  return rowCount === 1;
}

/** Takes the right to write. @param anew forgets the chunks there are. @returns the archive as it is now; null when it is complete already. */
export async function archiveClaim(
  database: Queryable,
  id: string,
  written: { place: PlaceKind | null; address: string | null; schemaVersion: string },
  anew: boolean,
): Promise<Archive | null> {
  const { rows } = await database.query<Archive>(
    `WITH claimed AS (
       UPDATE archives SET state = 'writing', claim = claim + 1, place = $2, address = $3, schema_version = $4, written_at = NULL, updated_at = now()
        WHERE id = $1 AND state <> 'complete'
       RETURNING ${COLUMNS}
     ), forgotten AS (
       DELETE FROM archive_chunks c USING claimed WHERE c.archive_id = claimed.id AND $5
     )
     SELECT ${COLUMNS} FROM claimed`,
    [id, written.place, written.address, written.schemaVersion, anew],
  );
  return rows[0] ?? null;
}

/** Notes a chunk whose objects are in their place. @returns false when somebody else writes this archive now. */
export async function chunkInsert(database: Queryable, archive: Archive, chunk: Chunk): Promise<boolean> {
  const { rowCount } = await database.query(
    `INSERT INTO archive_chunks (archive_id, nth, team, first_job, first_at, last_job, last_at, last_id, executions, attempts, ranges, executions_digest,
                                 attempts_digest, ranges_digest, objects)
     SELECT a.id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16 FROM archives a WHERE a.id = $1 AND a.claim = $2 AND a.state = 'writing' FOR SHARE
     ON CONFLICT DO NOTHING`,
    [
      archive.id,
      archive.claim,
      chunk.nth,
      chunk.team,
      chunk.firstJob,
      chunk.firstAt,
      chunk.lastJob,
      chunk.lastAt,
      chunk.lastId,
      chunk.executions,
      chunk.attempts,
      chunk.ranges,
      chunk.executionsDigest.toString(),
      chunk.attemptsDigest.toString(),
      chunk.rangesDigest.toString(),
      JSON.stringify(chunk.objects),
    ],
  );
  return rowCount === 1;
}

type ChunkRow = {
  nth: number;
  team: string;
  first_job: string;
  first_at: string;
  last_job: string;
  last_at: string;
  last_id: string;
  executions: string;
  attempts: string;
  ranges: string;
  executions_digest: string;
  attempts_digest: string;
  ranges_digest: string;
  objects: ArchiveObject[];
};

/** All chunks of an archive in their order. */
export async function chunksOf(database: Queryable, archiveId: string): Promise<Chunk[]> {
  const { rows } = await database.query<ChunkRow>(
    `SELECT nth, team, first_job, first_at::text, last_job, last_at::text, last_id, executions, attempts, ranges, executions_digest,
            attempts_digest, ranges_digest, objects
       FROM archive_chunks WHERE archive_id = $1 ORDER BY nth`,
    [archiveId],
  );
  return rows.map((row) => ({
    nth: row.nth,
    team: row.team,
    firstJob: row.first_job,
    firstAt: row.first_at,
    lastJob: row.last_job,
    lastAt: row.last_at,
    lastId: row.last_id,
    executions: Number(row.executions),
    attempts: Number(row.attempts),
    ranges: Number(row.ranges),
    executionsDigest: BigInt(row.executions_digest),
    attemptsDigest: BigInt(row.attempts_digest),
    rangesDigest: BigInt(row.ranges_digest),
    objects: row.objects,
  }));
}

/** Everything is outside and was read back. @returns the archive as it is now; null when somebody else writes it. */
export async function archiveWritten(database: Queryable, archive: Archive): Promise<Archive | null> {
  const { rows } = await database.query<Archive>(
    `UPDATE archives a
        SET state = 'written', reason = NULL, detail = NULL, written_at = now(), updated_at = now(),
            executions = c.executions, attempts = c.attempts, ranges = c.ranges, bytes = c.bytes, executions_digest = c.executions_digest,
            attempts_digest = c.attempts_digest, ranges_digest = c.ranges_digest
       FROM (SELECT coalesce(sum(c.executions), 0) AS executions, coalesce(sum(c.attempts), 0) AS attempts, coalesce(sum(c.ranges), 0) AS ranges,
                    coalesce(sum(c.executions_digest), 0) AS executions_digest, coalesce(sum(c.attempts_digest), 0) AS attempts_digest,
                    coalesce(sum(c.ranges_digest), 0) AS ranges_digest,
                    coalesce(sum((SELECT sum((o ->> 'bytes')::bigint) FROM json_array_elements(c.objects) o)), 0) AS bytes
               FROM archive_chunks c WHERE c.archive_id = $1) c
      WHERE a.id = $1 AND a.claim = $2 AND a.state = 'writing'
     RETURNING ${COLUMNS.replaceAll(/\w+/g, 'a.$&')}`,
    [archive.id, archive.claim],
  );
  return rows[0] ?? null;
}

/** The newest migration: which columns the lines have. */
export async function schemaVersion(database: Queryable): Promise<string> {
  const { rows } = await database.query<{ name: string }>('SELECT name FROM schema_migrations ORDER BY name DESC LIMIT 1');
  return rows[0]?.name ?? 'unknown';
}
