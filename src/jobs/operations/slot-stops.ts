/** Slots that a job has by its timing and yet does not want, or may not run: excluded by calendars, not its own by its choice for changes of clocks, frozen. */
import type { Queryable } from '../../postgres.ts';
import { isStopped, stopRules } from '../calendars/slot-filter.ts';
import { runsUnder } from '../time/oracle.ts';
import type { Schedule } from '../time/schedule-document.ts';
import { timingOf } from '../time/timing.ts';

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

/** Leaves out what was in a freeze that covers the job: when that ends, its own catch-up decides about them. */
export async function withoutFrozen(database: Queryable, team: string, jobId: string, slots: readonly Date[]): Promise<Date[]> {
  const [first, last] = [slots[0], slots.at(-1)];
  if (!first || !last) return [];
  const { rows } = await database.query<{ from_at: Date; until: Date | null }>({
    name: 'freezes-over-slots',
    text: `SELECT f.from_at, coalesce(f.ended_at, f.to_at) AS until FROM freezes f JOIN jobs j ON j.id = $2 AND j.team = $1
            WHERE (f.team = $1 OR f.scope = 'global') AND f.from_at <= $4 AND coalesce(f.ended_at, f.to_at, 'infinity') > $3 AND freeze_covers(f, j)`,
    values: [team, jobId, first, last],
  });
  return slots.filter((slot) => !rows.some(({ from_at: from, until }) => from <= slot && (until === null || slot < until)));
}

/** Leaves out what the job's calendars and its choice for changes of clocks leave out, by the rules it has now. */
export async function withoutStopped(database: Queryable, team: string, jobId: string, slots: readonly Date[]): Promise<Date[]> {
  const [first, last] = [slots[0], slots.at(-1)];
  if (!first || !last) return [];
  const { rows } = await database.query<{ schedule: Schedule | null; created_at: Date }>({
    name: 'schedule-of-job',
    text: "SELECT j.document -> 'schedule' AS schedule, j.created_at FROM jobs j WHERE j.id = $2 AND j.team = $1",
    values: [team, jobId],
  });
  const schedule = rows[0]?.schedule;
  const timing = schedule && timingOf(schedule, rows[0]!.created_at);
  if (!schedule || !timing) return [...slots];
  const rules = await stopRules(database, team, schedule, first, new Date(last.getTime() + 1_000));
  const policy = schedule.dst ?? {};
  return slots.filter((slot) => isStopped(slot, rules) === null && runsUnder(timing, slot, policy) === null);
}
