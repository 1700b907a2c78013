/** What still runs of the jobs that a freeze covers: to be waited for, or asked to stop. Every team: the controller serves all. */
import type { Queryable } from '../../postgres.ts';

export type WatchedFreeze = { id: string; team: string; cancels: boolean };

/** Calls that were claimed while the freeze was being written are seen by now. */
const CLAIMED_WITHIN_S = 2;

/** Freezes in force that have not seen the end of what runs, and want to. */
export async function freezesUndrained(database: Queryable): Promise<WatchedFreeze[]> {
  const { rows } = await database.query<WatchedFreeze>({
    name: 'freezes-undrained',
    text: `SELECT f.id, f.team, f.cancel_running AS cancels FROM freezes f
            WHERE f.settled_at IS NULL AND f.drained_at IS NULL AND (f.drain OR f.cancel_running)
              AND f.from_at <= clock_timestamp() AND freeze_end(f) > clock_timestamp() ORDER BY f.from_at, f.id`,
  });
  return rows;
}

/** Begun and not ended; one that waits has no call under way, and no try before the freeze is over. Aliases: e executions, f freezes. */
const RUNNING = `e.finished_at IS NULL AND e.status = 'running' AND (e.team = f.team OR f.scope = 'global')
                AND EXISTS (SELECT 1 FROM jobs j WHERE j.id = e.job_id AND freeze_covers(f, j))`;

export type RunningExecution = { team: string; id: string; partition_at: Date };

/** Executions under way that the freeze has not asked to stop yet. */
export async function executionsToStop(database: Queryable, freezeId: string, limit: number): Promise<RunningExecution[]> {
  const { rows } = await database.query<RunningExecution>({
    name: 'freeze-executions-to-stop',
    text: `SELECT e.team, e.id, e.partition_at FROM freezes f CROSS JOIN job_executions e
            WHERE f.id = $1 AND e.cancel_requested_at IS NULL AND ${RUNNING} ORDER BY e.partition_at, e.id LIMIT $2`,
    values: [freezeId, limit],
  });
  return rows;
}

/** Counts what was asked to stop. */
export async function freezeNoteCancelled(database: Queryable, freezeId: string, count: number): Promise<void> {
  await database.query('UPDATE freezes SET cancelled = cancelled + $2 WHERE id = $1', [freezeId, count]);
}

/** Notes that nothing runs any more, if that is so. @returns true when it was noted now. */
export async function freezeNoteDrained(database: Queryable, freezeId: string): Promise<boolean> {
  const noted = await database.query({
    name: 'freeze-note-drained',
    text: `UPDATE freezes f SET drained_at = clock_timestamp()
            WHERE f.id = $1 AND f.drained_at IS NULL AND greatest(f.from_at, f.created_at) < clock_timestamp() - make_interval(secs => $2)
              AND NOT EXISTS (SELECT 1 FROM job_executions e WHERE NOT e.waiting AND ${RUNNING})`,
    values: [freezeId, CLAIMED_WITHIN_S],
  });
  return noted.rowCount === 1;
}
