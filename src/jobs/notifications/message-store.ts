/** What a delivery has to say: its events, job by job, and at PagerDuty the alerts they open and close. */
import type { Transaction } from '../../postgres.ts';
import type { ChannelDocument } from './channel-document.ts';
import { joinSecrets } from './channel-secrets.ts';
import { JOBS_NAMED } from './message.ts';

/** The channel as it is now, or null. @param exclusive one delivery at a time, so that opening and closing an alert cannot cross */
export async function channelOf(tx: Transaction, team: string, id: string, exclusive: boolean): Promise<ChannelDocument | null> {
  const { rows } = await tx.query<{ settings: ChannelDocument; secrets: Record<string, string> }>(
    `SELECT settings, secrets FROM channels WHERE id = $1 AND team = $2 ${exclusive ? 'FOR NO KEY UPDATE' : ''}`,
    [id, team],
  );
  return rows[0] ? joinSecrets(rows[0].settings, rows[0].secrets) : null;
}

/**
 * Jobs of a delivery in the order of their first events, and how many events each has.
 * @param alerts true at PagerDuty: without jobs whose trouble and recovery have overtaken each other, by what has come after.
 */
export async function jobsOfDelivery(
  tx: Transaction,
  { id, team, channel_id, kind }: { id: string; team: string; channel_id: string; kind: string },
  alerts: boolean,
): Promise<{ job_id: string; last: string; events: number }[]> {
  const { rows } = await tx.query<{ job_id: string; last: string; events: number }>(
    `WITH mine AS MATERIALIZED (
       SELECT de.job_id, min(de.event_id) AS first, max(de.event_id) AS last, count(*)::integer AS events
         FROM delivery_events de WHERE de.delivery_id = $1 AND de.team = $2 GROUP BY de.job_id
     )
     SELECT m.job_id, m.last, m.events FROM mine m
      WHERE NOT $5::boolean OR NOT EXISTS (
        SELECT 1 FROM delivery_events x
         WHERE x.channel_id = $3 AND x.job_id = m.job_id AND x.event_id > m.last AND (x.kind = 'recovered') <> ($4 = 'recovered'))
      ORDER BY m.first`,
    [id, team, channel_id, kind, alerts],
  );
  return rows;
}

export type EventOfMessage = {
  job_id: string;
  job_name: string;
  at: Date;
  slot: Date | null;
  execution_id: string | null;
  details: unknown;
};

/** The last events of the first jobs, in their order; and when the first and last of all happened. */
export async function eventsOfMessage(
  tx: Transaction,
  deliveryId: string,
  lasts: readonly string[],
): Promise<{ named: EventOfMessage[]; from: Date | null; to: Date | null }> {
  const { rows: named } = await tx.query<EventOfMessage>(
    `SELECT de.job_id, de.job_name, e.at, e.slot, e.execution_id, e.details
       FROM unnest($2::bigint[]) WITH ORDINALITY AS l (id, nth)
       CROSS JOIN LATERAL (SELECT d.job_id, d.job_name FROM delivery_events d WHERE d.delivery_id = $1 AND d.event_id = l.id LIMIT 1) de
       CROSS JOIN LATERAL (SELECT e.at, e.slot, e.execution_id, e.details FROM job_events e WHERE e.id = l.id LIMIT 1) e
      ORDER BY l.nth`,
    [deliveryId, lasts.slice(0, JOBS_NAMED)],
  );
  const { rows } = await tx.query<{ from: Date | null; to: Date | null }>(
    `SELECT min(e.at) AS from, max(e.at) AS to FROM delivery_events de JOIN job_events e ON e.id = de.event_id WHERE de.delivery_id = $1`,
    [deliveryId],
  );
  return { named, from: rows[0]?.from ?? null, to: rows[0]?.to ?? null };
}

/**
 * Opens alerts for jobs that have none at the channel, under one key.
 * @returns the key of the delivery: the new one, or that of the oldest alert when all jobs have one already.
 */
export async function alertsOpen(
  tx: Transaction,
  team: string,
  channelId: string,
  jobIds: readonly string[],
  key: string,
): Promise<string> {
  const opened = await tx.query(
    `INSERT INTO open_alerts (channel_id, job_id, team, dedup_key) SELECT $2, j.id, $1, $4 FROM unnest($3::text[]) AS j (id)
     ON CONFLICT (channel_id, job_id) DO NOTHING`,
    [team, channelId, jobIds, key],
  );
  if (opened.rowCount !== 0) return key;
  const { rows } = await tx.query<{ dedup_key: string }>(
    'SELECT dedup_key FROM open_alerts WHERE team = $1 AND channel_id = $2 AND job_id = ANY ($3::text[]) ORDER BY opened_at, dedup_key LIMIT 1',
    [team, channelId, jobIds],
  );
  return rows[0]?.dedup_key ?? key;
}

/** Closes the alerts of jobs. @returns keys that no other job's alert has any more */
export async function alertsClose(tx: Transaction, team: string, channelId: string, jobIds: readonly string[]): Promise<string[]> {
  const { rows } = await tx.query<{ dedup_key: string }>(
    'DELETE FROM open_alerts WHERE team = $1 AND channel_id = $2 AND job_id = ANY ($3::text[]) RETURNING dedup_key',
    [team, channelId, jobIds],
  );
  const keys = [...new Set(rows.map((row) => row.dedup_key))];
  const left = await tx.query<{ dedup_key: string }>(
    'SELECT DISTINCT dedup_key FROM open_alerts WHERE team = $1 AND channel_id = $2 AND dedup_key = ANY ($3::text[])',
    [team, channelId, keys],
  );
  const open = new Set(left.rows.map((row) => row.dedup_key));
  return keys.filter((key) => !open.has(key));
}
