/** A job whose schedule is over is finished. */
import { inTransaction, type Pool, type Transaction } from '../postgres.ts';

/** Finishes a job, unless it is a member of a clock, now or later, or in a state that stays. The caller holds the lock of its runtime row. */
export async function jobFinish(tx: Transaction, team: string, jobId: string): Promise<void> {
  const finished = await tx.query<{ before: string }>(
    `UPDATE jobs j SET state = 'finished', updated_at = now() FROM (SELECT id, state FROM jobs WHERE id = $1) was
      WHERE j.id = was.id AND j.team = $2 AND j.state IN ('active', 'paused') AND j.deleted_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM clock_members m WHERE m.job_id = j.id AND m.valid_to > now())
     RETURNING was.state AS before`,
    [jobId, team],
  );
  if (!finished.rows[0]) return;
  await tx.query('UPDATE job_runtime SET next_run_at = NULL WHERE job_id = $1 AND team = $2', [jobId, team]);
  await tx.query(
    `INSERT INTO audit_events (team, actor, action, subject_kind, subject_id, before, after)
     VALUES ($1, 'almanac', 'job.finished', 'job', $2, json_build_object('state', $3::text), json_build_object('state', 'finished'))`,
    [team, jobId, finished.rows[0].before],
  );
}

/** The same for members of a shared clock whose membership has ended; one short transaction each. */
export async function jobsFinish(pool: Pool, team: string, clockId: string, jobIds: string[]): Promise<void> {
  for (const jobId of jobIds) {
    await inTransaction(pool, async (tx) => {
      await tx.query('SELECT 1 FROM job_runtime WHERE job_id = $1 AND team = $2 FOR UPDATE', [jobId, team]);
      const { rowCount } = await tx.query('SELECT 1 FROM jobs WHERE id = $1 AND team = $2 AND clock_id = $3 FOR UPDATE', [
        jobId,
        team,
        clockId,
      ]);
      if (rowCount === 1) await jobFinish(tx, team, jobId);
    });
  }
}
