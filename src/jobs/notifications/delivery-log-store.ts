/** Statements that read deliveries, and those by which people ask for one. */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { StoredChannel } from './channel-store.ts';
import type { ClaimedDelivery } from './delivery-store.ts';
import type { Message } from './message.ts';

export const DELIVERY_STATES = ['gathering', 'waiting', 'sending', 'delivered', 'failed', 'suppressed'] as const;

export type DeliveryView = {
  id: string;
  channelId: string;
  channel: string;
  channelType: string;
  kind: string;
  state: (typeof DELIVERY_STATES)[number];
  reason: string | null;
  events: number;
  attempts: number;
  lastAttempt: unknown;
  /** When it is sent or tried again; null at its end. */
  nextAttemptAt: string | null;
  requestedBy: string | null;
  createdAt: string;
  finishedAt: string | null;
};

export type DeliveryQuery = {
  team: string;
  /** Id or name. */
  channel?: string | undefined;
  state?: readonly string[] | undefined;
  kind?: readonly string[] | undefined;
  jobId?: string | undefined;
  limit: number;
  /** Id of the last one seen. */
  after?: string | undefined;
};

type DeliveryRow = {
  id: string;
  channel_id: string;
  channel_name: string;
  channel_type: string;
  kind: string;
  state: DeliveryView['state'];
  reason: string | null;
  events: number;
  attempts: number;
  last_attempt: unknown;
  due_at: Date;
  requested_by: string | null;
  created_at: Date;
  finished_at: Date | null;
};
const COLUMNS = `d.id, d.channel_id, d.channel_name, d.channel_type, d.kind, d.state, d.reason, d.events, d.attempts, d.attempt_log -> -1 AS last_attempt,
  d.due_at, d.requested_by, d.created_at, d.finished_at`;

const viewOf = (row: DeliveryRow): DeliveryView => ({
  id: row.id,
  channelId: row.channel_id,
  channel: row.channel_name,
  channelType: row.channel_type,
  kind: row.kind,
  state: row.state,
  reason: row.reason,
  events: row.events,
  attempts: row.attempts,
  lastAttempt: row.last_attempt,
  nextAttemptAt: row.finished_at === null ? row.due_at.toISOString() : null,
  requestedBy: row.requested_by,
  createdAt: row.created_at.toISOString(),
  finishedAt: row.finished_at?.toISOString() ?? null,
});

/** Deliveries of a team, newest first: ids begin with their time. */
export async function deliveriesList(database: Queryable, query: DeliveryQuery): Promise<DeliveryView[]> {
  const values: unknown[] = [];
  const value = (given: unknown) => `$${values.push(given)}`;
  const where = [`d.team = ${value(query.team)}`];
  if (query.channel !== undefined) {
    const channel = value(query.channel);
    where.push(`(d.channel_id = ${channel} OR d.channel_name = ${channel})`);
  }
  if (query.state) where.push(`d.state = ANY (${value(query.state)})`);
  if (query.kind) where.push(`d.kind = ANY (${value(query.kind)})`);
  if (query.after !== undefined) where.push(`d.id < ${value(query.after)}`);
  if (query.jobId !== undefined)
    where.push(
      `EXISTS (SELECT 1 FROM delivery_events de WHERE de.delivery_id = d.id AND de.team = d.team AND de.job_id = ${value(query.jobId)})`,
    );
  const { rows } = await database.query<DeliveryRow>(
    `SELECT ${COLUMNS} FROM deliveries d WHERE ${where.join(' AND ')} ORDER BY d.id DESC LIMIT ${value(query.limit)}`,
    values,
  );
  return rows.map(viewOf);
}

export async function deliveryFind(
  database: Queryable,
  team: string,
  id: string,
): Promise<(DeliveryView & { message: Message | null; attemptLog: unknown[] }) | null> {
  const { rows } = await database.query<DeliveryRow & { message: Message | null; attempt_log: unknown[] }>(
    `SELECT ${COLUMNS}, d.message, d.attempt_log FROM deliveries d WHERE d.team = $1 AND d.id = $2`,
    [team, id],
  );
  const [row] = rows;
  return row ? { ...viewOf(row), message: row.message, attemptLog: row.attempt_log } : null;
}

/** The jobs of a delivery in the order of their first events. */
export async function deliveryJobs(
  database: Queryable,
  team: string,
  id: string,
  limit: number,
): Promise<{ id: string; name: string; events: number }[]> {
  const { rows } = await database.query<{ id: string; name: string; events: number }>(
    `SELECT de.job_id AS id, max(de.job_name) AS name, count(*)::integer AS events FROM delivery_events de
      WHERE de.team = $1 AND de.delivery_id = $2 GROUP BY de.job_id ORDER BY min(de.event_id) LIMIT $3`,
    [team, id, limit],
  );
  return rows;
}

/** Begins a new round of attempts of a delivery that has ended. False: it has not. */
export async function deliveryRedeliver(tx: Transaction, team: string, id: string, by: string): Promise<boolean> {
  const begun = await tx.query(
    `UPDATE deliveries SET state = 'waiting', reason = NULL, attempts = 0, give_up_at = NULL, due_at = now(), finished_at = NULL, requested_by = $3
      WHERE team = $1 AND id = $2 AND state IN ('delivered', 'failed', 'suppressed')`,
    [team, id, by],
  );
  return begun.rowCount === 1;
}

/** A test, claimed by whoever makes it. */
export async function testInsert(
  database: Queryable,
  { id, channel, message, by, leaseMs }: { id: string; channel: StoredChannel; message: Message; by: string; leaseMs: number },
): Promise<ClaimedDelivery> {
  const { rows } = await database.query<ClaimedDelivery>(
    `INSERT INTO deliveries (id, team, channel_id, channel_name, channel_type, kind, group_key, state, events, message, attempts, claim, due_at, give_up_at, requested_by)
     VALUES ($1, $2, $3, $4, $5, 'test', 'test', 'sending', 0, $6, 1, 1, now() + $8 * interval '1 millisecond', now(), $7)
     RETURNING id, team, channel_id, channel_name, channel_type, kind, reason, message, dedup_key, resolve_keys, attempts, claim, give_up_at, requested_by`,
    [id, channel.team, channel.id, channel.document.name, channel.document.type, JSON.stringify(message), by, leaseMs],
  );
  return rows[0]!;
}
