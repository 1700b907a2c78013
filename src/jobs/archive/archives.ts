/** Use cases on archives: which months have left, what an archive holds, and reading it back. */
import { setImmediate as yieldTurn } from 'node:timers/promises';
import type { Config } from '../../config.ts';
import type { Pool } from '../../postgres.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import type { AttemptRow } from '../execution-queries.ts';
import { type ExecutionRow, type ExecutionView, executionView } from '../execution-view.ts';
import { jobIdOf, partitionAtOf } from '../ids.ts';
import {
  type ArchiveKey,
  type ArchiveRow,
  archiveFind,
  archivesList,
  chunksFrom,
  chunksWith,
  manifestChunks,
  type OwnChunk,
} from './archive-queries.ts';
import type { ArchiveObject } from './archive-store.ts';
import { attemptOfLine, executionOfLine, mayBeOf, timeOfLine } from './archived-execution.ts';
import { chunkLines } from './chunk-lines.ts';
import { type Manifest, manifestOf } from './manifest.ts';
import { type Place, PlaceError, type Places } from './place.ts';

export type ArchiveView = {
  id: string;
  /** `2025-03`. */
  month: string;
  /** held: it stays, `reason` says why; writing; written: outside as a whole; complete: removed from the database. */
  state: ArchiveRow['state'];
  reason: string | null;
  detail: string | null;
  place: ArchiveRow['place'];
  /** Where its objects are, as the settings name it. */
  address: string | null;
  /** Of the caller's team. */
  executions: number;
  attempts: number;
  /** Stretches in which slots did not run, that ended in the month. */
  ranges: number;
  bytes: number;
  createdAt: string;
  writtenAt: string | null;
  completedAt: string | null;
};
export type ArchivedExecution = { row: ExecutionRow; attempts: AttemptRow[]; archive: string };
/** Where a page of executions ended: chunk and line. */
export type LinePosition = { chunk: number; line: number };
export type ArchivedQuery = {
  jobId?: string | undefined;
  from?: Date | undefined;
  to?: Date | undefined;
  limit: number;
  after?: LinePosition | undefined;
};
export type Archives = ReturnType<typeof createArchives>;

/** Objects opened for one page: a page may be short of items, so that no request reads a whole month. */
const MOST_OBJECTS = 8;

export function createArchives({ pool, config, places }: { pool: Pool; config: Config; places: Places }) {
  async function find(caller: Caller, id: string): Promise<ArchiveRow> {
    const row = await archiveFind(pool, caller.team, id);
    if (!row)
      throw new JobError(
        'not_found',
        'archive_not_found',
        `There is no archive ${JSON.stringify(id.slice(0, 80))}; GET /api/v1/archives lists all archives.`,
      );
    return row;
  }

  function placeOf(chunk: OwnChunk): Place {
    const place = places.of(chunk.place);
    if (place) return place;
    const setting = chunk.place === 'bucket' ? 'ARCHIVE_S3_BUCKET' : 'ARCHIVE_DIR';
    throw unreadable(chunk.archive, `it is in a ${chunk.place} that this API does not know; set ${setting} for it as for the controller`);
  }

  async function lines(chunk: OwnChunk, table: ArchiveObject['table']): Promise<string[]> {
    const object = chunk.objects.find((one) => one.table === table);
    if (!object) return [];
    try {
      return await chunkLines(placeOf(chunk), object);
    } catch (error) {
      if (error instanceof PlaceError) throw unreadable(chunk.archive, error.message, error);
      throw error;
    }
  }

  return {
    /** Newest month first; also those that can not leave, with the reason. */
    async list(
      caller: Caller,
      query: { limit: number; after?: ArchiveKey | undefined },
    ): Promise<{ items: ArchiveView[]; next: ArchiveKey | null }> {
      const { rows, next } = await archivesList(pool, caller.team, query);
      return { items: rows.map(viewOf), next };
    },

    /** One archive, with the objects that hold the team's rows. */
    async get(caller: Caller, id: string): Promise<ArchiveView & { manifest: Manifest }> {
      const row = await find(caller, id);
      const chunks = await manifestChunks(pool, caller.team, id);
      return { ...viewOf(row), manifest: manifestOf(row, row.schema_version ?? '', chunks) };
    },

    /** The team's executions in an archive, by job and time; a page may be short before the last. @throws JobError `unavailable` when its place can not be read. */
    async executions(caller: Caller, id: string, query: ArchivedQuery): Promise<{ items: ExecutionView[]; next: LinePosition | null }> {
      await find(caller, id);
      const { jobId, from, to, limit, after } = query;
      const wanted = (row: ExecutionRow) =>
        row.team === caller.team &&
        (jobId === undefined || row.job_id === jobId) &&
        (from === undefined || row.partition_at >= from) &&
        (to === undefined || row.partition_at < to);
      const items: ExecutionView[] = [];
      const chunks = await chunksFrom(pool, {
        team: caller.team,
        archive: id,
        from: after?.chunk ?? 0,
        job: jobId ?? null,
        limit: MOST_OBJECTS + 1,
      });
      for (const chunk of chunks.slice(0, MOST_OBJECTS)) {
        await yieldTurn();
        const all = await lines(chunk, 'executions');
        for (let line = chunk.nth === after?.chunk ? after.line : 0; line < all.length; line += 1) {
          const text = all[line]!;
          if (jobId !== undefined && !mayBeOf(text, jobId)) continue;
          // most lines need no more than a look at their beginning
          const at = from || to ? timeOfLine(text) : null;
          if (at !== null && ((from && at < from.getTime()) || (to && at >= to.getTime()))) continue;
          const row = executionOfLine(text);
          if (!wanted(row)) continue;
          if (items.length === limit) return { items, next: { chunk: chunk.nth, line } };
          items.push(executionView(row, config));
        }
      }
      const later = chunks[MOST_OBJECTS];
      return { items, next: later ? { chunk: later.nth, line: 0 } : null };
    },

    /** An execution that has left the database; null when no archive has it. @throws JobError `unavailable` when its place can not be read. */
    async execution(caller: Caller, id: string): Promise<ArchivedExecution | null> {
      const [job, at] = [jobIdOf(id), partitionAtOf(id)];
      if (!job || !at) return null;
      for (const chunk of await chunksWith(pool, caller.team, job, at)) {
        const found = (await lines(chunk, 'executions'))
          .filter((text) => mayBeOf(text, id))
          .map(executionOfLine)
          .find((row) => row.id === id && row.team === caller.team);
        if (!found) continue;
        const attempts = (await lines(chunk, 'attempts'))
          .filter((text) => mayBeOf(text, id))
          .map(attemptOfLine)
          .filter((attempt) => attempt.execution_id === id);
        return { row: found, attempts, archive: chunk.archive };
      }
      return null;
    },
  };
}

const unreadable = (archive: string, why: string, cause?: unknown) =>
  new JobError('unavailable', 'archive_unreadable', `Archive ${archive} can not be read at the moment: ${why}.`, {
    extra: { archive },
    retryAfterS: 30,
    cause,
  });

const viewOf = (row: ArchiveRow): ArchiveView => ({
  id: row.id,
  month: row.month.toISOString().slice(0, 7),
  state: row.state,
  reason: row.reason,
  detail: row.detail,
  place: row.place,
  address: row.address,
  executions: Number(row.executions),
  attempts: Number(row.attempts),
  ranges: Number(row.ranges),
  bytes: Number(row.bytes),
  createdAt: row.created_at.toISOString(),
  writtenAt: row.written_at?.toISOString() ?? null,
  completedAt: row.completed_at?.toISOString() ?? null,
});
