/** Says in Postgres which workers live and which handlers they offer, so that an unknown handler is refused when a job is saved. */
import { randomUUID } from 'node:crypto';
import type { Log } from './log.ts';
import type { Pool } from './postgres.ts';

const SAY_EVERY_MS = 10_000;

/** Keeps the worker's row fresh until `close`, which deletes it. While Postgres is away it goes on trying. */
export function registerWorker({
  pool,
  log,
  queues,
  handlers,
}: {
  pool: Pool;
  log: Log;
  queues: readonly string[];
  handlers: readonly object[];
}) {
  const id = randomUUID();
  const say = () =>
    pool
      .query(
        `INSERT INTO workers (id, queues, handlers) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET queues = excluded.queues, handlers = excluded.handlers, seen_at = now()`,
        [id, queues, JSON.stringify(handlers)],
      )
      .catch((error: unknown) => log.debug({ error: String(error) }, 'could not say that this worker lives'));
  const first = say();
  const timer = setInterval(() => void say(), SAY_EVERY_MS);
  return {
    /** Settles when the row was first written, or could not be. */
    said: first,
    close: async () => {
      clearInterval(timer);
      await pool.query('DELETE FROM workers WHERE id = $1', [id]).catch(() => {});
    },
  };
}
