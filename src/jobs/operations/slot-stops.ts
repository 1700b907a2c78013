/** Slots that a job has by its timing and yet does not want, or may not run: excluded by calendars, not its own by its choice for changes of clocks, frozen. */
import type { Queryable } from '../../postgres.ts';
import { isStopped, stopRules } from '../calendars/slot-filter.ts';
import { runsUnder } from '../time/oracle.ts';
import type { Schedule } from '../time/schedule-document.ts';
import { timingOf } from '../time/timing.ts';
import type { JobSlot } from './expected-slots.ts';

/** The freeze that holds a job now, or null. */
export async function freezeOver(
  database: Queryable,
  team: string,
  jobId: string,
): Promise<{ freezeId: string; reason: string; until: Date | null } | null> {
  const { rows } = await database.query<{ freezeId: string; reason: string; until: Date | null }>({
    name: 'freeze-over-job',
    text: `SELECT f.id AS "freezeId", f.reason, coalesce(f.ended_at, f.to_at) AS until FROM freezes f JOIN jobs j ON j.id = $2 AND j.team = $1
            WHERE (f.team = $1 OR f.scope = 'global') AND f.settled_at IS NULL AND f.from_at <= clock_timestamp()
              AND coalesce(f.ended_at, f.to_at, 'infinity') > clock_timestamp() AND freeze_covers(f, j)
            ORDER BY f.from_at LIMIT 1`,
    values: [team, jobId],
  });
  return rows[0] ?? null;
}

/** Leaves out what was in a freeze that covers its job: when that ends, its own catch-up decides about them. */
export async function withoutFrozen(database: Queryable, team: string, slots: readonly JobSlot[]): Promise<JobSlot[]> {
  if (slots.length === 0) return [];
  const times = slots.map(({ slot }) => slot.getTime());
  const { rows } = await database.query<{ job_id: string; from_at: Date; until: Date | null }>({
    name: 'freezes-over-slots',
    text: `SELECT j.id AS job_id, f.from_at, coalesce(f.ended_at, f.to_at) AS until
             FROM freezes f JOIN jobs j ON j.id = ANY ($2::text[]) AND j.team = $1
            WHERE (f.team = $1 OR f.scope = 'global') AND f.from_at <= $4 AND coalesce(f.ended_at, f.to_at, 'infinity') > $3 AND freeze_covers(f, j)`,
    values: [team, idsOf(slots), new Date(times.reduce((a, b) => Math.min(a, b))), new Date(times.reduce((a, b) => Math.max(a, b)))],
  });
  const ofJob = Map.groupBy(rows, (row) => row.job_id);
  return slots.filter(
    ({ jobId, slot }) => !ofJob.get(jobId)?.some(({ from_at: from, until }) => from <= slot && (until === null || slot < until)),
  );
}

/** Leaves out what the job's calendars and its choice for changes of clocks leave out, by the rules it has now. */
export async function withoutStopped(database: Queryable, team: string, jobId: string, slots: readonly Date[]): Promise<Date[]> {
  const asked = slots.map((slot) => ({ jobId, slot }));
  return (await withoutStoppedOfMany(database, team, asked)).map(({ slot }) => slot);
}

/** The same of the slots of many jobs; each job's own are in order. */
export async function withoutStoppedOfMany(database: Queryable, team: string, slots: readonly JobSlot[]): Promise<JobSlot[]> {
  if (slots.length === 0) return [];
  const { rows } = await database.query<{ id: string; schedule: Schedule | null; created_at: Date }>({
    name: 'schedules-of-jobs',
    text: "SELECT j.id, j.document -> 'schedule' AS schedule, j.created_at FROM jobs j WHERE j.id = ANY ($2::text[]) AND j.team = $1",
    values: [team, idsOf(slots)],
  });
  const jobs = new Map(rows.map((row) => [row.id, row]));
  const kept: JobSlot[] = [];
  for (const [jobId, ofJob] of Map.groupBy(slots, (one) => one.jobId)) {
    const schedule = jobs.get(jobId)?.schedule;
    const timing = schedule && timingOf(schedule, jobs.get(jobId)!.created_at);
    if (!schedule || !timing) {
      for (const one of ofJob) kept.push(one);
      continue;
    }
    const rules = await stopRules(database, team, schedule, ofJob[0]!.slot, new Date(ofJob.at(-1)!.slot.getTime() + 1_000));
    const policy = schedule.dst ?? {};
    for (const one of ofJob) if (isStopped(one.slot, rules) === null && runsUnder(timing, one.slot, policy) === null) kept.push(one);
  }
  return kept;
}

const idsOf = (slots: readonly JobSlot[]): string[] => [...new Set(slots.map(({ jobId }) => jobId))];
