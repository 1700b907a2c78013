/** Jobs on one pooled clock, and rows in a pool, as the use cases would leave them. */
import { newExecutionId, partitionAtOf, pooledClockId } from '../../../src/jobs/ids.ts';
import type { Pool } from '../../../src/postgres.ts';
import { type SeededJob, seedJob } from '../../support/seed.ts';

export type Seed = Parameters<typeof seedJob>[1];

/** Members of one pooled clock that fires every `everyS` seconds; `seeds` one by one. */
export async function seedPooledJobs(pool: Pool, seeds: readonly Seed[]): Promise<{ clock: string; jobs: SeededJob[] }> {
  const jobs: SeededJob[] = [];
  for (const seed of seeds) jobs.push(await seedJob(pool, seed));
  const clock = pooledClockId(jobs[0]!.hash);
  await pool.query(
    `INSERT INTO clocks (id, team, kind, timing_hash, queue, observed_generation) VALUES ($1, 'default', 'pooled', $2, 'default', 1) ON CONFLICT DO NOTHING`,
    [clock, jobs[0]!.hash],
  );
  const ids = jobs.map((job) => job.id);
  await pool.query('UPDATE clock_members SET clock_id = $1 WHERE job_id = ANY ($2)', [clock, ids]);
  await pool.query('UPDATE jobs SET clock_id = $1 WHERE id = ANY ($2)', [clock, ids]);
  await pool.query('DELETE FROM clocks WHERE id = ANY ($1)', [ids]);
  await pool.query(`UPDATE job_runtime SET dispatch = 'pooled', poolable = true WHERE job_id = ANY ($1)`, [ids]);
  return { clock, jobs: jobs.sort((a, b) => (a.id < b.id ? -1 : 1)) };
}

/** A queued trigger of a job in a pool. */
export async function seedPooledTrigger(pool: Pool, job: SeededJob, poolId: string): Promise<string> {
  const id = newExecutionId(job.id, 'manual');
  await pool.query(
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, due_at, status, counted, max_attempts, priority, queue, dispatch, workflow_id)
     SELECT $1, $2, r.team, r.job_id, r.job_name, r.generation, 'manual', now(), 'queued', true, r.max_attempts, r.priority, r.queue, 'pooled', $3
       FROM job_runtime r WHERE r.job_id = $4`,
    [partitionAtOf(id), id, poolId, job.id],
  );
  await pool.query('UPDATE job_runtime SET active = active + 1 WHERE job_id = $1', [job.id]);
  return id;
}

/** A one-off in a bucket, not admitted yet. */
export async function seedPooledOnce(pool: Pool, job: SeededJob, poolId: string, dueAt: Date): Promise<string> {
  const id = newExecutionId(job.id, 'once');
  await pool.query(
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch, workflow_id)
     SELECT $1, $2, r.team, r.job_id, r.job_name, r.generation, 'once', $5, $5, 'queued', r.max_attempts, r.priority, r.queue, 'pooled', $3
       FROM job_runtime r WHERE r.job_id = $4`,
    [partitionAtOf(id), id, poolId, job.id, dueAt],
  );
  return id;
}
