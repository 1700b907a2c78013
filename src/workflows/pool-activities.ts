/** What serveSlot and servePool ask of their activities, in JSON shapes. Types only, as in execution-activities.ts. */

/** A part of a pool that one worker serves at a stretch: rows of one priority between two ids, both included. */
export type PoolRange = {
  priority: number;
  /** Job ids of a slot's members, or execution ids of rows that are there. */
  from: string;
  to: string;
  size: number;
  /** How long after it was planned the last of it is due, milliseconds: whoever serves it waits for that. */
  laterMs: number;
  /** When it was planned, by Postgres' clock and in its words. */
  plannedAt: string;
};

export type PoolPlan = {
  ranges: PoolRange[];
  /** True: the ranges are of a slot's members, which are still to be admitted; false: of rows. */
  members: boolean;
  /** When the first row is due that is in none of the ranges, milliseconds since 1970; null: there is no other. */
  nextDueAt: number | null;
};

/** With `slot` the ranges are of members that are still to be admitted; else of rows. */
export type ServeInput = { team: string; ranges: PoolRange[]; slot?: { clock: string; at: string } };

/** `calls` that were made or ended. `left`: the time of one activity was over before its ranges were. */
export type Served = { calls: number; left: boolean };

/** A pool's next plan, and the calls that were made at once because it was small enough for that. */
export type PoolPass = { plan: PoolPlan; calls: number };

export type PoolActivities = {
  /**
   * Plans a slot's members, or (without `slot`) the unfinished rows of the calling workflow's pool. What fits into one range and is due is served in the same breath,
   * and `plan` is then what is left: one marker in the history for all of it.
   */
  servePoolAtOnce(input: Omit<ServeInput, 'ranges'>): Promise<PoolPass>;
  /** Admits, claims, calls and records what is in its ranges. Repeating it repeats only calls without a recorded outcome. */
  servePoolRanges(input: ServeInput): Promise<Served>;
  /** Ends what the calling workflow has not finished, because it was cancelled in Temporal. */
  closePool(input: { team: string; status: 'cancelled'; reason: string }): Promise<void>;
};
