/** Statements that move a delivery towards its end. Whoever has claimed one writes only while nobody has claimed it after him. */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { Message } from './message.ts';

export type ClaimedDelivery = {
  id: string;
  team: string;
  channel_id: string;
  channel_name: string;
  channel_type: string;
  kind: string;
  reason: string | null;
  message: Message | null;
  dedup_key: string | null;
  resolve_keys: string[] | null;
  attempts: number;
  claim: string;
  give_up_at: Date;
  requested_by: string | null;
};
const COLUMNS =
  'd.id, d.team, d.channel_id, d.channel_name, d.channel_type, d.kind, d.reason, d.message, d.dedup_key, d.resolve_keys, d.attempts, d.claim, d.give_up_at, d.requested_by';
const OPEN = `('gathering', 'waiting', 'sending')`;

/**
 * Claims deliveries that are due, some of each channel, so that one that hangs keeps no other waiting. What somebody has claimed and not ended within the lease is due again.
 * @param busy channels that have enough under way in this process.
 */
export async function deliveriesClaim(
  database: Queryable,
  {
    limit,
    perChannel,
    busy,
    leaseMs,
    giveUpMs,
  }: { limit: number; perChannel: number; busy: readonly string[]; leaseMs: number; giveUpMs: number },
): Promise<ClaimedDelivery[]> {
  const { rows } = await database.query<ClaimedDelivery>(
    `WITH due AS MATERIALIZED (
       SELECT d.id FROM (
         SELECT DISTINCT x.channel_id FROM deliveries x WHERE x.state IN ${OPEN} AND x.due_at <= now() AND x.channel_id <> ALL ($3::text[])
       ) c CROSS JOIN LATERAL (
         SELECT d.id FROM deliveries d WHERE d.channel_id = c.channel_id AND d.state IN ${OPEN} AND d.due_at <= now()
          ORDER BY d.due_at, d.id LIMIT $2 FOR UPDATE SKIP LOCKED
       ) d LIMIT $1
     )
     UPDATE deliveries d
        SET state = 'sending', claim = d.claim + 1, attempts = d.attempts + 1, due_at = now() + $4 * interval '1 millisecond',
            give_up_at = coalesce(d.give_up_at, now() + $5 * interval '1 millisecond')
       FROM due WHERE d.id = due.id
     RETURNING ${COLUMNS}`,
    [limit, perChannel, busy, leaseMs, giveUpMs],
  );
  return rows;
}

/** Fixes what a claimed delivery says. False: somebody else has it by now. */
export async function deliveryFix(
  tx: Transaction,
  { id, claim }: Pick<ClaimedDelivery, 'id' | 'claim'>,
  said: { message: Message; dedupKey: string | null; resolveKeys: readonly string[] | null },
): Promise<boolean> {
  const fixed = await tx.query(
    `UPDATE deliveries SET message = $3, dedup_key = $4, resolve_keys = $5 WHERE id = $1 AND claim = $2 AND state = 'sending'`,
    [id, claim, JSON.stringify(said.message), said.dedupKey, said.resolveKeys],
  );
  return fixed.rowCount === 1;
}

/** Puts a claimed delivery back without an attempt: quiet hours, another delivery that has to go first, or the end of this process. */
export async function deliveryPutBack(
  database: Queryable,
  { id, claim }: Pick<ClaimedDelivery, 'id' | 'claim'>,
  dueAt: Date,
  reason: string | null,
): Promise<void> {
  await database.query(
    `UPDATE deliveries SET state = 'waiting', reason = $4, due_at = $3, attempts = greatest(attempts - 1, 0),
            give_up_at = CASE WHEN attempts <= 1 THEN NULL ELSE give_up_at END
      WHERE id = $1 AND claim = $2 AND state = 'sending'`,
    [id, claim, dueAt, reason],
  );
}

/** Ends a claimed delivery without sending it. */
export async function deliverySuppress(
  database: Queryable,
  { id, claim }: Pick<ClaimedDelivery, 'id' | 'claim'>,
  reason: string,
): Promise<void> {
  await database.query(
    `UPDATE deliveries SET state = 'suppressed', reason = $3, attempts = greatest(attempts - 1, 0), finished_at = clock_timestamp()
      WHERE id = $1 AND claim = $2 AND state = 'sending'`,
    [id, claim, reason],
  );
}

export type AttemptEntry = { at: string; outcome: 'delivered' | 'failed'; detail: string; durationMs: number };

/**
 * Writes what became of an attempt. @param next when it is tried again; null: never, and `reason` says why.
 * @returns false when somebody else has claimed it since: his attempt counts.
 */
export async function deliveryRecord(
  database: Queryable,
  { id, claim }: Pick<ClaimedDelivery, 'id' | 'claim'>,
  entry: AttemptEntry,
  { next, reason }: { next: Date | null; reason: string | null },
): Promise<boolean> {
  const state = entry.outcome === 'delivered' ? 'delivered' : next ? 'waiting' : 'failed';
  const written = await database.query(
    `UPDATE deliveries
        SET state = $3, reason = $4, due_at = coalesce($5, due_at), finished_at = CASE WHEN $3 = 'waiting' THEN NULL ELSE clock_timestamp() END,
            attempt_log = CASE WHEN jsonb_array_length(attempt_log) >= 20 THEN attempt_log - 0 ELSE attempt_log END || $6::jsonb
      WHERE id = $1 AND claim = $2 AND state = 'sending'`,
    [id, claim, state, reason, next, JSON.stringify([entry])],
  );
  return written.rowCount === 1;
}

/** True while a trigger of one of these alerts is still to be sent: closing it first would open it for good. */
export async function hasTriggerAhead(database: Queryable, channelId: string, keys: readonly string[]): Promise<boolean> {
  const { rows } = await database.query<{ ahead: boolean }>(
    `SELECT EXISTS (SELECT 1 FROM deliveries d WHERE d.channel_id = $1 AND d.state IN ${OPEN} AND d.dedup_key = ANY ($2::text[])) AS ahead`,
    [channelId, keys],
  );
  return rows[0]!.ahead;
}

/** How old the oldest delivery is that is due and not sent, and the oldest event nobody has taken; seconds, 0 for none. */
export async function backlogAges(database: Queryable): Promise<{ deliveries: number; events: number }> {
  const { rows } = await database.query<{ deliveries: number; events: number }>(
    `SELECT coalesce(extract(epoch FROM now() - (SELECT min(d.created_at) FROM deliveries d
                                                  WHERE d.state IN ${OPEN} AND d.due_at <= now())), 0)::float8 AS deliveries,
            coalesce(extract(epoch FROM now() - (SELECT e.at FROM job_events e WHERE e.taken_at IS NULL ORDER BY e.id LIMIT 1)), 0)::float8 AS events`,
  );
  return rows[0]!;
}
