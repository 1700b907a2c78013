/** Statements by which freezes that are over are settled. They read every team: the controller serves all. */
import type { Queryable, Transaction } from '../../postgres.ts';

/** Jobs with stretches of these freezes, in the order of their ids. @param after the last one seen. */
export async function jobsToSettle(database: Queryable, freezeIds: readonly string[], after: string, limit: number): Promise<string[]> {
  const { rows } = await database.query<{ job_id: string }>({
    name: 'freeze-jobs-to-settle',
    text: `SELECT DISTINCT g.job_id FROM slot_ranges g
            WHERE g.freeze_id = ANY ($1::text[]) AND g.settled_at IS NULL AND g.job_id > $2 ORDER BY g.job_id LIMIT $3`,
    values: [freezeIds, after, limit],
  });
  return rows.map(({ job_id }) => job_id);
}

/** Settles stretches of jobs that have been purged meanwhile as admit left them: there is nobody to ask, and nothing to catch up. */
export async function rangesOfNobodySettle(database: Queryable, freezeIds: readonly string[]): Promise<void> {
  await database.query({
    name: 'freeze-ranges-of-nobody',
    text: `UPDATE slot_ranges g SET settled_at = clock_timestamp()
            WHERE g.freeze_id = ANY ($1::text[]) AND g.settled_at IS NULL AND NOT EXISTS (SELECT 1 FROM job_runtime r WHERE r.job_id = g.job_id)`,
    values: [freezeIds],
  });
}

/** What is looked at before a job is settled: it is free when no freeze holds it any more. */
export type JobState = {
  job_id: string;
  team: string;
  free: boolean;
  catch_up: 'none' | 'last' | 'all';
  catch_up_window_ms: string;
  /** Neither paused nor disabled nor deleted. */
  runs: boolean;
};

/**
 * Locks jobs in id order, as everywhere, and reads what they are then. Jobs that somebody else holds are left for the next look: they are at work again, and waiting for one of
 * them would keep all the others locked (ten thousand jobs at a thousand slots a second: 146 s with waiting, 20 at a time).
 */
export async function jobsForSettling(tx: Transaction, jobIds: readonly string[]): Promise<JobState[]> {
  const locked = await tx.query<{ job_id: string }>({
    name: 'freeze-jobs-lock',
    text: 'SELECT r.job_id FROM job_runtime r WHERE r.job_id = ANY ($1::text[]) ORDER BY r.job_id FOR UPDATE SKIP LOCKED',
    values: [jobIds],
  });
  const { rows } = await tx.query<JobState>({
    name: 'freeze-jobs-read',
    text: `SELECT r.job_id, r.team, r.catch_up, r.catch_up_window_ms, r.paused_at IS NULL AND r.enabled AND j.deleted_at IS NULL AS runs,
                  NOT EXISTS (SELECT 1 FROM freezes f
                               WHERE f.settled_at IS NULL AND (f.team = r.team OR f.scope = 'global') AND f.from_at <= clock_timestamp()
                                 AND freeze_end(f) > clock_timestamp() AND freeze_covers(f, j)) AS free
             FROM unnest($1::text[]) AS u (id) CROSS JOIN LATERAL (SELECT r.* FROM job_runtime r WHERE r.job_id = u.id LIMIT 1) r JOIN jobs j ON j.id = r.job_id
            ORDER BY r.job_id`,
    values: [locked.rows.map(({ job_id }) => job_id)],
  });
  return rows;
}

/** A stretch as admit wrote it. */
export type FrozenRange = { job_id: string; freeze_id: string; key: string; from: Date; to: Date; reason: string | null };

/** The unsettled stretches of jobs that these freezes have made, which are over, by job and beginning. `key`: from_at to the microsecond. */
export async function rangesToSettle(database: Queryable, freezeIds: readonly string[], jobIds: readonly string[]): Promise<FrozenRange[]> {
  const { rows } = await database.query<FrozenRange>({
    name: 'freeze-ranges-to-settle',
    text: `SELECT g.job_id, g.freeze_id, g.from_at::text AS key, g.from_at AS from,
                  -- a slot that was swallowed while the end was being written is told nowhere else
                  CASE WHEN g.to_at - interval '1 second' >= freeze_end(f) THEN g.to_at ELSE least(coalesce(g.to_at, 'infinity'), freeze_end(f)) END AS to, f.reason
             FROM slot_ranges g JOIN freezes f ON f.id = g.freeze_id
            WHERE g.freeze_id = ANY ($1::text[]) AND g.job_id = ANY ($2::text[]) AND g.settled_at IS NULL AND freeze_end(f) <= clock_timestamp()
            ORDER BY g.job_id, g.from_at`,
    values: [freezeIds, jobIds],
  });
  return rows;
}

/** A time in which a job had one timing. `admitted`: its clock has been looked through for slots that nobody admitted, or has none left there. */
export type MembershipSince = { job_id: string; timing_hash: string; from: Date; to: Date; admitted: boolean };

/** Alias: c clocks. A clock is looked at again 15 s after its next slot (late-slots.ts): when that is later, no slot lies before. One that is due to be looked at may have any. */
export const ADMITTED_UNTIL = (moment: string) =>
  `(c.id IS NULL OR c.checked_until >= ${moment} OR coalesce(c.next_check_at > greatest(${moment} + interval '15.001 seconds', clock_timestamp()), false))`;

/** Memberships of jobs between two moments. */
export async function membershipsBetween(
  database: Queryable,
  jobs: readonly { jobId: string; from: Date; to: Date }[],
): Promise<MembershipSince[]> {
  const { rows } = await database.query<MembershipSince>({
    name: 'freeze-memberships',
    text: `SELECT u.id AS job_id, m.timing_hash, greatest(m.valid_from, u.from_at) AS from, least(m.valid_to, u.to_at) AS to,
                  ${ADMITTED_UNTIL('least(m.valid_to, u.to_at)')} AS admitted
             FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS u (id, from_at, to_at)
             JOIN clock_members m ON m.job_id = u.id AND m.valid_from < u.to_at AND m.valid_to > u.from_at
             LEFT JOIN clocks c ON c.id = m.clock_id
            ORDER BY u.id, m.valid_from`,
    values: [jobs.map((job) => job.jobId), jobs.map((job) => job.from), jobs.map((job) => job.to)],
  });
  return rows;
}

export type JobSlot = { job_id: string; slot: Date };

/** Slots between two moments that have rows of their own. */
export async function slotsWithRow(database: Queryable, ranges: readonly { jobId: string; from: Date; to: Date }[]): Promise<JobSlot[]> {
  const { rows } = await database.query<JobSlot>({
    name: 'freeze-slots-with-row',
    text: `SELECT u.id AS job_id, e.slot
             FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS u (id, from_at, to_at)
            CROSS JOIN LATERAL (
              SELECT e.slot FROM job_executions e
               WHERE e.job_id = u.id AND e.partition_at >= u.from_at AND e.partition_at < u.to_at AND e.trigger = 'schedule'
               ORDER BY e.partition_at DESC, e.id DESC LIMIT 100000) e`,
    values: [ranges.map((range) => range.jobId), ranges.map((range) => range.from), ranges.map((range) => range.to)],
  });
  return rows;
}

/** Slots of jobs that were due before a freeze and came in it: they have rows of their own, and are lost like those in its stretches. */
export async function slotsSkipped(database: Queryable, freezeIds: readonly string[], jobIds: readonly string[]): Promise<JobSlot[]> {
  const { rows } = await database.query<JobSlot>({
    name: 'freeze-slots-skipped',
    text: `SELECT e.job_id, e.slot FROM job_executions e
            WHERE e.freeze_id = ANY ($1::text[]) AND e.job_id = ANY ($2::text[]) AND e.status = 'skipped' AND e.trigger = 'schedule'`,
    values: [freezeIds, jobIds],
  });
  return rows;
}

/** Jobs that have lost such slots, and no stretch. */
export async function jobsOfSkipped(database: Queryable, freezeId: string): Promise<string[]> {
  const { rows } = await database.query<{ job_id: string }>({
    name: 'freeze-jobs-of-skipped',
    text: `SELECT DISTINCT e.job_id FROM job_executions e
            WHERE e.freeze_id = $1 AND e.status = 'skipped' AND e.trigger = 'schedule'
              AND NOT EXISTS (SELECT 1 FROM slot_ranges g WHERE g.freeze_id = $1 AND g.job_id = e.job_id)
              AND EXISTS (SELECT 1 FROM job_runtime r WHERE r.job_id = e.job_id)
            ORDER BY e.job_id`,
    values: [freezeId],
  });
  return rows.map(({ job_id }) => job_id);
}

/** Stretches of the same jobs that have another reason: what lies in them is told there. */
export async function otherRanges(
  database: Queryable,
  ranges: readonly { jobId: string; from: Date; to: Date }[],
): Promise<{ job_id: string; from: Date; to: Date | null }[]> {
  const { rows } = await database.query<{ job_id: string; from: Date; to: Date | null }>({
    name: 'freeze-other-ranges',
    text: `SELECT DISTINCT g.job_id, g.from_at AS from, g.to_at AS to
             FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS u (id, from_at, to_at)
             JOIN slot_ranges g ON g.job_id = u.id AND g.from_at < u.to_at AND (g.to_at IS NULL OR g.to_at > u.from_at)
            WHERE g.freeze_id IS NULL`,
    values: [ranges.map((range) => range.jobId), ranges.map((range) => range.from), ranges.map((range) => range.to)],
  });
  return rows;
}

/** A stretch as it has been found to be. `key`: the row as admit wrote it; null: a new one. */
export type SettledRange = {
  team: string;
  jobId: string;
  freezeId: string;
  key: string | null;
  from: Date;
  to: Date;
  count: number | null;
  operation: string | null;
  note: string | null;
};

/** Writes stretches as they are, and what became of them. */
export async function rangesSettle(
  tx: Transaction,
  ranges: readonly SettledRange[],
  gone: readonly { jobId: string; key: string }[],
): Promise<void> {
  const known = ranges.filter(({ key }) => key !== null);
  const fresh = ranges.filter(({ key }) => key === null);
  if (gone.length > 0)
    await tx.query({
      name: 'freeze-ranges-empty',
      text: `DELETE FROM slot_ranges g USING unnest($1::text[], $2::timestamptz[]) AS u (id, from_at) WHERE g.job_id = u.id AND g.from_at = u.from_at AND g.freeze_id IS NOT NULL`,
      values: [gone.map(({ jobId }) => jobId), gone.map(({ key }) => key)],
    });
  if (known.length > 0)
    await tx.query({
      name: 'freeze-ranges-settle',
      text: `UPDATE slot_ranges g SET to_at = u.to_at, count = u.count, settled_at = clock_timestamp(), catch_up_operation = u.operation
               FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::integer[], $5::text[]) AS u (id, from_at, to_at, count, operation)
              WHERE g.job_id = u.id AND g.from_at = u.from_at AND g.freeze_id IS NOT NULL AND g.settled_at IS NULL`,
      values: [
        known.map(({ jobId }) => jobId),
        known.map(({ key }) => key),
        known.map(({ to }) => to),
        known.map(({ count }) => count),
        known.map(({ operation }) => operation),
      ],
    });
  if (fresh.length > 0)
    await tx.query({
      name: 'freeze-ranges-more',
      text: `INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at, count, by, note, freeze_id, settled_at, catch_up_operation)
             SELECT u.team, u.id, 'frozen', u.from_at, u.to_at, u.count, 'almanac', u.note, u.of_freeze, clock_timestamp(), u.operation
               FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::text[], $7::text[], $8::text[])
                    AS u (team, id, from_at, to_at, count, note, of_freeze, operation)
             ON CONFLICT (job_id, from_at, reason) DO NOTHING`,
      values: [
        fresh.map(({ team }) => team),
        fresh.map(({ jobId }) => jobId),
        fresh.map(({ from }) => from),
        fresh.map(({ to }) => to),
        fresh.map(({ count }) => count),
        fresh.map(({ note }) => note),
        fresh.map(({ freezeId }) => freezeId),
        fresh.map(({ operation }) => operation),
      ],
    });
}
