/** Statements that take events and make deliveries of them. */
import type { Queryable, Transaction } from '../../postgres.ts';
import type { QuietHours } from './quiet-hours.ts';

/** Locks the next events that nobody has taken; another process takes others meanwhile. @param only an event that has to be taken alone */
export async function eventsLock(tx: Transaction, limit: number, only?: string): Promise<string[]> {
  const { rows } = await tx.query<{ id: string }>(
    only === undefined
      ? 'SELECT id FROM job_events WHERE taken_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED'
      : 'SELECT id FROM job_events WHERE taken_at IS NULL AND id = $2 LIMIT $1 FOR UPDATE SKIP LOCKED',
    only === undefined ? [limit] : [limit, only],
  );
  return rows.map((row) => row.id);
}

export async function eventsTaken(database: Queryable, ids: readonly string[]): Promise<void> {
  await database.query('UPDATE job_events SET taken_at = clock_timestamp() WHERE id = ANY ($1::bigint[])', [ids]);
}

/** A channel that hears of an event. */
export type Match = {
  event_id: string;
  team: string;
  job_id: string;
  job_name: string;
  kind: string;
  channel_id: string;
  channel_name: string;
  channel_type: string;
  group_window: string;
  quiet_hours: QuietHours | null;
  channel_muted: boolean;
  job_muted: boolean;
};

/**
 * Who hears of these events, in their order. PagerDuty hears of every recovery of jobs whose trouble it is told, or has been told: an alert that nobody
 * closes is no help.
 */
export async function eventMatches(tx: Transaction, ids: readonly string[]): Promise<Match[]> {
  const { rows } = await tx.query<Match>(
    `SELECT e.id AS event_id, e.team, e.job_id, j.name AS job_name, e.kind, c.id AS channel_id, c.name AS channel_name, c.type AS channel_type,
            c.settings ->> 'groupWindow' AS group_window, c.settings -> 'quietHours' AS quiet_hours,
            coalesce(c.muted_until > now(), false) AS channel_muted,
            EXISTS (SELECT 1 FROM job_mutes m WHERE m.job_id = e.job_id AND m.team = e.team AND m.muted_until > now()) AS job_muted
       FROM unnest($1::bigint[]) AS taken (id)
       CROSS JOIN LATERAL (SELECT e.id, e.team, e.job_id, e.kind FROM job_events e WHERE e.id = taken.id LIMIT 1) e
       CROSS JOIN LATERAL (SELECT j.name, j AS whole FROM jobs j WHERE j.id = e.job_id AND j.team = e.team LIMIT 1) j
       CROSS JOIN LATERAL (
         SELECT c.id FROM notify_rules_of(j.whole) r JOIN channels c ON c.team = e.team AND c.name = r.channel
          WHERE r.kind = e.kind OR (e.kind = 'recovered' AND c.type = 'pagerduty')
         UNION
         SELECT a.channel_id FROM open_alerts a WHERE a.job_id = e.job_id AND a.team = e.team AND e.kind = 'recovered'
       ) heard
       JOIN channels c ON c.id = heard.id AND c.team = e.team
      ORDER BY e.id, c.id`,
    [ids],
  );
  return rows;
}

/** How many messages about several events a channel was sent lately, by channel and kind (`<channel> <kind>`). @param since the first delivery's id of that time */
export async function stormsOf(tx: Transaction, channelIds: readonly string[], since: string): Promise<Map<string, number>> {
  const { rows } = await tx.query<{ channel_id: string; kind: string; count: number }>(
    `SELECT d.channel_id, d.kind, count(*)::integer AS count FROM deliveries d
      WHERE d.channel_id = ANY ($1::text[]) AND d.id >= $2 AND d.events > 1 GROUP BY d.channel_id, d.kind`,
    [channelIds, since],
  );
  return new Map(rows.map((row) => [`${row.channel_id} ${row.kind}`, row.count]));
}

/** Events of one kind for one channel that are told together. */
export type Gathering = {
  id: string;
  team: string;
  channelId: string;
  channelName: string;
  channelType: string;
  kind: string;
  groupKey: string;
  reason: string | null;
  events: number;
  dueInMs: number;
};

/** Opens deliveries that gather, or joins those that are open. @returns the delivery of each `<channel> <group key>` */
export async function deliveriesGather(tx: Transaction, gatherings: readonly Gathering[]): Promise<Map<string, string>> {
  const { rows } = await tx.query<{ id: string; channel_id: string; group_key: string }>(
    `INSERT INTO deliveries AS open (id, team, channel_id, channel_name, channel_type, kind, group_key, state, reason, events, due_at)
     SELECT g.id, g.team, g."channelId", g."channelName", g."channelType", g.kind, g."groupKey", 'gathering', g.reason, g.events,
            now() + g."dueInMs" * interval '1 millisecond'
       FROM json_to_recordset($1::json) AS g (id text, team text, "channelId" text, "channelName" text, "channelType" text, kind text, "groupKey" text,
                                              reason text, events integer, "dueInMs" float8)
      ORDER BY g."channelId", g."groupKey"
     ON CONFLICT (channel_id, group_key) WHERE state = 'gathering' DO UPDATE SET events = open.events + excluded.events
     RETURNING id, channel_id, group_key`,
    [JSON.stringify(gatherings)],
  );
  return new Map(rows.map((row) => [`${row.channel_id} ${row.group_key}`, row.id]));
}

export async function deliveryEventsInsert(tx: Transaction, events: readonly (Match & { delivery_id: string })[]): Promise<void> {
  await tx.query(
    `INSERT INTO delivery_events (delivery_id, event_id, team, channel_id, job_id, job_name, kind)
     SELECT e.delivery_id, e.event_id, e.team, e.channel_id, e.job_id, e.job_name, e.kind
       FROM json_to_recordset($1::json) AS e (delivery_id text, event_id bigint, team text, channel_id text, job_id text, job_name text, kind text)
     ON CONFLICT DO NOTHING`,
    [
      JSON.stringify(
        events.map(({ delivery_id, event_id, team, channel_id, job_id, job_name, kind }) => ({
          delivery_id,
          event_id,
          team,
          channel_id,
          job_id,
          job_name,
          kind,
        })),
      ),
    ],
  );
}
