/** What serveSlot and servePool ask of their activities, in JSON shapes. Types only, as in execution-activities.ts. */

/** A part of a pool that one worker serves at a stretch: rows of one priority between two ids, both included. Times are milliseconds since 1970. */
export type PoolRange = {
  priority: number;
  /** Job ids of a slot's members, or execution ids of rows that are there. */
  from: string;
  to: string;
  size: number;
  /** When the first and the last of it are due; the slot's time for members. */
  dueAt: number;
  lastDueAt: number;
};

export type PoolPlan = {
  ranges: PoolRange[];
  /** When the first row is due that is in none of the ranges; null: there is no other. */
  nextDueAt: number | null;
};

/** With `slot` the ranges are of members that are still to be admitted; else of rows. */
export type ServeInput = { team: string; ranges: PoolRange[]; slot?: { clock: string; at: string } };

/** `calls` that were made or ended. `left`: the time of one activity was over before its ranges were. */
export type Served = { calls: number; left: boolean };

export type PoolActivities = {
  /** Cuts a slot's members into ranges. */
  planSlot(input: { team: string; clock: string; slot: string }): Promise<PoolPlan>;
  /** Cuts the unfinished rows of the calling workflow's pool into ranges. */
  planPool(input: { team: string }): Promise<PoolPlan>;
  /** Admits, claims, calls and records what is in its ranges. Repeating it repeats only calls without a recorded outcome. */
  servePoolRanges(input: ServeInput): Promise<Served>;
  /** Ends what the calling workflow has not finished, because it was cancelled in Temporal. */
  closePool(input: { team: string; status: 'cancelled'; reason: string }): Promise<void>;
};
