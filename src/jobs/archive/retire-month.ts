/**
 * One month leaves the database. Each step can be interrupted and done again; two at once do no harm.
 *
 * 1. Nothing of the month may still happen: no unfinished execution, no clock that is behind. Else it is held.
 * 2. All rows are written to the place, in chunks, and read back (write-month.ts, verify-month.ts).
 * 3. The tables are detached: from here on nobody writes them. Only now can be said that what was written is all there is: rows and hashes of tables and archive are compared. If
 *    they differ, the tables are put back and the month is written anew.
 * 4. The tables are dropped, in the transaction that completes the archive.
 *
 * Whoever looks for an execution of the month finds it at any moment: in the tables while they are attached, in the archive, which is whole before they are detached.
 */
import type { Log } from '../../log.ts';
import type { Pool } from '../../postgres.ts';
import { newArchiveId } from '../ids.ts';
import { type Archive, archiveClaim, archiveHold, archiveOpen, archiveWritten, type HeldReason, schemaVersion } from './archive-store.ts';
import { rangesAfter } from './month-rows.ts';
import { attach, clockBehind, detach, digestOf, dropDetached, isEmpty, type MonthTable, tableNow, unfinishedIn } from './month-tables.ts';
import type { Place } from './place.ts';
import { verifyMonth } from './verify-month.ts';
import { ClaimLostError, writeMonth } from './write-month.ts';

export type Retired = { state: 'complete'; archive: Archive } | { state: 'stopped' } | { state: 'held'; reason: HeldReason };

/** Rows that come while a month is written may come again; not more often than this. */
const MOST_ROUNDS = 5;

export type RetireDeps = {
  pool: Pool;
  log: Log;
  /** Null: nowhere. */
  place: Place | null;
  signal: AbortSignal;
  /** Bytes of lines in an object. */
  chunkBytes?: number | undefined;
  /** Tests look at what is there between two steps. */
  onStep?: ((step: 'written' | 'detached') => Promise<void>) | undefined;
};
/** The tables of a month: its executions, its attempts, or both. */
export type Month = { month: Date; until: Date; tables: readonly MonthTable[] };

/** @throws PlaceError, ClaimLostError; Postgres' errors, e.g. 55P03 when a table is in use for too long */
export async function retireMonth(deps: RetireDeps, { month, until, tables }: Month): Promise<Retired> {
  const { pool, log, place, signal, onStep = async () => {} } = deps;
  const opened = await archiveOpen(pool, newArchiveId(), month, until);
  const { id } = opened;
  const nameOf = (parent: MonthTable['parent']) => tables.find((table) => table.parent === parent)?.name ?? null;
  const names = { executions: nameOf('job_executions'), attempts: nameOf('job_attempts') };

  await putBack();
  const held = await whyHeld();
  if (held) return hold(...held);
  for (let round = 1; round <= MOST_ROUNDS; round += 1) {
    const archive = await write(round > 1);
    if (!archive) return { state: 'stopped' };
    await onStep('written');
    for (const table of tables) await detach(pool, { ...table, pending: false });
    await onStep('detached');
    const unfinished = await unfinishedOf();
    if (unfinished || signal.aborted) {
      await putBack();
      return unfinished ? hold(...unfinished) : { state: 'stopped' };
    }
    if ((await isWhole(archive)) && (await dropDetached(pool, archive, tables))) return { state: 'complete', archive };
    await putBack();
    log.warn({ archive: id, month, round }, 'a month has changed while it was archived; it is archived anew');
  }
  throw new Error(`the tables of ${month.toISOString().slice(0, 7)} differ from archive ${id} whenever they are compared`);

  /** Tables that an interrupted pass has detached are partitions again. */
  async function putBack(): Promise<void> {
    for (const table of tables) {
      const now = await tableNow(pool, table);
      if (now?.pending) await detach(pool, now);
      if (now && !now.attached) await attach(pool, now);
    }
  }

  /** @param about what it is held by, for the log alone: it may be any team's. */
  async function hold(reason: HeldReason, detail: string, about?: string): Promise<Retired> {
    if (await archiveHold(pool, id, reason, detail)) log.warn({ archive: id, month, reason, about }, `a month is not archived: ${detail}`);
    return { state: 'held', reason };
  }

  async function unfinishedOf(): Promise<Held | null> {
    const execution = names.executions && (await unfinishedIn(pool, names.executions));
    return execution ? ['unfinished', 'an execution of this month has not ended; the log of the controller names it', execution] : null;
  }

  async function whyHeld(): Promise<Held | null> {
    const unfinished = await unfinishedOf();
    if (unfinished) return unfinished;
    const clock = await clockBehind(pool, until);
    if (clock) return ['clocks_behind', 'a clock has still to look for slots of this month; the log of the controller names it', clock];
    if (place) return null;
    return (await holdsNothing()) ? null : ['no_archive', NOWHERE];
  }

  async function holdsNothing(): Promise<boolean> {
    for (const { name } of tables) if (!(await isEmpty(pool, name))) return false;
    return (await rangesAfter(pool, { from: month, until, after: null, limit: 1 })).length === 0;
  }

  /** Goes on where the last writer came to, or begins anew, and reads everything back. Null when it was asked to stop. */
  async function write(anew: boolean): Promise<Archive | null> {
    const version = await schemaVersion(pool);
    const where = { place: place?.kind ?? null, address: place?.address ?? null, schemaVersion: version };
    const archive = await archiveClaim(pool, id, where, anew || opened.place !== where.place);
    if (!archive) throw new ClaimLostError(`archive ${id} has been completed by somebody else`);
    // of an empty month nothing is kept
    if (place) {
      if (!(await writeMonth({ pool, place, archive, tables: names, signal, chunkBytes: deps.chunkBytes }))) return null;
      if (!(await verifyMonth({ pool, place, archive, schemaVersion: version, signal }))) return null;
    }
    const written = await archiveWritten(pool, archive);
    if (!written) throw new ClaimLostError(`archive ${id} is written by somebody else now`);
    return written;
  }

  async function isWhole(archive: Archive): Promise<boolean> {
    const executions = names.executions ? await digestOf(pool, names.executions) : NOTHING;
    const attempts = names.attempts ? await digestOf(pool, names.attempts) : NOTHING;
    return (
      executions.rows === BigInt(archive.executions) &&
      executions.digest === BigInt(archive.executions_digest) &&
      attempts.rows === BigInt(archive.attempts) &&
      attempts.digest === BigInt(archive.attempts_digest)
    );
  }
}

type Held = [reason: HeldReason, detail: string, about?: string];

const NOWHERE = 'it is older than RETENTION_MONTHS, but there is nowhere to archive it: set ARCHIVE_DIR or ARCHIVE_S3_BUCKET';
const NOTHING = { rows: 0n, digest: 0n };
