/** Statements about clock rows: what a clock should be, what Temporal is known to have, and when to try again. */
import type { Queryable } from '../../postgres.ts';
import type { Timing } from '../time/timing.ts';

/** What the database wants of one clock, read in one statement. */
export type DesiredClock = {
  id: string;
  team: string;
  kind: 'dedicated' | 'pooled';
  queue: string;
  paused: boolean;
  generation: number;
  /** The generation Temporal is known to have; 0: it has never been created, or is known to be missing. */
  observedGeneration: number;
  /** True: a tombstone, the schedule must go. */
  deleted: boolean;
  timing: Timing;
  /** What a person reads beside the schedule in the Web UI: the job's name, or what the clock is for. */
  label: string;
};

/** The label of a clock that several jobs share. */
export const SHARED_LABEL = 'several jobs with the same timing';

type ClockRow = {
  id: string;
  team: string;
  kind: 'dedicated' | 'pooled';
  queue: string;
  paused: boolean;
  generation: string;
  observed_generation: string;
  deleted: boolean;
  timing: Timing;
  job_name: string | null;
};

const DESIRED = `
  SELECT c.id, c.team, c.kind, c.queue, c.paused, c.generation, c.observed_generation, c.deleted_at IS NOT NULL AS deleted, t.timing, r.job_name
    FROM clocks c
    JOIN timings t ON t.hash = c.timing_hash
    LEFT JOIN job_runtime r ON r.job_id = c.id`;

const toDesired = (row: ClockRow): DesiredClock => ({
  id: row.id,
  team: row.team,
  kind: row.kind,
  queue: row.queue,
  paused: row.paused,
  generation: Number(row.generation),
  observedGeneration: Number(row.observed_generation),
  deleted: row.deleted,
  timing: row.timing,
  label: row.job_name ?? SHARED_LABEL,
});

/** Reads one clock; null when there is no row. Always on the primary. */
export async function clockDesired(database: Queryable, clockId: string): Promise<DesiredClock | null> {
  const found = await database.query<ClockRow>(`${DESIRED} WHERE c.id = $1`, [clockId]);
  return found.rows[0] ? toDesired(found.rows[0]) : null;
}

/** Reads many clocks by id; ids without a row are left out. `settled`: Temporal should have had it for so long that its list shows it. */
export async function clocksDesired(database: Queryable, clockIds: string[]): Promise<(DesiredClock & { settled: boolean })[]> {
  const found = await database.query<ClockRow & { settled: boolean }>(
    `SELECT d.*, c.generation = c.observed_generation AND c.reconcile_at < now() - interval '15 seconds' AS settled
       FROM (${DESIRED} WHERE c.id = ANY ($1::text[])) d JOIN clocks c ON c.id = d.id`,
    [clockIds],
  );
  return found.rows.map((row) => ({ ...toDesired(row), settled: row.settled }));
}

/**
 * Notes that Temporal has this generation, unless the row has moved on meanwhile.
 * `reconcile_at` then says when that was, so that the sweep leaves fresh clocks alone (Temporal's list lags behind).
 * @returns false when the row has another generation now, or is gone.
 */
export async function clockSetObservedIfUnmoved(database: Queryable, clockId: string, generation: number): Promise<boolean> {
  const updated = await database.query(
    `UPDATE clocks SET observed_generation = $2, failures = 0, last_error = NULL, reconcile_at = now() WHERE id = $1 AND generation = $2`,
    [clockId, generation],
  );
  return updated.rowCount === 1;
}

/** The same for many at once. A row that somebody holds locked is passed over, so that one slow holder does not stop the others. Returns the ids written. */
export async function clocksSetObservedIfUnmoved(database: Queryable, clocks: { id: string; generation: number }[]): Promise<Set<string>> {
  const updated = await database.query<{ id: string }>(
    `WITH reached AS (
       SELECT c.id, c.generation FROM unnest($1::text[], $2::bigint[]) AS done (id, generation)
         JOIN clocks c ON c.id = done.id AND c.generation = done.generation
        ORDER BY c.id FOR UPDATE OF c SKIP LOCKED)
     UPDATE clocks c SET observed_generation = c.generation, failures = 0, last_error = NULL, reconcile_at = now()
       FROM reached WHERE c.id = reached.id AND c.generation = reached.generation
     RETURNING c.id`,
    [clocks.map((clock) => clock.id), clocks.map((clock) => clock.generation)],
  );
  return new Set(updated.rows.map((row) => row.id));
}

/** Longest wait between two tries, milliseconds, jitter included: what was written while Temporal was away must be true there 30 s after it is back. */
export const LONGEST_BACKOFF_MS = 20_000;

/** Notes a failed try: the next one comes after 1 s, 2 s, 4 s … up to 20 s, spread by up to a quarter. */
export async function clockNoteFailure(database: Queryable, clockId: string, generation: number, error: string): Promise<void> {
  await database.query(
    `UPDATE clocks
        SET failures = failures + 1, last_error = left($3, 500),
            reconcile_at = now() + make_interval(secs => least($4::double precision, power(2, least(failures, 10))) * (0.75 + random() / 4))
      WHERE id = $1 AND generation = $2 AND observed_generation <> generation`,
    [clockId, generation, error, LONGEST_BACKOFF_MS / 1000],
  );
}

/** Lets every clock that waits for its next try be tried at once: Temporal answers again. Returns how many. */
export async function clocksRetryNow(database: Queryable): Promise<number> {
  const updated = await database.query(
    `UPDATE clocks SET reconcile_at = now() - interval '1 minute', failures = 0
      WHERE generation <> observed_generation AND reconcile_at > now()`,
  );
  return updated.rowCount ?? 0;
}

/**
 * Takes clocks whose schedule is not known to be true, longest due first, and puts their next try off by `leaseMs`, so that another controller takes
 * others. A clock that was written less than `freshMs` ago is left to the process that wrote it, unless it is among the `hinted`.
 */
export async function clocksTakePending(
  database: Queryable,
  take: { limit: number; freshMs: number; leaseMs: number; hinted: string[] },
): Promise<string[]> {
  const taken = await database.query<{ id: string }>(
    `WITH due AS (
       SELECT id FROM clocks
        WHERE generation <> observed_generation AND reconcile_at <= now()
          AND (reconcile_at <= now() - make_interval(secs => $2 / 1000.0) OR id = ANY ($4::text[]))
        ORDER BY reconcile_at LIMIT $1 FOR UPDATE SKIP LOCKED)
     UPDATE clocks c SET reconcile_at = now() + make_interval(secs => $3 / 1000.0) FROM due WHERE c.id = due.id RETURNING c.id`,
    [take.limit, take.freshMs, take.leaseMs, take.hinted],
  );
  return taken.rows.map((row) => row.id);
}

export async function clocksPendingCount(database: Queryable): Promise<number> {
  const counted = await database.query<{ count: string }>('SELECT count(*) FROM clocks WHERE generation <> observed_generation');
  return Number(counted.rows[0]?.count ?? 0);
}
