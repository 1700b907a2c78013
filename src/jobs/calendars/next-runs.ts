/**
 * When a job really runs next. Admit and the writes of jobs note the next slot of the clock and, where calendars may stop it, that nobody has looked
 * (`next_run_unsure`); looking needs the oracle, so it is done here: at once by who creates or edits a job, by the controller for all others.
 */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { StoredJob } from '../job-store.ts';
import { nextSlots } from '../time/oracle.ts';
import { windowOf } from '../time/preview.ts';
import type { Schedule } from '../time/schedule-document.ts';
import { timingOf } from '../time/timing.ts';
import { calendarNamesOf } from './calendar-references.ts';
import { nextRunning, type StopRules, workableRules } from './slot-filter.ts';

type UnsureRow = {
  job_id: string;
  team: string;
  schedule: Schedule | null;
  created_at: Date;
  fires: boolean;
  next_run_at: Date | null;
  include_calendars: string[] | null;
  exclude_calendars: string[] | null;
  calendar_zone: string | null;
};

const COLUMNS = `r.job_id, r.team, j.document -> 'schedule' AS schedule, j.created_at, j.state = 'active' AND j.clock_id IS NOT NULL AS fires, r.next_run_at,
       r.include_calendars, r.exclude_calendars, r.calendar_zone`;

/** Makes exact when these jobs run next; those of which it is certain are left. The caller holds their locks. Returns the new times by job id. */
export async function nextRunsOf(tx: Transaction, team: string, jobIds: readonly string[]): Promise<Map<string, Date | null>> {
  const { rows } = await tx.query<UnsureRow>({
    name: 'next-runs-of',
    text: `SELECT ${COLUMNS} FROM job_runtime r JOIN jobs j ON j.id = r.job_id
            WHERE r.team = $1 AND r.job_id = ANY ($2::text[]) AND r.next_run_unsure ORDER BY r.job_id`,
    values: [team, jobIds],
  });
  return settle(tx, rows, new Date());
}

/** A job that has just been written under its lock, with the time at which its calendars let it run next. */
export async function withExactRun(tx: Transaction, job: StoredJob): Promise<StoredJob> {
  if (calendarNamesOf(job.document).length === 0) return job;
  const exact = (await nextRunsOf(tx, job.team, [job.id])).get(job.id);
  return exact === undefined ? job : { ...job, nextRunAt: exact };
}

/** The same for some jobs of all teams that nobody else is writing now; returns how many there were. */
export async function nextRunsTake(tx: Transaction, limit: number): Promise<number> {
  const { rows } = await tx.query<UnsureRow>({
    name: 'next-runs-take',
    text: `SELECT ${COLUMNS} FROM job_runtime r JOIN jobs j ON j.id = r.job_id
            WHERE r.next_run_unsure ORDER BY r.job_id LIMIT $1 FOR UPDATE OF r SKIP LOCKED`,
    values: [limit],
  });
  await settle(tx, rows, new Date());
  return rows.length;
}

async function settle(tx: Transaction, rows: readonly UnsureRow[], now: Date): Promise<Map<string, Date | null>> {
  const settled = new Map<string, Date | null>();
  if (rows.length === 0) return settled;
  const rules = new Map<string, StopRules | null>();
  for (const row of rows) settled.set(row.job_id, await nextRunOf(tx, row, now, rules));
  await tx.query({
    name: 'next-runs-write',
    text: `UPDATE job_runtime r SET next_run_at = n.next_run_at, next_run_unsure = false
             FROM unnest($1::text[], $2::timestamptz[]) AS n (job_id, next_run_at) WHERE r.job_id = n.job_id`,
    values: [[...settled.keys()], [...settled.values()]],
  });
  return settled;
}

async function nextRunOf(tx: Queryable, row: UnsureRow, now: Date, known: Map<string, StopRules | null>): Promise<Date | null> {
  const { schedule, next_run_at: noted } = row;
  const timing = schedule && row.fires ? timingOf(schedule, row.created_at) : null;
  if (!schedule || !timing) return noted;
  // a slot that is due and not decided yet is still the next one
  const due = noted && noted < now ? noted : now;
  const after = new Date(due.getTime() - (due === noted ? 1 : 0));
  const { include_calendars: include, exclude_calendars: exclude, calendar_zone: timezone } = row;
  const key = JSON.stringify([row.team, include, exclude, timezone, due === noted ? noted : null]);
  let rules = known.get(key);
  if (rules === undefined) {
    rules = timezone === null ? null : await workableRules(tx, row.team, { include, exclude, timezone }, after);
    known.set(key, rules);
  }
  const window = windowOf(schedule);
  const policy = schedule.dst ?? {};
  const [next] = nextRunning(timing, after, 1, window, policy, rules);
  if (next || !rules) return next ?? null;
  // all that is known is stopped: it can not be earlier than what follows that
  return nextSlots(timing, new Date(rules.to.getTime() - 1), 1, window, policy)[0] ?? null;
}
