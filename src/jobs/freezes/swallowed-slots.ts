/** The slots that a freeze has swallowed: what is settled was counted then; what is open is worked out by the oracle up to now. */
import type { Queryable } from '../../postgres.ts';
import { timingsByHash } from '../clocks/late-slot-store.ts';
import { slotsBetween } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';

export type SwallowedSlots = {
  count: number;
  /** Jobs that have lost any. */
  jobs: number;
  /** False: there are more than can be counted while somebody waits; `count` of them at least. Counted whole when the freeze is settled. */
  exact: boolean;
};

/** Slots worked out one by one while somebody waits for the answer. */
const STEPS = 20_000;

/**
 * How many slots lie in [from, until), and how many steps that took.
 * @param most gives up beyond so many steps: null.
 */
export function countSlots(timing: Timing, from: Date, until: Date, most: number): { count: number; steps: number } | null {
  if (from >= until) return { count: 0, steps: 0 };
  const [interval] = timing.intervals;
  if (interval && timing.intervals.length === 1 && timing.calendars.length === 0) {
    const { everyS, offsetS } = interval;
    const before = (moment: Date) => Math.floor((Math.ceil(moment.getTime() / 1_000) - 1 - offsetS) / everyS);
    return { count: before(until) - before(from), steps: 1 };
  }
  const count = slotsBetween(timing, new Date(from.getTime() - 1), new Date(until.getTime() - 1), most + 1).length;
  return count > most ? null : { count, steps: count + 1 };
}

/** Of one freeze, so far. */
export async function swallowedSlots(database: Queryable, freezeId: string): Promise<SwallowedSlots> {
  const settled = await database.query<{ count: number; uncounted: number; jobs: number }>(
    `SELECT coalesce(sum(g.count) FILTER (WHERE g.settled_at IS NOT NULL), 0)::float8 AS count,
            count(*) FILTER (WHERE g.settled_at IS NOT NULL AND g.count IS NULL)::float8 AS uncounted,
            count(DISTINCT g.job_id)::float8 AS jobs
       FROM slot_ranges g WHERE g.freeze_id = $1`,
    [freezeId],
  );
  const { count, uncounted, jobs } = settled.rows[0]!;
  const open = await database.query<{ hash: string; first: Date; until: Date; jobs: number }>(
    `SELECT m.timing_hash AS hash, greatest(g.from_at, m.valid_from) AS first, least(coalesce(g.to_at, 'infinity'), m.valid_to, now()) AS until, count(*)::float8 AS jobs
       FROM slot_ranges g JOIN clock_members m ON m.job_id = g.job_id AND m.valid_to > g.from_at
      WHERE g.freeze_id = $1 AND g.settled_at IS NULL
      GROUP BY 1, 2, 3 HAVING greatest(g.from_at, m.valid_from) < least(coalesce(g.to_at, 'infinity'), m.valid_to, now())`,
    [freezeId],
  );
  const timings = await timingsByHash(database, [...new Set(open.rows.map(({ hash }) => hash))]);
  let total = count;
  let left = STEPS;
  let exact = uncounted === 0;
  for (const { hash, first, until, jobs: times } of open.rows) {
    const timing = timings.get(hash);
    const counted = timing && left > 0 ? countSlots(timing, first, until, left) : null;
    if (counted === null) exact = false;
    total += (counted?.count ?? 0) * times;
    left -= counted?.steps ?? left;
  }
  return { count: total, jobs, exact };
}
