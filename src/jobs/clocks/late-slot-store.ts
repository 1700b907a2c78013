/** Statements by which slots that nobody admitted are found (semantics.md 9): which clocks to look at, who was a member when, which slots have a row. */
import { inTransaction, type Pool, type Queryable } from '../../postgres.ts';
import type { Timing } from '../time/timing.ts';

export type ClockToCheck = {
  id: string;
  team: string;
  kind: 'dedicated' | 'pooled';
  /** Of a shared clock: that of all its members. */
  timing_hash: string;
  generation: string;
  checked_until: Date;
  next_check_at: string | null;
  /** Postgres' time when this was read: what is late is measured there. */
  now: Date;
};

const TO_CHECK = 'id, team, kind, timing_hash, generation, checked_until, next_check_at::text, now() AS now';

/** Clocks of which a slot is overdue, or of which nobody knows the next one yet (`next_check_at` null). */
export async function clocksToCheck(database: Queryable, limit: number): Promise<ClockToCheck[]> {
  const found = await database.query<ClockToCheck>(
    `SELECT ${TO_CHECK} FROM clocks
      WHERE deleted_at IS NULL AND (next_check_at <= now() OR next_check_at IS NULL)
      ORDER BY next_check_at NULLS FIRST LIMIT $1`,
    [limit],
  );
  return found.rows;
}

/** The same for clocks that are about to be purged, whatever their state. */
export async function clocksToCheckOnce(database: Queryable, clockIds: string[]): Promise<ClockToCheck[]> {
  const found = await database.query<ClockToCheck>(`SELECT ${TO_CHECK} FROM clocks WHERE id = ANY ($1::text[])`, [clockIds]);
  return found.rows;
}

/** A stretch of membership of one job in one clock, with what decides its late slots. */
export type Membership = {
  clock_id: string;
  job_id: string;
  job_name: string;
  valid_from: Date;
  /** null: open. */
  valid_to: Date | null;
  timing_hash: string;
  catch_up: 'none' | 'last' | 'all';
  catch_up_window_ms: string;
  /** Paused now, or disabled: no late slot of it runs. */
  blocked: boolean;
  queue: string;
  priority: number;
};

/** Memberships that were, are or will be open at some time after `since` of their clock. */
export async function membershipsAfter(database: Queryable, clocks: { id: string; since: Date }[]): Promise<Membership[]> {
  const found = await database.query<Membership>(
    `SELECT m.clock_id, m.job_id, r.job_name, m.valid_from, nullif(m.valid_to, 'infinity') AS valid_to, m.timing_hash,
            r.catch_up, r.catch_up_window_ms, r.paused_at IS NOT NULL OR NOT r.enabled AS blocked, r.queue, r.priority
       FROM unnest($1::text[], $2::timestamptz[]) AS c (id, since)
       JOIN clock_members m ON m.clock_id = c.id AND m.valid_to > c.since
       JOIN job_runtime r ON r.job_id = m.job_id`,
    [clocks.map((clock) => clock.id), clocks.map((clock) => clock.since)],
  );
  return found.rows;
}

export async function timingsByHash(database: Queryable, hashes: string[]): Promise<Map<string, Timing>> {
  const found = await database.query<{ hash: string; timing: Timing }>('SELECT hash, timing FROM timings WHERE hash = ANY ($1::text[])', [
    hashes,
  ]);
  return new Map(found.rows.map((row) => [row.hash, row.timing]));
}

/** Which of these slots have neither a row nor a range that says why; answered as their positions in the list. */
export async function slotsWithoutRow(
  database: Queryable,
  slots: { jobId: string; executionId: string; slot: Date }[],
): Promise<Set<number>> {
  // LATERAL … LIMIT keeps this a look into the primary key of one partition per slot, whatever the planner thinks of the table
  const found = await database.query<{ position: string }>(
    `SELECT s.position FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS s (job_id, id, slot, position)
       LEFT JOIN LATERAL (SELECT true AS there FROM job_executions e WHERE e.partition_at = s.slot AND e.id = s.id LIMIT 1) e ON true
       LEFT JOIN LATERAL (SELECT true AS there FROM slot_ranges g
                           WHERE g.job_id = s.job_id AND g.from_at <= s.slot AND (g.to_at IS NULL OR s.slot < g.to_at) LIMIT 1) g ON true
      WHERE e.there IS NULL AND g.there IS NULL`,
    [slots.map((slot) => slot.jobId), slots.map((slot) => slot.executionId), slots.map((slot) => slot.slot)],
  );
  return new Set(found.rows.map((row) => Number(row.position) - 1));
}

/** Jobs of which some slot since then may not be wanted, or be held: by a change of clocks, a calendar, a freeze. Admit judges each of their slots. */
export async function jobsWithStops(
  database: Queryable,
  members: readonly { job_id: string; timing_hash: string }[],
  since: Date,
): Promise<Set<string>> {
  const found = await database.query<{ job_id: string }>(
    `SELECT r.job_id FROM unnest($1::text[], $2::text[]) AS m (job_id, timing_hash) JOIN job_runtime r ON r.job_id = m.job_id
      WHERE r.calendar_zone IS NOT NULL
         OR EXISTS (SELECT 1 FROM timing_marks k WHERE k.timing_hash = m.timing_hash AND k.slot > $3 AND k.slot <= now())
         OR EXISTS (SELECT 1 FROM freezes f JOIN jobs j ON j.id = r.job_id
                     WHERE coalesce(f.ended_at, f.to_at, 'infinity'::timestamptz) > $3 AND f.from_at <= now() AND (f.team = r.team OR f.scope = 'global')
                       AND freeze_covers(f, j))`,
    [members.map((member) => member.job_id), members.map((member) => member.timing_hash), since],
  );
  return new Set(found.rows.map((row) => row.job_id));
}

/**
 * Writes one range row in place of many skipped slots, under the job's lock and only while the job's policy is still the one they were judged by; who watches is told.
 * @returns false when the policy has changed: judge again.
 */
export async function writeSlotRange(
  pool: Pool,
  range: {
    team: string;
    jobId: string;
    reason: 'missed' | 'paused';
    from: Date;
    to: Date;
    count: number;
    /** The slot behind the range; null: there is none. */
    successor: Date | null;
    catchUp: string;
    windowMs: string;
    blocked: boolean;
  },
): Promise<boolean> {
  return inTransaction(pool, async (transaction) => {
    const unchanged = await transaction.query(
      `UPDATE job_runtime r
          SET next_run_at = CASE WHEN r.next_run_at < $6 THEN $7 ELSE r.next_run_at END, next_run_unsure = r.next_run_unsure OR (r.next_run_at < $6 AND $7 IS NOT NULL)
        WHERE r.job_id = $1 AND r.team = $2 AND r.calendar_zone IS NULL AND r.catch_up = $3 AND r.catch_up_window_ms = $4
          AND (r.paused_at IS NOT NULL OR NOT r.enabled) = $5`,
      [range.jobId, range.team, range.catchUp, range.windowMs, range.blocked, range.to, range.successor],
    );
    if (unchanged.rowCount !== 1) return false;
    await transaction.query(
      `INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at, count, by, note) VALUES ($1, $2, $3, $4, $5, $6, 'almanac', $7)
       ON CONFLICT (job_id, from_at, reason) DO NOTHING`,
      [range.team, range.jobId, range.reason, range.from, range.to, range.count, 'no execution was started in this time'],
    );
    if (range.reason === 'missed') {
      await transaction.query(`SELECT tell_missed($1, $2, $3, $4::timestamptz - interval '1 second', $5, clock_timestamp())`, [
        range.team,
        range.jobId,
        range.from,
        range.to,
        range.count,
      ]);
    }
    return true;
  });
}

/**
 * Writes the rows of many missed slots of one job by one statement, as admit would have one by one; see `note_missed`, and `note_judged` where something may have stopped some of them.
 * @returns false when the job is not what the slots were judged by any more: judge again.
 */
export async function writeMissedRows(
  pool: Pool,
  missed: { clock: ClockToCheck; member: Membership; slots: readonly Date[]; judged: boolean; successor: Date | null },
): Promise<boolean> {
  const { clock, member, slots, judged, successor } = missed;
  const { rows } = await pool.query<{ written: number | null }>({
    name: judged ? 'note-judged' : 'note-missed',
    text: judged
      ? 'SELECT note_judged($1, $2, $3, $4, $5, $6, $7, $8) AS written'
      : 'SELECT note_missed($1, $2, $3, $4, $5, $6, $7, $8) AS written',
    values: [clock.team, member.job_id, clock.id, member.timing_hash, slots, successor, member.catch_up, member.catch_up_window_ms],
  });
  return rows[0]?.written !== null;
}

/** Notes how far clocks have been checked, unless they were changed meanwhile: then they are looked at again as they are now. */
export async function clocksNoteChecked(database: Queryable, checked: { clock: ClockToCheck; until: Date; next: Date }[]): Promise<void> {
  await database.query(
    // locked in id order, as by those who pause and resume hundreds
    `WITH noted AS MATERIALIZED (
       SELECT d.* FROM unnest($1::text[], $2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[]) AS d (id, generation, was, until, next)
     ), held AS MATERIALIZED (
       SELECT c.id FROM clocks c WHERE c.id IN (SELECT n.id FROM noted n) ORDER BY c.id FOR UPDATE
     )
     UPDATE clocks c SET checked_until = greatest(c.checked_until, d.until), next_check_at = d.next
       FROM noted d JOIN held h ON h.id = d.id
      WHERE c.id = d.id AND c.generation = d.generation AND c.next_check_at::text IS NOT DISTINCT FROM d.was`,
    [
      checked.map((one) => one.clock.id),
      checked.map((one) => one.clock.generation),
      checked.map((one) => one.clock.next_check_at),
      checked.map((one) => one.until),
      checked.map((one) => one.next),
    ],
  );
}
