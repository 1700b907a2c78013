/**
 * Writes the rows of a month to their place, chunk by chunk. A chunk is noted when its objects are there: whoever goes on after a kill begins behind the last one. Objects carry
 * the claim in their names, so that two writers never write over each other; only one of them is believed.
 */
import { hash } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Pool } from '../../postgres.ts';
import { type Archive, type ArchiveObject, type Chunk, chunkInsert, chunksOf } from './archive-store.ts';
import { type Line, looseAttempts, type Page, type Position, pagesOf } from './month-rows.ts';
import type { Place } from './place.ts';

const compress = promisify(gzip);

/** Bytes of lines in an object, before compression (about a tenth of it after): small enough to be read for a single execution. */
const CHUNK_BYTES = 16 * 1024 * 1024;
const MOST_LOOSE = 100_000;

/** Thrown when somebody else has taken the archive over. */
export class ClaimLostError extends Error {
  override name = 'ClaimLostError';
}

type Gathered = { team: string; first: Position; last: Position; executions: Line[]; attempts: Line[]; bytes: number };

export type MonthToWrite = {
  pool: Pool;
  place: Place;
  /** Claimed by the caller. */
  archive: Archive;
  /** Names of the month's tables; null: that one is not there. */
  tables: { executions: string | null; attempts: string | null };
  signal: AbortSignal;
  chunkBytes?: number | undefined;
};

/**
 * Writes what is not written yet.
 * @returns false when it was asked to stop before the end.
 * @throws PlaceError, ClaimLostError
 */
export async function writeMonth(month: MonthToWrite): Promise<boolean> {
  const { pool, archive, tables, signal, chunkBytes = CHUNK_BYTES } = month;
  const written = await chunksOf(pool, archive.id);
  const last = written.findLast((chunk) => chunk.executions > 0);
  const after: Position | null = last ? { team: last.team, job: last.lastJob, at: last.lastAt, id: last.lastId } : null;
  let nth = written.length === 0 ? 1 : written.at(-1)!.nth + 1;
  let open: Gathered | null = null;

  async function flush(): Promise<void> {
    if (!open) return;
    await writeChunk(month, nth, open);
    nth += 1;
    open = null;
  }

  if (tables.executions) {
    for await (const page of pagesOf(pool, { executions: tables.executions, attempts: tables.attempts }, after)) {
      if (signal.aborted) return false;
      if (open && open.team !== page.team) await flush();
      open = gather(open, page);
      if (open.bytes >= chunkBytes) await flush();
    }
    await flush();
    if (tables.attempts && !written.some((chunk) => chunk.executions === 0)) {
      for (const attempt of await looseAttempts(pool, { executions: tables.executions, attempts: tables.attempts }, MOST_LOOSE)) {
        if (open && (open as Gathered).team !== attempt.team) await flush();
        open = gather(open, { team: attempt.team, executions: [], attempts: [attempt], position: attempt });
      }
      await flush();
    }
  }
  return !signal.aborted;
}

function gather(open: Gathered | null, page: Page & { position?: Position }): Gathered {
  const first = page.position ?? { team: page.team, ...page.executions[0]! };
  const last = page.position ?? { team: page.team, ...page.executions.at(-1)! };
  const gathered = open ?? { team: page.team, first, last, executions: [], attempts: [], bytes: 0 };
  gathered.last = last;
  for (const each of page.executions) gathered.executions.push(each);
  for (const each of page.attempts) gathered.attempts.push(each);
  for (const { line } of [...page.executions, ...page.attempts]) gathered.bytes += line.length + 1;
  return gathered;
}

async function writeChunk({ pool, place, archive }: MonthToWrite, nth: number, gathered: Gathered): Promise<void> {
  const objects: ArchiveObject[] = [];
  for (const table of ['executions', 'attempts'] as const) {
    const lines = gathered[table];
    if (lines.length === 0) continue;
    const raw = Buffer.from(lines.map(({ line }) => `${line}\n`).join(''));
    const bytes = await compress(raw);
    const name = `${archive.folder}/${table}-${String(nth).padStart(5, '0')}-${archive.claim}.ndjson.gz`;
    await place.put(name, bytes);
    objects.push({ table, name, rows: lines.length, bytes: bytes.length, rawBytes: raw.length, sha256: hash('sha256', bytes) });
  }
  const chunk: Chunk = {
    nth,
    team: gathered.team,
    firstJob: gathered.first.job,
    firstAt: gathered.first.at,
    lastJob: gathered.last.job,
    lastAt: gathered.last.at,
    lastId: gathered.last.id,
    executions: gathered.executions.length,
    attempts: gathered.attempts.length,
    executionsDigest: sumOf(gathered.executions),
    attemptsDigest: sumOf(gathered.attempts),
    objects,
  };
  if (!(await chunkInsert(pool, archive, chunk))) throw new ClaimLostError(`archive ${archive.id} is written by somebody else now`);
}

const sumOf = (lines: readonly Line[]): bigint => lines.reduce((sum, { digest }) => sum + digest, 0n);
