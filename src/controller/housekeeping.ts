/** Loops: what time makes necessary (partitions ahead, expired rows gone), and the gauges that only a look at the tables can give. */
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Pool, Queryable } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import { partitionsEnsure } from './partitions-ahead.ts';
import type { Servers } from './servers.ts';

const BATCH = 1_000;

/** Deletes a batch of expired idempotency keys of all teams; returns how many. */
async function idempotencyKeysExpire(database: Queryable): Promise<number> {
  const deleted = await database.query(
    `DELETE FROM idempotency_keys WHERE (holder, method, path, key) IN (
       SELECT holder, method, path, key FROM idempotency_keys WHERE expires_at < now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)`,
    [BATCH],
  );
  return deleted.rowCount ?? 0;
}

/** Deletes workers that have not been heard of for five minutes; returns how many. */
async function workersExpire(database: Queryable): Promise<number> {
  const deleted = await database.query(`DELETE FROM workers WHERE seen_at < now() - interval '5 minutes'`);
  return deleted.rowCount ?? 0;
}

export function createHousekeeping(deps: { pool: Pool; servers: Servers; log: Log; intervalMs?: number }): Loop {
  const { pool, servers, log, intervalMs = 60_000 } = deps;
  return createLoop({
    name: 'housekeeping',
    intervalMs,
    needs: ['Postgres'],
    servers,
    log,
    pass: async (signal) => {
      await alone(pool, 'housekeeping', async () => {
        const partitions = await partitionsEnsure(pool);
        let keys = 0;
        for (let batch = BATCH; batch === BATCH && !signal.aborted; keys += batch) batch = await idempotencyKeysExpire(pool);
        const workers = await workersExpire(pool);
        if (partitions + keys + workers > 0)
          log.info({ partitions, keys, workers }, 'housekeeping: partitions made, expired idempotency keys and workers removed');
      });
      return undefined;
    },
  });
}

const STATES = ['active', 'paused', 'disabled', 'finished', 'on_demand', 'deleting'];

export function createGauges(deps: { pool: Pool; servers: Servers; metrics: Metrics; log: Log; intervalMs?: number }): Loop {
  const { pool, servers, metrics, log, intervalMs = 15_000 } = deps;
  return createLoop({
    name: 'gauges',
    intervalMs,
    needs: ['Postgres'],
    servers,
    log,
    pass: async () => {
      const jobs = await pool.query<{ state: string; count: string }>('SELECT state, count(*) FROM jobs GROUP BY state');
      const byState = new Map(jobs.rows.map((row) => [row.state, Number(row.count)]));
      for (const state of STATES) metrics.activeJobs.set({ state }, byState.get(state) ?? 0);

      const pending = await pool.query<{ count: string }>('SELECT count(*) FROM clocks WHERE generation <> observed_generation');
      metrics.reconcilePending.set(Number(pending.rows[0]?.count ?? 0));

      const backlog = await pool.query<{ queue: string; count: string }>(
        `SELECT queue, count(*) FROM job_executions WHERE finished_at IS NULL AND status = 'queued' AND NOT waiting AND due_at <= now() GROUP BY queue`,
      );
      metrics.queueBacklog.reset();
      for (const row of backlog.rows) metrics.queueBacklog.set({ queue: row.queue }, Number(row.count));
      return undefined;
    },
  });
}
