/** The freezes that hold a job now or will, as the job itself shows them: by what the job is now. */
import { formatInstant } from '../time/instant.ts';

/** A freeze over a job. `until` null: until somebody ends it. */
export type FreezeOfJob = { id: string; reason: string; from: string; until: string | null };
/** Why nothing of a job starts now. */
export type Frozen = { id: string; reason: string; until: string | null };

/** Those that are not over, as JSON; null when there is none: one look into an index by their end. Alias: j jobs. */
export const FREEZES_AHEAD = `(
    SELECT json_agg(json_build_object('id', f.id, 'reason', f.reason, 'from', iso_time(f.from_at), 'until', iso_time(coalesce(f.ended_at, f.to_at))) ORDER BY f.from_at, f.id)
      FROM freezes f
     WHERE coalesce(f.ended_at, f.to_at, 'infinity'::timestamptz) > now() AND (f.team = j.team OR f.scope = 'global') AND freeze_covers(f, j))`;

/** The freeze that holds it at a moment: of several the one that began first, as admit says it. */
export function holdingAt(freezes: readonly FreezeOfJob[], moment: Date): FreezeOfJob | null {
  const ms = moment.getTime();
  return freezes.find(({ from, until }) => Date.parse(from) <= ms && (until === null || ms < Date.parse(until))) ?? null;
}

/** What holds a job now. */
export function frozenNow(freezes: readonly FreezeOfJob[], now: Date): Frozen | null {
  const freeze = holdingAt(freezes, now);
  return freeze && { id: freeze.id, reason: freeze.reason, until: freeze.until && formatInstant(new Date(freeze.until)) };
}

/**
 * The next runs of a job that no known freeze will swallow.
 * @param next at most `count` runs strictly after a moment, ascending; none: there are no more.
 */
export function runsOutsideFreezes(
  freezes: readonly FreezeOfJob[],
  now: Date,
  count: number,
  next: (after: Date, count: number) => Date[],
): Date[] {
  const runs: Date[] = [];
  for (let from = now; runs.length < count; ) {
    const found = next(from, count - runs.length);
    if (found.length === 0) return runs;
    for (const run of found) {
      from = run;
      const freeze = holdingAt(freezes, run);
      if (freeze?.until === null) return runs;
      if (!freeze) {
        runs.push(run);
        continue;
      }
      // a slot at its very end is not its own
      from = new Date(Math.max(run.getTime(), Date.parse(freeze.until) - 1));
      break;
    }
  }
  return runs;
}

/** When a one-off will run that is due at a moment: not before the freezes that hold it then are over. Null: nobody knows. */
export function heldUntil(freezes: readonly FreezeOfJob[], due: Date): Date | null {
  let at = due;
  for (let freeze = holdingAt(freezes, at); freeze; freeze = holdingAt(freezes, at)) {
    if (freeze.until === null) return null;
    at = new Date(freeze.until);
  }
  return at;
}
