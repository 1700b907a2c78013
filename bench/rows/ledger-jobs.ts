/** Ten thousand jobs of a slot a minute as rows, and the rows that their slots would have: somebody else has run them, so that only the ledger's own work is left to measure. */
import type pg from 'pg';
import { compileCron } from '../../src/jobs/time/cron.ts';
import { normaliseTiming, timingHash } from '../../src/jobs/time/timing.ts';

export type LedgerKind = 'dedicated' | 'pooled';

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'Asia/Tokyo',
  'Australia/Lord_Howe',
  'America/Sao_Paulo',
  'Asia/Kolkata',
  'Africa/Cairo',
];

/** A timing for each of the 60 seconds of a minute; of dedicated jobs, in several zones too, so that few share one. */
function timings(kind: LedgerKind): { hash: string; timing: string; second: number }[] {
  return (kind === 'pooled' ? ['UTC'] : ZONES).flatMap((timezone) =>
    Array.from({ length: 60 }, (_, second) => {
      const timing = normaliseTiming({ calendars: compileCron(`${second} * * * * *`), intervals: [], timezone });
      return { hash: timingHash(timing, 'default', 'default'), timing: JSON.stringify(timing), second };
    }),
  );
}

/** Writes the jobs; they have been members for an hour and are checked up to now. */
export async function storeLedgerJobs(database: pg.Pool, kind: LedgerKind, jobs: number): Promise<void> {
  const all = timings(kind);
  await database.query(
    'INSERT INTO timings (hash, timing, marks_until) SELECT hash, timing, $3 FROM unnest($1::text[], $2::json[]) AS t (hash, timing) ON CONFLICT DO NOTHING',
    [all.map(({ hash }) => hash), all.map(({ timing }) => timing), 'infinity'],
  );
  const values = [jobs, all.map(({ hash }) => hash), all.map(({ second }) => second), kind === 'pooled'];
  await database.query('CREATE TABLE ledger_jobs (id text PRIMARY KEY, second integer NOT NULL, hash text NOT NULL, clock text NOT NULL)');
  await database.query(
    `INSERT INTO ledger_jobs (id, second, hash, clock)
     SELECT made.id, t.second, t.hash, CASE WHEN $4 THEN 'clock_' || t.hash ELSE made.id END
       FROM (SELECT n, 'job_' || lpad(to_hex(n), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0') AS id FROM generate_series(1, $1) n) made
       JOIN unnest($2::text[], $3::integer[]) WITH ORDINALITY AS t (hash, second, nth) ON t.nth = made.n % cardinality($2) + 1`,
    values,
  );
  const next = `to_timestamp(ceil((extract(epoch FROM now()) - second) / 60) * 60 + second)`;
  for (const text of [
    `INSERT INTO jobs (id, team, name, priority, state, generation, document, clock_id, created_by, created_at, updated_at)
     SELECT id, 'default', id, 3, 'active', 1, '{}', clock, 'bench', now(), now() FROM ledger_jobs`,
    `INSERT INTO job_runtime (job_id, team, job_name, generation, priority, queue, dispatch, overlap, catch_up, catch_up_window_ms, max_attempts, next_run_at)
     SELECT id, 'default', id, 1, 3, 'default', '${kind}', 'skip', 'last', 3600000, 3, ${next} FROM ledger_jobs`,
    `INSERT INTO clocks (id, team, kind, timing_hash, queue, observed_generation, next_check_at)
     SELECT DISTINCT clock, 'default', '${kind}', hash, 'default', 1, ${next} + interval '15 seconds' FROM ledger_jobs`,
    `INSERT INTO clock_members (job_id, clock_id, team, generation, timing_hash, valid_from) SELECT id, clock, 'default', 1, hash, now() FROM ledger_jobs`,
  ])
    await database.query(text);
  for (const table of ['jobs', 'job_runtime', 'clocks', 'clock_members', 'ledger_jobs', 'timings'])
    await database.query(`VACUUM ANALYZE ${table}`);
}

/**
 * Writes the rows of the slots that are due, second by second, until it is stopped: each ran for a second, as record would have left it.
 * @returns how many slots have a row.
 */
export function feedSlots(database: pg.Pool): { stop: () => Promise<number> } {
  let [stopped, fed] = [false, 0];
  let second = Math.floor(Date.now() / 1_000) - 2;
  const running = (async () => {
    while (!stopped) {
      for (const now = Math.floor(Date.now() / 1_000); second <= now; second += 1) {
        const { rowCount } = await database.query(
          `WITH due AS (SELECT l.id, to_timestamp($1) AS slot FROM ledger_jobs l WHERE l.second = $1::bigint % 60
           ), moved AS (
             UPDATE job_runtime r SET next_run_at = d.slot + interval '1 minute', last_success_at = d.slot FROM due d WHERE r.job_id = d.id
           )
           INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch,
                                       created_at, started_at, finished_at)
           SELECT d.slot, d.id || '-' || slot_text(d.slot), 'default', d.id, d.id, 1, 'schedule', d.slot, d.slot, 'succeeded', 3, 3, 'default', 'dedicated',
                  d.slot, d.slot, d.slot + interval '1 second' FROM due d ON CONFLICT DO NOTHING`,
          [second],
        );
        fed += rowCount ?? 0;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return fed;
  })();
  return {
    stop: () => {
      stopped = true;
      return running;
    },
  };
}
