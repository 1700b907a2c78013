/** What the tests of shared clocks look at: which clock a job is a member of, and when. */
import assert from 'node:assert/strict';
import type { Pool } from '../../src/postgres.ts';
import { rows } from './jobs-under-test.ts';

export const clockIdOf = async (pool: Pool, jobId: string): Promise<string> =>
  (await rows<{ clock_id: string }>(pool, 'SELECT clock_id FROM jobs WHERE id = $1', jobId))[0]!.clock_id;

/** As Temporal's answer leaves a clock. */
export const observed = (pool: Pool, clockId: string) =>
  pool.query('UPDATE clocks SET observed_generation = generation WHERE id = $1', [clockId]);

export type Stretch = { clock_id: string; valid_from: Date; valid_to: Date | number };
export const stretchesOf = (pool: Pool, jobId: string): Promise<Stretch[]> =>
  rows(pool, 'SELECT clock_id, valid_from, valid_to FROM clock_members WHERE job_id = $1 ORDER BY valid_from, valid_to', jobId);

/** From its first moment on the job is a member of one clock, and of one only. */
export async function assertOneClockAtATime(pool: Pool, jobId: string): Promise<Stretch[]> {
  const stretches = (await stretchesOf(pool, jobId)).filter((one) => +one.valid_from !== +one.valid_to);
  assert.ok(stretches.length > 0);
  for (const [index, one] of stretches.entries())
    assert.equal(+one.valid_to, +(stretches[index + 1]?.valid_from ?? Number.POSITIVE_INFINITY), JSON.stringify(stretches));
  return stretches;
}

let hours = 100;
/** A schedule that nobody else has. */
export const alone = () => ({ every: `${++hours}h` });
