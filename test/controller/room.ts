/** What the tests of clocks and of the controller stand on: a database, a namespace, a client, and rows made to order. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { compileCron } from '../../src/jobs/time/cron.ts';
import { normaliseTiming, type Timing, timingHash } from '../../src/jobs/time/timing.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { createTemporalClient } from '../../src/temporal.ts';
import { type SeededJob, seedJob } from '../support/seed.ts';
import { createTestDatabase, createTestNamespace } from '../support/stack.ts';

export const silent = createLog('test', 'silent');

export type Room = { pool: Pool; temporal: Client; databaseUrl: string; namespace: string; address: string; close: () => Promise<void> };

export const clientOf = (address: string, namespace: string): Client =>
  createTemporalClient({ TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: namespace, TEMPORAL_API_KEY: '', TEMPORAL_TLS: false });

export async function openRoom(): Promise<Room> {
  const [database, namespace] = await Promise.all([createTestDatabase(), createTestNamespace()]);
  const pool = createPool({ DATABASE_URL: database.url, DATABASE_POOL: 20, DATABASE_CONNECT_TIMEOUT_MS: 10_000 }, silent, 'test');
  const temporal = clientOf(namespace.address, namespace.name);
  return {
    pool,
    temporal,
    databaseUrl: database.url,
    namespace: namespace.name,
    address: namespace.address,
    close: async () => {
      await temporal.connection.close();
      await pool.end();
      await database.drop();
    },
  };
}

/** A job whose clock waits for its first reconcile. */
export async function seedClock(pool: Pool, cron = '0 2 * * *', timezone = 'Europe/Berlin'): Promise<SeededJob> {
  const job = await seedJob(pool, { everyS: 86_400, validFrom: new Date() });
  await setTiming(pool, job.id, normaliseTiming({ calendars: compileCron(cron), intervals: [], timezone }));
  await pool.query(`UPDATE clocks SET generation = 1, observed_generation = 0, reconcile_at = now() - interval '1 minute' WHERE id = $1`, [
    job.id,
  ]);
  return job;
}

export async function setTiming(pool: Pool, clockId: string, timing: Timing): Promise<void> {
  const hash = timingHash(timing, 'default', 'default');
  await pool.query('INSERT INTO timings (hash, timing) VALUES ($1, $2) ON CONFLICT DO NOTHING', [hash, JSON.stringify(timing)]);
  await pool.query('UPDATE clocks SET timing_hash = $2, generation = generation + 1 WHERE id = $1', [clockId, hash]);
}

/** Changes a clock's row as a use case would: some columns, and one generation more. */
export async function change(pool: Pool, clockId: string, columns: string): Promise<void> {
  await pool.query(`UPDATE clocks SET ${columns}, generation = generation + 1, reconcile_at = now() WHERE id = $1`, [clockId]);
}

export type ClockState = {
  generation: number;
  observed: number;
  failures: number;
  last_error: string | null;
  paused: boolean;
  deleted: boolean;
};

export async function clockState(pool: Pool, clockId: string): Promise<ClockState | undefined> {
  const { rows } = await pool.query<ClockState>(
    `SELECT generation::int, observed_generation::int AS observed, failures, last_error, paused, deleted_at IS NOT NULL AS deleted FROM clocks WHERE id = $1`,
    [clockId],
  );
  return rows[0];
}

/** The schedule as Temporal describes it, or null. */
export const scheduleOrNull = (temporal: Client, scheduleId: string) =>
  temporal.schedule
    .getHandle(scheduleId)
    .describe()
    .catch((error: Error) => {
      if (error.name === 'ScheduleNotFoundError') return null;
      throw error;
    });

/** Looks every 50 ms until `look` gives something; fails with what was seen last. */
export async function until<T>(what: string, look: () => Promise<T | null | undefined | false>, withinMs = 30_000): Promise<T> {
  const startedAt = Date.now();
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() - startedAt > withinMs) throw new Error(`${what}: not within ${withinMs} ms (last: ${JSON.stringify(seen)})`);
    await sleep(50);
  }
}
