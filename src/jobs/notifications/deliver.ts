/** One claimed delivery from here to its end, or to its next attempt. */
import type { Log } from '../../log.ts';
import type { Pool } from '../../postgres.ts';
import { type AttemptEntry, type ClaimedDelivery, deliveryPutBack, deliveryRecord, deliverySuppress } from './delivery-store.ts';
import type { SendOutcome } from './outgoing.ts';
import { prepare } from './prepare.ts';
import type { Send } from './sender.ts';

/** `retried`: an attempt that failed and is made again. */
export type DeliveryOutcome = 'delivered' | 'retried' | 'failed' | 'suppressed' | 'held' | 'lost';
export type Deliver = (delivery: ClaimedDelivery, signal: AbortSignal) => Promise<DeliveryOutcome>;

/** First wait after a failed attempt; each next one is twice as long, up to an hour. */
const FIRST_WAIT_MS = 10_000;
const LONGEST_WAIT_MS = 3_600_000;
/** Attempts go on for at least this long; the first one after it is the last. */
export const GIVE_UP_MS = 24 * 3_600_000;

/** @param tell hears of every outcome, for the metrics. */
export function createDeliver({
  pool,
  log,
  send,
  tell,
  firstWaitMs = FIRST_WAIT_MS,
}: {
  pool: Pool;
  log: Log;
  send: Send;
  tell: (channelType: string, outcome: DeliveryOutcome) => void;
  firstWaitMs?: number;
}): Deliver {
  async function attempt(delivery: ClaimedDelivery, signal: AbortSignal): Promise<DeliveryOutcome> {
    const prepared = await prepare(pool, delivery);
    if (prepared.verdict === 'lost') return 'lost';
    if (prepared.verdict === 'suppress') {
      await deliverySuppress(pool, delivery, prepared.reason);
      return 'suppressed';
    }
    if (prepared.verdict === 'later') {
      await deliveryPutBack(pool, delivery, prepared.at, prepared.reason);
      return 'held';
    }
    const startedAt = new Date();
    const outcome = await send(prepared.outgoing, signal);
    if (outcome.status === 'failed' && signal.aborted) {
      await deliveryPutBack(pool, delivery, new Date(), null);
      return 'held';
    }
    return await record(delivery, outcome, startedAt);
  }

  async function record(delivery: ClaimedDelivery, outcome: SendOutcome, startedAt: Date): Promise<DeliveryOutcome> {
    const now = new Date();
    const entry: AttemptEntry = {
      at: startedAt.toISOString(),
      outcome: outcome.status,
      detail: outcome.detail,
      durationMs: now.getTime() - startedAt.getTime(),
    };
    const end = outcome.status === 'delivered' ? { next: null, reason: null } : afterFailure(delivery, outcome, now, firstWaitMs);
    if (!(await deliveryRecord(pool, delivery, entry, end))) return 'lost';
    if (outcome.status === 'delivered') return 'delivered';
    const { id: deliveryId, channel_name: channel, attempts } = delivery;
    const words = { delivery: deliveryId, channel, attempts, detail: outcome.detail };
    if (end.next === null) log.warn(words, 'a notification could not be delivered');
    else log.info({ ...words, again: end.next.toISOString() }, 'a notification is tried again');
    return end.next === null ? 'failed' : 'retried';
  }

  return async (delivery, signal) => {
    const outcome = await attempt(delivery, signal);
    tell(delivery.channel_type, outcome);
    return outcome;
  };
}

/** A test is told how it went and not tried again. */
function afterFailure(
  delivery: ClaimedDelivery,
  outcome: Extract<SendOutcome, { status: 'failed' }>,
  now: Date,
  firstWaitMs: number,
): { next: Date | null; reason: string | null } {
  if (!outcome.retryable || delivery.kind === 'test') return { next: null, reason: 'refused' };
  if (now >= delivery.give_up_at) return { next: null, reason: 'gave_up' };
  return { next: new Date(now.getTime() + waitMs(delivery.attempts, outcome.retryAfterMs ?? 0, firstWaitMs)), reason: null };
}

/** @param attempts that were made. Spread by a tenth, so that what failed together is not tried together. */
export function waitMs(attempts: number, retryAfterMs: number, firstWaitMs = FIRST_WAIT_MS): number {
  const own = Math.min(firstWaitMs * 2 ** Math.min(attempts - 1, 20), LONGEST_WAIT_MS);
  return Math.round(Math.max(retryAfterMs, own * (0.9 + Math.random() * 0.2)));
}
