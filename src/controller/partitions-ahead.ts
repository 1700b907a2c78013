/** Partitions exist before anybody writes into them: of this month, of those ahead, and of those in which a clock has still to look for its slots. */
import type { Queryable } from '../postgres.ts';

const MONTHS_AHEAD = 2;
/** Catch-up looks back a year at most; what is older is missed, but has rows all the same. */
const MOST_MONTHS_BACK = 24;

/** Returns how many were made. After months in which no controller ran there is a gap between the last month that was made and this one. */
export async function partitionsEnsure(database: Queryable): Promise<number> {
  const made = await database.query<{ made: string }>(
    `SELECT coalesce(sum(ensure_partitions(now() + make_interval(months => step))), 0) AS made
       FROM (SELECT min(c.checked_until) AS at FROM clocks c WHERE c.next_check_at <= now()) behind
      CROSS JOIN generate_series(-least($2::integer, ceil(greatest(0, extract(epoch FROM now() - coalesce(behind.at, now()))) / (28 * 86400))::integer), $1::integer) AS step`,
    [MONTHS_AHEAD, MOST_MONTHS_BACK],
  );
  return Number(made.rows[0]?.made ?? 0);
}
