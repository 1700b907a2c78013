/** Jobs whose business days follow a shared calendar: when it has changed, or another year is to be written, they get other dates as their next generation. */
import { inTransaction, type Pool, type Queryable, type Transaction } from '../../postgres.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import { changeJob } from '../job-change.ts';
import { sameJson } from '../job-json.ts';
import { jobLock } from '../job-store.ts';
import type { Schedule } from '../time/schedule-document.ts';
import { checkCalendars } from './calendar-references.ts';
import { holidayPlaces, withHolidayDates } from './holiday-dates.ts';

type JobRow = { id: string; team: string; schedule: Schedule };
const AT_ONCE = 200;

/** Jobs with calendar rules in the order of their ids, of one team or of all. */
async function jobsWithRules(database: Queryable, team: string | null, after: string): Promise<JobRow[]> {
  const { rows } = await database.query<JobRow>(
    `SELECT j.id, j.team, j.document -> 'schedule' AS schedule FROM jobs j
      WHERE (j.document #> '{schedule,calendar}') IS NOT NULL AND j.deleted_at IS NULL AND ($1::text IS NULL OR j.team = $1) AND j.id > $2
      ORDER BY j.id LIMIT ${AT_ONCE}`,
    [team, after],
  );
  return rows;
}

const callerOf = (team: string): Caller => ({ holder: 'almanac', name: 'almanac', team, role: 'admin', requestId: 'calendars' });

/**
 * Brings the dates of these jobs to what their calendars say now; those that are right already are left alone.
 * @param of a calendar that has changed; null: all calendars of all teams.
 * @param onRefused told of a job that would have no time ahead, and keeps the dates it has.
 * @returns how many jobs have another generation now: their clocks wait to be reconciled.
 */
export async function holidayJobsReplan(
  pool: Pool,
  of: { team: string; name: string } | null,
  onRefused: (jobId: string, error: JobError) => void,
  now = new Date(),
): Promise<number> {
  let changed = 0;
  for (let after = ''; ; ) {
    const rows = await jobsWithRules(pool, of?.team ?? null, after);
    for (const { id, team, schedule } of rows) {
      if (!holidayPlaces(schedule).some(({ name }) => of === null || name === of.name)) continue;
      try {
        if (sameJson((await withHolidayDates(pool, team, { schedule }, now)).schedule, schedule)) continue;
        if (await inTransaction(pool, (tx) => redate(tx, team, id, now))) changed += 1;
      } catch (error) {
        if (!(error instanceof JobError)) throw error;
        onRefused(id, error);
      }
    }
    if (rows.length < AT_ONCE) return changed;
    after = rows.at(-1)!.id;
  }
}

async function redate(tx: Transaction, team: string, id: string, now: Date): Promise<boolean> {
  const locked = await jobLock(tx, team, id);
  if (!locked) return false;
  const { job, at } = locked;
  await checkCalendars(tx, job.document);
  const document = await withHolidayDates(tx, team, job.document, now);
  if (sameJson(document, job.document)) return false;
  await changeJob(tx, callerOf(team), job, document, at, () => job.queue, 'job.redated');
  return true;
}
