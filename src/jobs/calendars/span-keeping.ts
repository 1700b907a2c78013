/** What the controller does for calendars: keeps their stretches ahead of time, and tells the jobs of a changed one that their next runs are to be looked at. */
import { inTransaction, type Pool, type Queryable, type Transaction } from '../../postgres.ts';
import { calendarLock } from './calendars-store.ts';
import { spansWrite } from './span-store.ts';

/** Stretches are written anew when they end earlier than this. */
const KEPT_AHEAD = '400 days';
/** Jobs marked in one transaction. */
const MARKED_AT_ONCE = 500;

export type ReadZone = { team: string; calendar: string; zone: string };
export type ChangedCalendar = { team: string; name: string; version: number };

/** Calendars and zones whose stretches end too soon, or are not those of the calendar as it is. */
export async function zonesToKeep(database: Queryable, limit: number): Promise<ReadZone[]> {
  const { rows } = await database.query<ReadZone>({
    name: 'calendar-zones-to-keep',
    text: `SELECT z.team, z.calendar, z.zone FROM calendar_zones z LEFT JOIN calendars c ON c.team = z.team AND c.name = z.calendar AND c.deleted_at IS NULL
            WHERE z.spans_until < now() + interval '${KEPT_AHEAD}' OR c.version IS DISTINCT FROM z.version ORDER BY z.spans_until LIMIT $1`,
    values: [limit],
  });
  return rows;
}

/** Writes the stretches of a calendar in a zone anew, or takes them away when no job reads it there any more. Jobs that were certain up to their end are marked. */
export async function zoneKeep(pool: Pool, { team, calendar, zone }: ReadZone): Promise<void> {
  const until = await inTransaction(pool, async (tx) => {
    // the calendar's lock keeps away jobs that begin to read it here
    const stored = await calendarLock(tx, team, calendar);
    if (!stored || !(await isRead(tx, team, calendar, zone))) {
      await tx.query('DELETE FROM calendar_spans WHERE team = $1 AND calendar = $2 AND zone = $3', [team, calendar, zone]);
      await tx.query('DELETE FROM calendar_zones WHERE team = $1 AND calendar = $2 AND zone = $3', [team, calendar, zone]);
      return null;
    }
    const { rows } = await tx.query<{ spans_until: Date }>(
      'SELECT spans_until FROM calendar_zones WHERE team = $1 AND calendar = $2 AND zone = $3',
      [team, calendar, zone],
    );
    await spansWrite(tx, team, { name: calendar, version: stored.version, document: stored.document }, zone, new Date());
    return rows[0]?.spans_until ?? null;
  });
  if (until) await jobsMark(pool, team, calendar, until);
}

async function isRead(tx: Transaction, team: string, calendar: string, zone: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    `SELECT 1 FROM job_runtime r JOIN jobs j ON j.id = r.job_id AND j.deleted_at IS NULL
      WHERE r.team = $1 AND r.calendar_zone = $3 AND ($2 = ANY (r.include_calendars) OR $2 = ANY (r.exclude_calendars)) LIMIT 1`,
    [team, calendar, zone],
  );
  return rowCount === 1;
}

/** Calendars whose jobs do not know of the last change yet. */
export async function calendarsToReplan(database: Queryable, limit: number): Promise<ChangedCalendar[]> {
  const { rows } = await database.query<{ team: string; name: string; version: string }>({
    name: 'calendars-to-replan',
    text: 'SELECT team, name, version FROM calendars WHERE replanned_version < version ORDER BY team, name LIMIT $1',
    values: [limit],
  });
  return rows.map(({ team, name, version }) => ({ team, name, version: Number(version) }));
}

/** Marks all jobs that a changed calendar may stop, so that their next runs are looked at. */
export const calendarJobsMark = (pool: Pool, { team, name }: ChangedCalendar): Promise<void> => jobsMark(pool, team, name, null);

/** Notes that all jobs of a calendar know of a version. */
export async function calendarReplanned(database: Queryable, { team, name, version }: ChangedCalendar): Promise<void> {
  await database.query({
    name: 'calendar-replanned',
    text: 'UPDATE calendars SET replanned_version = $3 WHERE team = $1 AND name = $2 AND replanned_version < $3',
    values: [team, name, version],
  });
}

/** @param from null: all jobs that name the calendar; else those that run next at that time or later. */
async function jobsMark(pool: Pool, team: string, name: string, from: Date | null): Promise<void> {
  let after = '';
  for (let marked = MARKED_AT_ONCE; marked === MARKED_AT_ONCE; ) {
    const { rows } = await pool.query<{ job_id: string }>({
      name: 'calendar-jobs-mark',
      text: `WITH taken AS MATERIALIZED (
               SELECT r.job_id FROM job_runtime r
                WHERE r.team = $1 AND r.calendar_zone IS NOT NULL AND r.job_id > $3 AND ($2 = ANY (r.include_calendars) OR $2 = ANY (r.exclude_calendars))
                  AND ($4::timestamptz IS NULL OR r.next_run_at >= $4)
                ORDER BY r.job_id LIMIT ${MARKED_AT_ONCE} FOR UPDATE
             ), marked AS (
               UPDATE job_runtime r SET next_run_unsure = true FROM taken t WHERE r.job_id = t.job_id AND r.team = $1
             )
             SELECT t.job_id FROM taken t ORDER BY t.job_id`,
      values: [team, name, after, from],
    });
    marked = rows.length;
    after = rows.at(-1)?.job_id ?? after;
  }
}
