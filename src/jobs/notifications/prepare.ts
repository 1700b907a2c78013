/**
 * A claimed delivery before it is sent: what it says is fixed once, and it may turn out that nothing is to be sent, or not now. Whatever is asked for by a
 * person (a test, a redelivery) is sent at any hour.
 */
import { inTransaction, type Pool, type Transaction } from '../../postgres.ts';
import type { ChannelDocument } from './channel-document.ts';
import { type ClaimedDelivery, deliveryFix, hasTriggerAhead } from './delivery-store.ts';
import { listLink, type Message, type MessageJob, type MessageKind } from './message.ts';
import { alertsClose, alertsOpen, channelOf, eventsOfMessage, jobsOfDelivery } from './message-store.ts';
import type { Outgoing } from './outgoing.ts';
import { quietUntil } from './quiet-hours.ts';
import { reasonOf } from './reasons.ts';

export type Prepared =
  | { verdict: 'send'; outgoing: Outgoing }
  | { verdict: 'suppress'; reason: string }
  | { verdict: 'later'; at: Date; reason: string | null }
  /** Somebody else has claimed it since. */
  | { verdict: 'lost' };

/** How soon one that has to go behind another is looked at again, milliseconds. */
const BEHIND_MS = 5_000;
const MUTED = ['job_muted', 'channel_muted'];

export async function prepare(pool: Pool, delivery: ClaimedDelivery, now: Date = new Date()): Promise<Prepared> {
  return inTransaction(pool, async (tx): Promise<Prepared> => {
    const alerts = delivery.channel_type === 'pagerduty' && delivery.kind !== 'test';
    const channel = await channelOf(tx, delivery.team, delivery.channel_id, alerts);
    if (!channel) return { verdict: 'suppress', reason: 'channel_deleted' };
    const asked = delivery.requested_by !== null;
    const disturbs = !(alerts && delivery.kind === 'recovered') && !asked;
    const quiet = disturbs ? quietOf(channel, delivery.kind, now) : null;
    if (quiet) return { verdict: 'later', at: quiet, reason: 'quiet_hours' };
    const muted = disturbs ? mutedBy(channel, delivery, now) : null;

    if (delivery.message === null) {
      const said = await fix(tx, delivery, channel, alerts, muted !== null);
      if (said === 'lost') return { verdict: 'lost' };
      if (muted === null && said.reason) return { verdict: 'suppress', reason: said.reason };
    }
    if (muted !== null) return { verdict: 'suppress', reason: muted };
    const resolveKeys = delivery.resolve_keys ?? [];
    if (alerts && delivery.kind === 'recovered' && (await hasTriggerAhead(tx, delivery.channel_id, resolveKeys)))
      return { verdict: 'later', at: new Date(now.getTime() + BEHIND_MS), reason: null };
    return {
      verdict: 'send',
      outgoing: { id: delivery.id, channel, message: delivery.message!, dedupKey: delivery.dedup_key, resolveKeys },
    };
  });
}

function quietOf({ quietHours }: ChannelDocument, kind: string, now: Date): Date | null {
  if (!quietHours || (quietHours.except as readonly string[]).includes(kind)) return null;
  return quietUntil(quietHours, now);
}

function mutedBy({ mutedUntil }: ChannelDocument, { reason }: ClaimedDelivery, now: Date): string | null {
  if (reason !== null && MUTED.includes(reason)) return reason;
  return mutedUntil !== undefined && Date.parse(mutedUntil) > now.getTime() ? 'channel_muted' : null;
}

/** Fixes what the delivery says, also of one that is not sent: it can be asked for. @returns why there is nothing to send, if so */
async function fix(
  tx: Transaction,
  delivery: ClaimedDelivery,
  channel: ChannelDocument,
  alerts: boolean,
  muted: boolean,
): Promise<'lost' | { reason: string | null }> {
  const all = await jobsOfDelivery(tx, delivery, false);
  const jobs = alerts && !muted ? await jobsOfDelivery(tx, delivery, true) : all;
  const told = jobs.length === 0 ? all : jobs;
  const message = await messageOf(tx, delivery, channel.name, told);
  const ids = jobs.map((job) => job.job_id);
  const opens = alerts && !muted && delivery.kind !== 'recovered' && jobs.length > 0;
  const dedupKey = opens ? await alertsOpen(tx, delivery.team, delivery.channel_id, ids, `almanac-${delivery.id}`) : null;
  const resolveKeys = alerts && delivery.kind === 'recovered' ? await alertsClose(tx, delivery.team, delivery.channel_id, ids) : null;
  if (!(await deliveryFix(tx, delivery, { message, dedupKey, resolveKeys }))) return 'lost';
  Object.assign(delivery, { message, dedup_key: dedupKey, resolve_keys: resolveKeys });
  if (jobs.length === 0) return { reason: 'recovered' };
  return { reason: resolveKeys?.length === 0 ? 'nothing_to_resolve' : null };
}

async function messageOf(
  tx: Transaction,
  delivery: ClaimedDelivery,
  channel: string,
  jobs: readonly { job_id: string; last: string; events: number }[],
): Promise<Message> {
  const { named, from, to } = await eventsOfMessage(
    tx,
    delivery.id,
    jobs.map((job) => job.last),
  );
  const kind = delivery.kind as MessageKind;
  const first = from ?? new Date();
  const last = to ?? first;
  return {
    kind,
    team: delivery.team,
    channel,
    from: first.toISOString(),
    to: last.toISOString(),
    events: jobs.reduce((sum, job) => sum + job.events, 0),
    jobCount: jobs.length,
    jobs: named.map(
      (event): MessageJob => ({
        id: event.job_id,
        name: event.job_name,
        at: event.at.toISOString(),
        slot: event.slot?.toISOString() ?? null,
        execution: event.execution_id,
        reason: reasonOf(kind, event.details),
        link: event.execution_id ? `/api/v1/executions/${event.job_id}/${event.execution_id}` : `/api/v1/jobs/${event.job_id}`,
      }),
    ),
    link: listLink(kind, delivery.id, first, last),
  };
}
