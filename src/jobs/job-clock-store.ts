/**
 * Statements that change a job's clock and its memberships (semantics.md 5–8). The caller holds the job's lock; clocks are locked after it.
 * A membership is an interval [valid_from, valid_to): exactly one membership, or none, has each moment, however often a job is edited.
 */
import type { Transaction } from '../postgres.ts';
import { CHECK_AFTER_MS } from './job-insert.ts';
import type { Timing } from './time/timing.ts';
import { marksToWrite } from './time/written-marks.ts';

/** What a clock was raised to. */
export type RaisedClock = { generation: number; observedGeneration: number; paused: boolean };

type ClockRow = { generation: string; observed_generation: string; paused: boolean };
const toRaised = (row: ClockRow | undefined): RaisedClock | null =>
  row ? { generation: Number(row.generation), observedGeneration: Number(row.observed_generation), paused: row.paused } : null;

/** Ends a job's membership at a moment; one that had not begun never was. */
export async function membershipClose(tx: Transaction, team: string, jobId: string, at: Date): Promise<void> {
  await tx.query({
    name: 'membership-close',
    text: `WITH never AS (
             DELETE FROM clock_members WHERE job_id = $1 AND team = $2 AND valid_from >= $3
           )
           UPDATE clock_members SET valid_to = $3 WHERE job_id = $1 AND team = $2 AND valid_from < $3 AND valid_to > $3`,
    values: [jobId, team, at],
  });
}

export type NewMembership = {
  team: string;
  jobId: string;
  clockId: string;
  generation: number;
  timingHash: string;
  timing: Timing;
  /** Not before this, and not before `startAt`. */
  at: Date;
  startAt: Date | null;
  /** Exclusive; null: for good. */
  end: Date | null;
};

/** Begins a membership; the one before was closed at the same moment. */
export async function membershipOpen(tx: Transaction, member: NewMembership): Promise<void> {
  const { until, marks } = marksToWrite(member.timing, member.at);
  await tx.query({
    name: 'membership-open',
    text: `WITH timing AS (
             INSERT INTO timings (hash, timing, marks_until) VALUES ($5, $6, $10::timestamptz) ON CONFLICT DO NOTHING RETURNING hash
           ), mark AS (
             INSERT INTO timing_marks (timing_hash, slot, kind, fired)
             SELECT t.hash, to_timestamp(m.slot), m.kind, m.fired FROM timing t, json_to_recordset($11::json) AS m (slot bigint, kind text, fired boolean)
           )
           INSERT INTO clock_members (job_id, clock_id, team, generation, timing_hash, valid_from, valid_to)
           SELECT $1, $2, $3, $4, $5, f.valid_from, greatest(f.valid_from, coalesce($9::timestamptz, 'infinity'))
             FROM (SELECT greatest($7::timestamptz, $8::timestamptz) AS valid_from) f`,
    values: [
      member.jobId,
      member.clockId,
      member.team,
      member.generation,
      member.timingHash,
      JSON.stringify(member.timing),
      member.at,
      member.startAt,
      member.end,
      until,
      marks,
    ],
  });
}

/** Makes a job's own clock, or raises it to what it should be now; a tombstoned or emptied one comes back, and is checked from where its check had come to. */
export async function clockRaise(
  tx: Transaction,
  clock: { id: string; team: string; timingHash: string; queue: string; paused: boolean; nextSlot: Date | null; at: Date },
): Promise<RaisedClock> {
  const { rows } = await tx.query<ClockRow>({
    name: 'clock-raise',
    text: `INSERT INTO clocks AS c (id, team, kind, timing_hash, queue, paused, next_check_at, checked_until)
           VALUES ($1, $2, 'dedicated', $3, $4, $5, $6, $7)
           ON CONFLICT (id) DO UPDATE
             SET timing_hash = excluded.timing_hash, queue = excluded.queue, paused = excluded.paused, generation = c.generation + 1, reconcile_at = now(),
                 failures = 0, last_error = NULL, next_check_at = least(c.next_check_at, excluded.next_check_at), empty_since = NULL, deleted_at = NULL
           RETURNING generation, observed_generation, paused`,
    values: [clock.id, clock.team, clock.timingHash, clock.queue, clock.paused, checkAt(clock.nextSlot), clock.at],
  });
  return toRaised(rows[0])!;
}

const checkAt = (slot: Date | null): Date | null => (slot ? new Date(slot.getTime() + CHECK_AFTER_MS) : null);

/** Joins a shared clock: makes it, keeps it, or takes it back; see `join_pooled_clock`. `raised`: Temporal has something to learn. */
export async function clockJoin(
  tx: Transaction,
  clock: { id: string; team: string; timingHash: string; queue: string; nextSlot: Date; at: Date },
): Promise<RaisedClock & { raised: boolean }> {
  const { rows } = await tx.query<{ generation: string; observed_generation: string; raised: boolean }>({
    name: 'clock-join',
    text: 'SELECT generation, observed_generation, raised FROM join_pooled_clock($1, $2, $3, $4, $5, $6)',
    values: [clock.team, clock.id, clock.timingHash, clock.queue, clock.nextSlot, clock.at],
  });
  const { generation, observed_generation: observed, raised } = rows[0]!;
  return { generation: Number(generation), observedGeneration: Number(observed), paused: false, raised };
}

/** True when a clock has a member for good besides this job. */
export async function clockHasOthers(tx: Transaction, team: string, clockId: string, jobId: string): Promise<boolean> {
  const { rowCount } = await tx.query({
    name: 'clock-has-others',
    text: `SELECT 1 FROM clock_members WHERE clock_id = $1 AND team = $2 AND job_id <> $3 AND valid_to = 'infinity' LIMIT 1`,
    values: [clockId, team, jobId],
  });
  return rowCount === 1;
}

/** Raises a clock whose pause or name is to be shown anew; null when there is none. */
export async function clockShow(
  tx: Transaction,
  team: string,
  clockId: string,
  paused: boolean,
  nextSlot: Date | null,
): Promise<RaisedClock | null> {
  const { rows } = await tx.query<ClockRow>({
    name: 'clock-show',
    text: `UPDATE clocks SET paused = $3, generation = generation + 1, reconcile_at = now(), failures = 0, next_check_at = least(next_check_at, $4)
            WHERE id = $1 AND team = $2 AND deleted_at IS NULL
           RETURNING generation, observed_generation, paused`,
    values: [clockId, team, paused, checkAt(nextSlot)],
  });
  return toRaised(rows[0]);
}

/**
 * Wakes a shared clock that rests because all its members were paused; null when it is awake. The lock keeps the controller from putting it to rest until the caller, who has
 * resumed a member, commits.
 */
export async function clockWake(tx: Transaction, team: string, clockId: string, nextSlot: Date | null): Promise<RaisedClock | null> {
  const awake = await tx.query({
    name: 'clock-awake',
    text: 'SELECT 1 FROM clocks WHERE id = $1 AND team = $2 AND NOT paused FOR SHARE',
    values: [clockId, team],
  });
  return awake.rowCount === 1 ? null : clockShow(tx, team, clockId, false, nextSlot);
}

/** Has the search for slots without a row look at a clock anew. Temporal has nothing to learn from that: no new generation. */
export async function clockCheckAnew(tx: Transaction, team: string, clockId: string): Promise<void> {
  await tx.query({
    name: 'clock-check-anew',
    text: 'UPDATE clocks SET next_check_at = NULL WHERE id = $1 AND team = $2',
    values: [clockId, team],
  });
}

/** Leaves a clock without a member: paused now, deleted by the controller when it stays so. */
export async function clockEmpty(tx: Transaction, team: string, clockId: string, at: Date): Promise<RaisedClock | null> {
  const { rows } = await tx.query<ClockRow>({
    name: 'clock-empty',
    text: `UPDATE clocks SET paused = true, empty_since = $3, generation = generation + 1, reconcile_at = now(), failures = 0
            WHERE id = $1 AND team = $2 AND deleted_at IS NULL
           RETURNING generation, observed_generation, paused`,
    values: [clockId, team, at],
  });
  return toRaised(rows[0]);
}

/** Tombstones a clock: its schedule is to go, then its row. */
export async function clockTombstone(tx: Transaction, team: string, clockId: string, at: Date): Promise<RaisedClock | null> {
  const { rows } = await tx.query<ClockRow>({
    name: 'clock-tombstone',
    text: `UPDATE clocks SET deleted_at = $3, generation = generation + 1, reconcile_at = now(), failures = 0
            WHERE id = $1 AND team = $2 AND deleted_at IS NULL
           RETURNING generation, observed_generation, paused`,
    values: [clockId, team, at],
  });
  return toRaised(rows[0]);
}
