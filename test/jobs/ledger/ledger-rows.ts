/** Rows of slots for tests that look at what is said of them. */
import { slotExecutionId } from '../../../src/jobs/ids.ts';
import type { Pool } from '../../../src/postgres.ts';

/** A row of a slot, as admit and record leave it. @param row.tookMs how long it ran; null: it has not begun. */
export async function slotRow(
  pool: Pool,
  job: string,
  slot: Date,
  row: { status?: string; reason?: string; waitedMs?: number; tookMs?: number | null } = {},
): Promise<string> {
  const { status = 'succeeded', reason = null, waitedMs = 100, tookMs = status === 'skipped' || status === 'queued' ? null : 500 } = row;
  const id = slotExecutionId(job, slot);
  const started = tookMs === null ? null : new Date(slot.getTime() + waitedMs);
  const ended = status === 'queued' || status === 'running' ? null : new Date((started ?? slot).getTime() + (tookMs ?? 0));
  await pool.query(
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, reason, max_attempts, priority, queue, dispatch,
                                 created_at, started_at, finished_at)
     VALUES ($1, $2, 'default', $3, (SELECT name FROM jobs WHERE id = $3), 1, 'schedule', $1, $1, $4, $5, 3, 3, 'default', 'dedicated', $1, $6, $7)`,
    [slot, id, job, status, reason, started, ended],
  );
  return id;
}

/** The full minute so many minutes ago. */
export const minutesAgo = (minutes: number): Date => new Date(Math.floor(Date.now() / 60_000) * 60_000 - minutes * 60_000);
