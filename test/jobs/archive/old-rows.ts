/** Executions of long ago, as they would have been left: their months, their attempts, their teams. */
import { newExecutionId, slotExecutionId } from '../../../src/jobs/ids.ts';
import type { Pool } from '../../../src/postgres.ts';
import type { SeededJob } from '../../support/seed.ts';

export type OldRow = { id: string; at: Date };

/** Slots of a job from a time on, `everyS` apart, each with `attempts` attempts. */
export async function oldSlots(
  pool: Pool,
  job: Pick<SeededJob, 'id' | 'team'>,
  {
    from,
    count,
    everyS = 3_600,
    attempts = 1,
    status = 'succeeded',
  }: { from: Date; count: number; everyS?: number; attempts?: number; status?: string },
): Promise<OldRow[]> {
  const rows = Array.from({ length: count }, (_, nth) => {
    const at = new Date(from.getTime() + nth * everyS * 1_000);
    return { id: slotExecutionId(job.id, at), at };
  });
  await insert(pool, job, rows, { attempts, status });
  return rows;
}

/** One execution that somebody asked for, at a time of long ago. */
export async function oldTrigger(
  pool: Pool,
  job: Pick<SeededJob, 'id' | 'team'>,
  at: Date,
  values: { status?: string } = {},
): Promise<OldRow> {
  const hex = at.getTime().toString(16).padStart(12, '0');
  const id = newExecutionId(job.id, 'manual').replace(/manual-.{13}/, `manual-${hex.slice(0, 8)}-${hex.slice(8)}`);
  await insert(pool, job, [{ id, at }], { attempts: 0, status: 'succeeded', ...values });
  return { id, at };
}

async function insert(
  pool: Pool,
  job: Pick<SeededJob, 'id' | 'team'>,
  rows: readonly OldRow[],
  { attempts, status }: { attempts: number; status: string },
): Promise<void> {
  const ended = !['queued', 'running'].includes(status);
  for (const { at } of [rows[0]!, rows.at(-1)!]) await pool.query('SELECT ensure_partitions($1)', [at]);
  await pool.query(
    `WITH executions AS (
       INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, attempt, tries, max_attempts, priority, queue, dispatch,
                                   created_at, started_at, finished_at, result, input, has_input)
       SELECT r.at, r.id, $3, $4, 'old ' || $4, 1, 'schedule', r.at, r.at, $5, $6, $6, 3, 3, 'default', 'dedicated',
              r.at, r.at + interval '1.123456 s', CASE WHEN $7 THEN r.at + interval '2.5 s' END, json_build_object('text', E'zwei\\nZeilen "ü" 😀', 'at', r.at), E'{\\n "a": 1\\r\\n}', true
         FROM unnest($1::text[], $2::timestamptz[]) r (id, at)
     )
     INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at, response_status, worker)
     SELECT r.at, r.id, a, $3, 'succeeded', r.at + interval '1 s', r.at + interval '2 s', 200, 'w' FROM unnest($1::text[], $2::timestamptz[]) r (id, at), generate_series(1, $6) a`,
    [rows.map(({ id }) => id), rows.map(({ at }) => at), job.team, job.id, status, attempts, ended],
  );
}

/** All rows of a table before a time, as text in the order of their keys. */
export async function rowsBefore(pool: Pool, table: 'job_executions' | 'job_attempts', before: Date): Promise<string[]> {
  const { rows } = await pool.query<{ row: string }>(
    `SELECT row_to_json(t)::text AS row FROM ${table} t WHERE partition_at < $1 ORDER BY 1`,
    [before],
  );
  return rows.map(({ row }) => row);
}
