/** What Postgres knows of one job's slots between two moments: memberships with their timings, rows, ranges, and what lies ahead that will keep slots from running. */
import type { Queryable } from '../../postgres.ts';
import type { ExecutionStatus } from '../execution-view.ts';
import type { Timing } from '../time/timing.ts';

/** A job as far as its slots go. */
export type LedgerJob = {
  id: string;
  name: string;
  offset_s: number;
  enabled: boolean;
  paused_at: Date | null;
  /** When the pause ends by itself; null: it does not. */
  paused_until: Date | null;
  /** Its only slot is that of a single run. */
  once: boolean;
  /** First moments (UTC) of months that have left the database, milliseconds. */
  archived: ReadonlySet<number>;
  now: Date;
};

export async function ledgerJob(database: Queryable, team: string, idOrName: string): Promise<LedgerJob | null> {
  const { rows } = await database.query<Omit<LedgerJob, 'archived'> & { until: string | null; months: Date[] }>({
    name: 'ledger-job',
    text: `SELECT j.id, j.name, r.offset_s, r.enabled, r.paused_at, j.pause ->> 'until' AS until, now() AS now,
                  ARRAY(SELECT a.month FROM archives a WHERE a.state = 'complete') AS months,
                  coalesce(j.document #>> '{schedule,at}', j.document #>> '{schedule,delay}') IS NOT NULL AS once
             FROM jobs j JOIN job_runtime r ON r.job_id = j.id
            WHERE j.team = $1 AND (j.id = $2 OR (j.name = $2 AND j.deleted_at IS NULL)) LIMIT 1`,
    values: [team, idOrName],
  });
  const row = rows[0];
  if (!row) return null;
  const { until, months, ...job } = row;
  return { ...job, archived: new Set(months.map((month) => month.getTime())), paused_until: until === null ? null : new Date(until) };
}

/** A time in which one timing was the job's, `to` exclusive. */
export type TimedStretch = { timing_hash: string; timing: Timing; from: Date; to: Date };

/** The job's memberships in [from, to), oldest first; they never overlap. */
export async function stretchesOf(database: Queryable, team: string, job: string, from: Date, to: Date): Promise<TimedStretch[]> {
  const { rows } = await database.query<TimedStretch>({
    name: 'ledger-stretches',
    text: `SELECT m.timing_hash, t.timing, greatest(m.valid_from, $3) AS from, least(m.valid_to, $4) AS to
             FROM clock_members m JOIN timings t ON t.hash = m.timing_hash
            WHERE m.job_id = $2 AND m.team = $1 AND m.valid_from < $4 AND m.valid_to > $3
            ORDER BY m.valid_from`,
    values: [team, job, from, to],
  });
  return rows;
}

export type SlotRow = {
  slot: Date;
  due_at: Date;
  id: string;
  status: ExecutionStatus;
  reason: string | null;
  started_at: Date | null;
  finished_at: Date | null;
};

/** Rows of slots with first <= slot <= last. The row of a slot is kept under the slot's own time. */
export async function slotRows(database: Queryable, team: string, job: string, first: Date, last: Date): Promise<SlotRow[]> {
  const { rows } = await database.query<SlotRow>({
    name: 'ledger-slot-rows',
    text: `SELECT e.slot, e.due_at, e.id, e.status, e.reason, e.started_at, e.finished_at FROM job_executions e
            WHERE e.team = $1 AND e.job_id = $2 AND e.partition_at >= $3 AND e.partition_at <= $4 AND e.trigger = 'schedule' ORDER BY e.partition_at`,
    values: [team, job, first, last],
  });
  return rows;
}

/** Rows of a one-off: a job has few of them, kept by when they were written. */
export async function onceRows(database: Queryable, team: string, job: string, from: Date, to: Date, limit: number): Promise<SlotRow[]> {
  const { rows } = await database.query<SlotRow>({
    name: 'ledger-once-rows',
    text: `SELECT e.slot, e.due_at, e.id, e.status, e.reason, e.started_at, e.finished_at FROM job_executions e
            WHERE e.team = $1 AND e.job_id = $2 AND e.trigger = 'once' AND e.slot >= $3 AND e.slot < $4 ORDER BY e.slot LIMIT $5`,
    values: [team, job, from, to, limit],
  });
  return rows;
}

/** A later execution of a slot: its backfill, or a retry. */
export type LaterRow = { slot: Date; id: string; trigger: string; status: ExecutionStatus; operation_id: string | null };

export async function laterRows(database: Queryable, team: string, job: string, slots: readonly Date[]): Promise<LaterRow[]> {
  const { rows } = await database.query<LaterRow>({
    name: 'ledger-later-rows',
    text: `SELECT e.slot, e.id, e.trigger, e.status, e.operation_id FROM job_executions e
            WHERE e.team = $1 AND e.job_id = $2 AND e.slot = ANY ($3::timestamptz[]) AND e.slot IS NOT NULL AND e.trigger IN ('backfill', 'retry')
            ORDER BY e.slot, e.id LIMIT 2000`,
    values: [team, job, slots],
  });
  return rows;
}

export type RangeRow = {
  reason: string;
  from_at: Date | null;
  to_at: Date | null;
  freeze_id: string | null;
  calendar: string | null;
  by: string | null;
  note: string | null;
};

/** Ranges that have a part in [first, last]; where several do, what a person wanted comes first. */
export async function rangesOver(database: Queryable, team: string, job: string, first: Date, last: Date): Promise<RangeRow[]> {
  const { rows } = await database.query<RangeRow>({
    name: 'ledger-ranges',
    text: `SELECT g.reason, g.from_at, g.to_at, g.freeze_id, g.calendar, g.by, g.note FROM slot_ranges g
            WHERE g.job_id = $2 AND g.team = $1 AND g.from_at <= $4 AND (g.to_at IS NULL OR g.to_at > $3)
            ORDER BY array_position(ARRAY['paused', 'frozen', 'excluded', 'missed'], g.reason) NULLS LAST, g.from_at`,
    values: [team, job, first, last],
  });
  return rows;
}

/** What keeps a slot from running, as admit would say it now. */
export type StopRow = {
  slot: Date;
  reason: string;
  from_at: Date | null;
  to_at: Date | null;
  freeze_id: string | null;
  calendar: string | null;
  note: string | null;
};

/** Of slots ahead those that will not run by what is known now: changes of clocks, calendars, freezes, planned ones too. */
export async function stopsAhead(
  database: Queryable,
  team: string,
  job: string,
  slots: readonly { slot: Date; hash: string }[],
): Promise<StopRow[]> {
  const { rows } = await database.query<StopRow>({
    name: 'ledger-stops-ahead',
    text: `SELECT s.slot, (t.stop).reason, CASE WHEN isfinite((t.stop).from_at) THEN (t.stop).from_at END AS from_at,
                  CASE WHEN isfinite((t.stop).to_at) THEN (t.stop).to_at END AS to_at, (t.stop).freeze_id, (t.stop).calendar,
                  (SELECT f.reason FROM freezes f WHERE f.id = (t.stop).freeze_id) AS note
             FROM unnest($3::timestamptz[], $4::text[]) AS s (slot, hash)
            CROSS JOIN LATERAL (SELECT slot_stop_of($1, $2, s.hash, s.slot) AS stop OFFSET 0) t
            WHERE (t.stop).reason IS NOT NULL`,
    values: [team, job, slots.map(({ slot }) => slot), slots.map(({ hash }) => hash)],
  });
  return rows;
}
