/**
 * Loop: months that are older than RETENTION_MONTHS leave the database, one after the other, each into an archive first (src/jobs/archive/retire-month.ts). What can not leave stays, and
 * says why in its row, in the log and as a metric: a month is never removed because something is in its way.
 */
import { archiveHold, archiveOpen } from '../jobs/archive/archive-store.ts';
import { type MonthTable, monthTables } from '../jobs/archive/month-tables.ts';
import { membershipsForget } from '../jobs/archive/old-memberships.ts';
import { type Place, PlaceError } from '../jobs/archive/place.ts';
import { type Month, type RetireDeps, type Retired, retireMonth } from '../jobs/archive/retire-month.ts';
import { ClaimLostError } from '../jobs/archive/write-month.ts';
import { newArchiveId } from '../jobs/ids.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const INTERVAL_MS = 600_000;
const BATCH = 1_000;
/** Postgres: the lock was not to be had in time. */
const LOCKED = '55P03';
const REASONS = ['no_archive', 'unfinished', 'clocks_behind', 'place_failed'] as const;

/** Executions before this moment leave: whole months of UTC, so that between `months` and `months` + 1 of them stay. */
export const retainedFrom = (now: Date, months: number): Date => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - months, 1));

/** The tables of months, oldest first. */
export function monthsOf(tables: readonly MonthTable[]): Month[] {
  const months = new Map<number, Month & { tables: MonthTable[] }>();
  for (const table of tables) {
    const { month, until } = table;
    const known = months.get(month.getTime()) ?? { month, until, tables: [] };
    known.tables.push(table);
    months.set(month.getTime(), known);
  }
  return [...months.values()];
}

export type RetentionDeps = {
  pool: Pool;
  log: Log;
  metrics: Metrics;
  place: Place | null;
  months: number;
} & Pick<RetireDeps, 'chunkBytes' | 'onStep'>;

export function createRetention(deps: RetentionDeps) {
  const { pool, log, metrics, months } = deps;

  async function retire(month: Month, signal: AbortSignal): Promise<Retired> {
    try {
      return await retireMonth({ ...deps, signal }, month);
    } catch (error) {
      if (error instanceof PlaceError) {
        const { id } = await archiveOpen(pool, newArchiveId(), month.month, month.until);
        if (await archiveHold(pool, id, 'place_failed', error.message))
          log.error(
            { archive: id, month: month.month, error: error.message },
            'a month can not be archived where it should be; it stays until it can',
          );
        return { state: 'held', reason: 'place_failed' };
      }
      if (error instanceof ClaimLostError || (error as { code?: string }).code === LOCKED) {
        log.info(
          { month: month.month, error: (error as Error).message },
          'a month is archived by somebody else, or in use; it is looked at again',
        );
        return { state: 'stopped' };
      }
      throw error;
    }
  }

  /** One look at all months that are old enough. @returns what became of each. */
  async function pass(now: Date, signal: AbortSignal): Promise<Retired[]> {
    const results: Retired[] = [];
    for (const month of monthsOf(await monthTables(pool, retainedFrom(now, months)))) {
      if (signal.aborted) break;
      const retired = await retire(month, signal);
      results.push(retired);
      // what keeps one table from being detached keeps the others as well
      if (retired.state === 'stopped') break;
      if (retired.state !== 'complete') continue;
      const { archive } = retired;
      metrics.archivedRows.inc({ table: 'executions' }, Number(archive.executions));
      metrics.archivedRows.inc({ table: 'attempts' }, Number(archive.attempts));
      metrics.archivedRows.inc({ table: 'ranges' }, Number(archive.ranges));
      log.info(
        { archive: archive.id, month: month.month, executions: archive.executions, attempts: archive.attempts },
        'a month was archived and removed',
      );
    }
    // whoever asks what was expected in a month that is still here is told
    if (!signal.aborted && results.every(({ state }) => state === 'complete')) {
      while ((await membershipsForget(pool, retainedFrom(now, months), BATCH)) === BATCH && !signal.aborted);
    }
    for (const reason of REASONS) {
      metrics.retentionHeld.set({ reason }, results.filter((retired) => retired.state === 'held' && retired.reason === reason).length);
    }
    return results;
  }

  return { pass };
}

/** The loop around it. */
export function createRetentionLoop(deps: RetentionDeps & { servers: Servers }): Loop {
  const { pass } = createRetention(deps);
  if (!deps.place)
    deps.log.info(
      'no archive is set (ARCHIVE_DIR, ARCHIVE_S3_BUCKET): executions stay in the database, also when they are older than RETENTION_MONTHS',
    );
  return createLoop({
    name: 'retention',
    intervalMs: INTERVAL_MS,
    needs: ['Postgres'],
    servers: deps.servers,
    log: deps.log,
    pass: async (signal) => {
      await alone(deps.pool, 'retention', () => pass(new Date(), signal));
      return undefined;
    },
  });
}
