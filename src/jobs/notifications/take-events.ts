/**
 * Events become deliveries: whoever hears of one is found by the rules, and what comes together for one channel is one message. Taking is a transaction: an
 * event is taken with its deliveries or not at all, by one process only. An event that cannot be taken keeps nobody else waiting.
 */
import type { Log } from '../../log.ts';
import { inTransaction, isPostgresAway, type Pool } from '../../postgres.ts';
import { newDeliveryId } from '../ids.ts';
import { durationMs } from '../time/duration.ts';
import {
  deliveriesGather,
  deliveryEventsInsert,
  eventMatches,
  eventsLock,
  eventsTaken,
  type Gathering,
  type Match,
  stormsOf,
} from './event-store.ts';
import { quietUntil } from './quiet-hours.ts';

export const EVENTS_AT_ONCE = 500;
/** While messages with many events go on, each window is twice as long as the one before, up to this. */
const LONGEST_WINDOW_MS = 300_000;
const STORM_MS = 600_000;
/** Twice this often is as long as any window gets. */
const MOST_DOUBLINGS = 10;

/** What a second try may get past: locks, too little of something, a server that stops. */
const PASSING = /^(40|53|55|57|58)/;
const passes = (error: unknown): boolean => isPostgresAway(error) || PASSING.test(String((error as { code?: unknown } | null)?.code ?? ''));

/** Takes the next events. @returns how many; fewer than `limit`: there are no more. */
export async function takeEvents(pool: Pool, log: Log, limit: number = EVENTS_AT_ONCE): Promise<number> {
  try {
    return (await takeSome(pool, limit)).length;
  } catch (error) {
    if (passes(error)) throw error;
    log.warn({ error: String(error) }, 'events could not be taken together; each is taken by itself');
  }
  const ids = await inTransaction(pool, (tx) => eventsLock(tx, limit));
  for (const id of ids) await takeAlone(pool, log, id);
  return ids.length;
}

async function takeAlone(pool: Pool, log: Log, id: string): Promise<void> {
  try {
    await takeSome(pool, 1, id);
  } catch (error) {
    if (passes(error)) throw error;
    log.error({ event: id, error: String(error) }, 'an event cannot be told to anybody and is put aside');
    await eventsTaken(pool, [id]);
  }
}

function takeSome(pool: Pool, limit: number, only?: string): Promise<string[]> {
  return inTransaction(pool, async (tx) => {
    const ids = await eventsLock(tx, limit, only);
    if (ids.length === 0) return ids;
    const matches = await eventMatches(tx, ids);
    if (matches.length > 0) {
      const now = new Date();
      const channels = [...new Set(matches.map((match) => match.channel_id))];
      const storms = await stormsOf(tx, channels, firstDeliveryId(now.getTime() - STORM_MS));
      const deliveries = await deliveriesGather(tx, gatheringsOf(matches, storms, now));
      await deliveryEventsInsert(
        tx,
        matches.map((match) => ({ ...match, delivery_id: deliveries.get(`${match.channel_id} ${groupOf(match, now).key}`)! })),
      );
    }
    await eventsTaken(tx, ids);
    return ids;
  });
}

/** Ids begin with their time. */
function firstDeliveryId(atMs: number): string {
  const hex = atMs.toString(16).padStart(12, '0');
  return `dlv_${hex.slice(0, 8)}-${hex.slice(8)}`;
}

/** What is told together, and why it is not told now. */
function groupOf(match: Match, now: Date): { key: string; reason: string | null; quietUntil: Date | null } {
  const windowMs = durationMs(match.group_window);
  const alone = windowMs === 0 ? ` ${match.event_id}` : '';
  // what closes an alert disturbs nobody
  if (match.channel_type === 'pagerduty' && match.kind === 'recovered')
    return { key: `${match.kind}${alone}`, reason: null, quietUntil: null };
  const muted = match.job_muted ? 'job_muted' : match.channel_muted ? 'channel_muted' : null;
  if (muted) return { key: `${match.kind} ${muted}`, reason: muted, quietUntil: null };
  const quiet = match.quiet_hours && !match.quiet_hours.except?.includes(match.kind) ? quietUntil(match.quiet_hours, now) : null;
  if (quiet) return { key: `${match.kind} quiet_hours`, reason: 'quiet_hours', quietUntil: quiet };
  return { key: `${match.kind}${alone}`, reason: null, quietUntil: null };
}

function gatheringsOf(matches: readonly Match[], storms: ReadonlyMap<string, number>, now: Date): Gathering[] {
  const groups = new Map<string, Gathering>();
  for (const match of matches) {
    const { key, reason, quietUntil: until } = groupOf(match, now);
    const place = `${match.channel_id} ${key}`;
    const known = groups.get(place);
    if (known) {
      known.events += 1;
      continue;
    }
    const storm = storms.get(`${match.channel_id} ${match.kind}`) ?? 0;
    groups.set(place, {
      id: newDeliveryId(),
      team: match.team,
      channelId: match.channel_id,
      channelName: match.channel_name,
      channelType: match.channel_type,
      kind: match.kind,
      groupKey: key,
      reason,
      events: 1,
      dueInMs: until ? until.getTime() - now.getTime() : windowMs(durationMs(match.group_window), storm),
    });
  }
  return [...groups.values()];
}

/** @param storm messages about several events that went before */
export const windowMs = (ownMs: number, storm: number): number =>
  Math.max(ownMs, Math.min(ownMs * 2 ** Math.min(storm, MOST_DOUBLINGS), LONGEST_WINDOW_MS));
