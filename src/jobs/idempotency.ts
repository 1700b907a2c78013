/**
 * Idempotency keys: one request, one effect, one answer.
 *
 * The row is inserted in the SAME transaction as the write, so that neither exists without the other. It is committed with a provisional
 * answer and completed once the inline reconcile is done (at most a second later). Others with the same key wait for that; when it
 * does not come within 2 s (the process died), the provisional answer becomes the answer, for everyone, the first one included.
 * Only successes are stored: a refused request may be corrected and sent again with the same key.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Queryable, Transaction } from '../postgres.ts';
import { JobError } from './errors.ts';

export type StoredResponse = { status: number; location: string | null; body: string };

/** The key of one request. `render` makes the answer of what the use case has written (before it is known to be in Temporal). */
export type IdempotencyContext = {
  team: string;
  holder: string;
  method: string;
  path: string;
  key: string;
  /** SHA-256 of the request's body. */
  bodyHash: Buffer;
  keepHours: number;
  render: (value: unknown) => StoredResponse;
};

/** Thrown inside the use case's transaction when the key is taken: the transaction rolls back, the API replays. */
export class IdempotencyKeyTaken extends Error {
  override name = 'IdempotencyKeyTaken';
}

/**
 * First statement of a keyed write. Waits (≤ 10 s) for a transaction that is inserting the same key.
 * @param value what `render` makes the provisional answer of; ids are made before, so it is known before the write.
 * @throws IdempotencyKeyTaken when the key has an answer already; let it through.
 */
export async function claimIdempotencyKey(tx: Transaction, context: IdempotencyContext | undefined, value: unknown): Promise<void> {
  if (!context) return;
  const { status, location, body } = context.render(value);
  await tx.query(`SET LOCAL lock_timeout = '10s'`);
  const claimed = await tx.query(
    `INSERT INTO idempotency_keys AS stored (team, holder, method, path, key, body_hash, status, location, body, complete, created_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, false, clock_timestamp(), clock_timestamp() + make_interval(hours => $10))
     ON CONFLICT (holder, method, path, key) DO UPDATE
       SET team = excluded.team, body_hash = excluded.body_hash, status = excluded.status, location = excluded.location,
           body = excluded.body, complete = false, created_at = excluded.created_at, expires_at = excluded.expires_at
       WHERE stored.expires_at <= clock_timestamp()`,
    [context.team, context.holder, context.method, context.path, context.key, context.bodyHash, status, location, body, context.keepHours],
  );
  if (claimed.rowCount === 0) throw new IdempotencyKeyTaken(`the idempotency key ${context.key} has an answer`);
}

/**
 * For a write that is refused and yet leaves a row behind: it stores no answer, but must not stand beside one that the key has already.
 * @throws IdempotencyKeyTaken as `claimIdempotencyKey`.
 */
export async function leaveIdempotencyKey(tx: Transaction, context: IdempotencyContext | undefined): Promise<void> {
  if (context && (await readKey(tx, context))) throw new IdempotencyKeyTaken(`the idempotency key ${context.key} has an answer`);
}

/**
 * Stores the final answer, unless another has become final meanwhile.
 * @returns the answer that counts: `response`, or what others with this key have been given already.
 */
export async function completeIdempotencyKey(
  database: Queryable,
  context: IdempotencyContext,
  response: StoredResponse,
): Promise<StoredResponse> {
  const done = await database.query(
    `INSERT INTO idempotency_keys AS stored (team, holder, method, path, key, body_hash, status, location, body, complete, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, true, now() + make_interval(hours => $10))
     ON CONFLICT (holder, method, path, key) DO UPDATE
       SET body_hash = excluded.body_hash, status = excluded.status, location = excluded.location, body = excluded.body, complete = true
       WHERE NOT stored.complete OR stored.expires_at <= now()`,
    [
      context.team,
      context.holder,
      context.method,
      context.path,
      context.key,
      context.bodyHash,
      response.status,
      response.location,
      response.body,
      context.keepHours,
    ],
  );
  if (done.rowCount === 1) return response;
  return (await findIdempotentResponse(database, context)) ?? response;
}

type Row = { status: number; location: string | null; body: string; body_hash: Buffer; complete: boolean; age_ms: number };

const FIRST_POLL_MS = 25;
const LONGEST_POLL_MS = 100;
const PROVISIONAL_AFTER_MS = 2_000;

/**
 * The stored answer of a key, or null when the key is free. Waits for one that is still provisional.
 * @throws JobError `invalid` when the key was used with another body.
 */
export async function findIdempotentResponse(database: Queryable, context: IdempotencyContext): Promise<StoredResponse | null> {
  for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(LONGEST_POLL_MS, pollMs * 2)) {
    const row = await readKey(database, context);
    if (!row) return null;
    if (!row.body_hash.equals(context.bodyHash)) {
      throw new JobError(
        'invalid',
        'idempotency_key_reused',
        'This Idempotency-Key was used with another body; take a new key for a new request.',
        {
          errors: [{ path: 'header/Idempotency-Key', message: 'was used with another body', code: 'idempotency_key_reused' }],
        },
      );
    }
    if (row.complete) return { status: row.status, location: row.location, body: row.body };
    if (row.age_ms >= PROVISIONAL_AFTER_MS) await settleProvisional(database, context);
    else await sleep(pollMs);
  }
}

async function readKey(database: Queryable, { team, holder, method, path, key }: IdempotencyContext): Promise<Row | undefined> {
  const found = await database.query<Row>(
    `SELECT status, location, body, body_hash, complete, extract(epoch FROM clock_timestamp() - created_at)::float8 * 1000 AS age_ms
     FROM idempotency_keys
     WHERE team = $1 AND holder = $2 AND method = $3 AND path = $4 AND key = $5 AND expires_at > clock_timestamp()`,
    [team, holder, method, path, key],
  );
  return found.rows[0];
}

/** Whoever wrote the provisional answer has gone: it becomes the final one. */
async function settleProvisional(database: Queryable, { team, holder, method, path, key }: IdempotencyContext): Promise<void> {
  await database.query(
    `UPDATE idempotency_keys SET complete = true WHERE team = $1 AND holder = $2 AND method = $3 AND path = $4 AND key = $5 AND NOT complete`,
    [team, holder, method, path, key],
  );
}

/** Deletes keys past their time, at most `limit` of them; returns how many. For the controller's retention. */
export async function deleteExpiredIdempotencyKeys(database: Queryable, limit = 10_000): Promise<number> {
  const gone = await database.query(
    `DELETE FROM idempotency_keys WHERE (holder, method, path, key) IN
       (SELECT holder, method, path, key FROM idempotency_keys WHERE expires_at <= now() ORDER BY expires_at LIMIT $1)`,
    [limit],
  );
  return gone.rowCount ?? 0;
}
