/**
 * Writes the rows of a month to their place, chunk by chunk. A chunk is noted when its objects are there: whoever goes on after a kill begins behind the last one. Objects carry
 * the claim in their names, so that two writers never write over each other; only one of them is believed.
 */
import { hash } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Pool } from '../../postgres.ts';
import { type Archive, type ArchivedTable, type ArchiveObject, type Chunk, chunkInsert, chunksOf } from './archive-store.ts';
import { type Line, type LooseLine, looseAttempts, type Position, pagesOf, rangesAfter } from './month-rows.ts';
import type { Place } from './place.ts';

const compress = promisify(gzip);

/** Bytes of lines in an object, before compression (about a tenth of it after): small enough to be read for a single execution. */
const CHUNK_BYTES = 16 * 1024 * 1024;
const MOST_LOOSE = 100_000;
const RANGES_AT_ONCE = 20_000;

const TABLES: readonly ArchivedTable[] = ['executions', 'attempts', 'ranges'];

/** Thrown when somebody else has taken the archive over. */
export class ClaimLostError extends Error {
  override name = 'ClaimLostError';
}

type Gathered = { team: string; first: Position; last: Position; lines: Record<ArchivedTable, Line[]>; bytes: number };

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

  async function add(first: Position, last: Position, lines: Partial<Record<ArchivedTable, readonly Line[]>>): Promise<void> {
    if (open && open.team !== first.team) await flush();
    open = gather(open, first, last, lines);
    if (open.bytes >= chunkBytes) await flush();
  }

  /** Lines without an execution, from one position to the next. */
  async function addLoose(table: ArchivedTable, loose: readonly LooseLine[]): Promise<void> {
    for (const line of loose) await add(line, line, { [table]: [line] });
  }

  if (tables.executions) {
    for await (const { team, executions, attempts } of pagesOf(pool, { executions: tables.executions, attempts: tables.attempts }, after)) {
      if (signal.aborted) return false;
      await add({ team, ...executions[0]! }, { team, ...executions.at(-1)! }, { executions, attempts });
    }
    await flush();
    if (tables.attempts && !written.some((chunk) => chunk.executions === 0 && chunk.attempts > 0)) {
      await addLoose('attempts', await looseAttempts(pool, { executions: tables.executions, attempts: tables.attempts }, MOST_LOOSE));
      await flush();
    }
  }
  const lastRange = written.findLast((chunk) => chunk.ranges > 0);
  let position = lastRange ? { team: lastRange.team, job: lastRange.lastJob, at: lastRange.lastAt, id: lastRange.lastId } : null;
  for (let some = true; some; ) {
    if (signal.aborted) return false;
    const ranges = await rangesAfter(pool, { from: archive.month, until: archive.until, after: position, limit: RANGES_AT_ONCE });
    await addLoose('ranges', ranges);
    position = ranges.at(-1) ?? null;
    some = ranges.length === RANGES_AT_ONCE;
  }
  await flush();
  return !signal.aborted;
}

function gather(open: Gathered | null, first: Position, last: Position, lines: Partial<Record<ArchivedTable, readonly Line[]>>): Gathered {
  const gathered = open ?? { team: first.team, first, last, lines: { executions: [], attempts: [], ranges: [] }, bytes: 0 };
  gathered.last = last;
  for (const table of TABLES) {
    for (const each of lines[table] ?? []) {
      gathered.lines[table].push(each);
      gathered.bytes += each.line.length + 1;
    }
  }
  return gathered;
}

async function writeChunk({ pool, place, archive }: MonthToWrite, nth: number, gathered: Gathered): Promise<void> {
  const objects: ArchiveObject[] = [];
  for (const table of TABLES) {
    const lines = gathered.lines[table];
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
    executions: gathered.lines.executions.length,
    attempts: gathered.lines.attempts.length,
    ranges: gathered.lines.ranges.length,
    executionsDigest: sumOf(gathered.lines.executions),
    attemptsDigest: sumOf(gathered.lines.attempts),
    rangesDigest: sumOf(gathered.lines.ranges),
    objects,
  };
  if (!(await chunkInsert(pool, archive, chunk))) throw new ClaimLostError(`archive ${archive.id} is written by somebody else now`);
}

const sumOf = (lines: readonly Line[]): bigint => lines.reduce((sum, { digest }) => sum + digest, 0n);
