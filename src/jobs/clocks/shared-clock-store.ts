/** Statements that check shared clocks for slots without a row. Their members may be thousands, so that members come out of the database only where something is missing. */
import type { Queryable } from '../../postgres.ts';
import type { ClockToCheck } from './late-slot-store.ts';

/** How a shared clock's members stand. */
export type SharedClock = {
  id: string;
  /** Memberships that were, are or will be open at some time after the clock was checked last. */
  members: number;
  /** True: some membership is open now, or will be. */
  open: boolean;
  /** When the first of those that are open ends; null: none has an end. */
  next_end: Date | null;
  /** Jobs whose last membership has ended while they were members here: their schedule is over, and nobody has said so yet. */
  over: string[];
};

export async function sharedClocks(database: Queryable, clocks: ClockToCheck[]): Promise<SharedClock[]> {
  const found = await database.query<SharedClock>(
    `SELECT c.id, count(m.job_id)::integer AS members, coalesce(bool_or(m.valid_to > now()), false) AS open,
            min(m.valid_to) FILTER (WHERE m.valid_to > now() AND m.valid_to < 'infinity') AS next_end,
            coalesce(array_agg(m.job_id) FILTER (WHERE m.valid_to <= now() AND EXISTS (
              SELECT 1 FROM jobs j
               WHERE j.id = m.job_id AND j.clock_id = c.id AND j.state IN ('active', 'paused') AND j.deleted_at IS NULL
                 AND NOT EXISTS (SELECT 1 FROM clock_members o WHERE o.job_id = j.id AND o.valid_to > now()))), '{}') AS over
       FROM unnest($1::text[], $2::timestamptz[]) AS c (id, since)
       LEFT JOIN clock_members m ON m.clock_id = c.id AND m.valid_to > c.since
      GROUP BY c.id`,
    [clocks.map((clock) => clock.id), clocks.map((clock) => clock.checked_until)],
  );
  return found.rows;
}

/** Memberships with slots that have neither a row nor a range that says why; `positions` of the slots count from 1. */
export async function sharedSlotsWithoutRow(
  database: Queryable,
  clockId: string,
  slots: Date[],
): Promise<{ job_id: string; valid_from: Date; positions: number[] }[]> {
  const found = await database.query<{ job_id: string; valid_from: Date; positions: number[] }>(
    `SELECT m.job_id, m.valid_from, array_agg(s.position::integer ORDER BY s.position) AS positions
       FROM unnest($2::timestamptz[]) WITH ORDINALITY AS s (slot, position)
       JOIN clock_members m ON m.clock_id = $1 AND m.valid_from <= s.slot AND s.slot < m.valid_to
       LEFT JOIN LATERAL (SELECT true AS there FROM job_executions e WHERE e.partition_at = s.slot AND e.id = m.job_id || '-' || slot_text(s.slot) LIMIT 1) e ON true
       LEFT JOIN LATERAL (SELECT true AS there FROM slot_ranges g
                           WHERE g.job_id = m.job_id AND g.from_at <= s.slot AND (g.to_at IS NULL OR s.slot < g.to_at) LIMIT 1) g ON true
      WHERE e.there IS NULL AND g.there IS NULL
      GROUP BY m.job_id, m.valid_from`,
    [clockId, slots],
  );
  return found.rows;
}
