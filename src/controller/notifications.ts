/**
 * Loops: notifications. Events are taken and become deliveries; deliveries that are due are sent; and what keeps both in order. None needs Temporal, and any number
 * of controllers may run: an event is taken by one transaction, a delivery claimed by one process, whose lease ends when it does not.
 */
import { createDeliver, type DeliveryOutcome, GIVE_UP_MS } from '../jobs/notifications/deliver.ts';
import { backlogAges, deliveriesClaim } from '../jobs/notifications/delivery-store.ts';
import type { Send } from '../jobs/notifications/sender.ts';
import { EVENTS_AT_ONCE, takeEvents } from '../jobs/notifications/take-events.ts';
import { deliveriesExpire, eventsExpire, recountSome, restsExpire } from '../jobs/notifications/upkeep-store.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { isPostgresAway, type Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Servers } from './servers.ts';

const TAKE_MS = 1_000;
const SEND_MS = 500;
const UPKEEP_MS = 15_000;
/** Deliveries under way in a process, and those to one channel: one that hangs keeps no other waiting. */
const AT_ONCE = 32;
const PER_CHANNEL = 4;
/** Well over what an attempt may take. */
const LEASE_MS = 120_000;
const EXPIRE_BATCH = 1_000;
const RECOUNT_BATCH = 500;

type Deps = { pool: Pool; servers: Servers; log: Log; metrics: Metrics; send: Send; keepDays: number };

export function createNotificationLoops(deps: Deps): Loop[] {
  const sending = createSending(deps);
  return [createTaking(deps, () => sending.wake()), sending, createUpkeep(deps)];
}

function createTaking({ pool, servers, log }: Deps, onTaken: () => void): Loop {
  return createLoop({
    name: 'events',
    intervalMs: TAKE_MS,
    needs: ['Postgres'],
    servers,
    log,
    pass: async () => {
      const taken = await takeEvents(pool, log);
      if (taken > 0) onTaken();
      return taken === EVENTS_AT_ONCE ? 'again' : undefined;
    },
  });
}

/** A pass claims and goes on: attempts end in their own time, and each end makes room for another. */
function createSending({ pool, servers, log, metrics, send }: Deps): Loop {
  const deliver = createDeliver({ pool, log, send, tell: (type, outcome) => tell(metrics, type, outcome) });
  const underWay = new Map<string, number>();
  const running = new Set<Promise<void>>();
  const ending = new AbortController();

  const begin = (delivery: Parameters<typeof deliver>[0]) => {
    const { channel_id: channel, id } = delivery;
    underWay.set(channel, (underWay.get(channel) ?? 0) + 1);
    const run = deliver(delivery, ending.signal)
      .then(
        () => undefined,
        (error: unknown) => {
          // its lease ends, and somebody tries again
          if (isPostgresAway(error)) servers.postgres.noteAway(error);
          else
            log.error(
              { delivery: id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) },
              'a delivery failed by our fault',
            );
        },
      )
      .finally(() => {
        running.delete(run);
        const left = (underWay.get(channel) ?? 1) - 1;
        if (left > 0) underWay.set(channel, left);
        else underWay.delete(channel);
        loop.wake();
      });
    running.add(run);
  };

  const loop = createLoop({
    name: 'deliveries',
    intervalMs: SEND_MS,
    needs: ['Postgres'],
    servers,
    log,
    pass: async () => {
      const room = AT_ONCE - running.size;
      if (room <= 0) return undefined;
      const busy = [...underWay].filter(([, count]) => count >= PER_CHANNEL).map(([channel]) => channel);
      const claimed = await deliveriesClaim(pool, { limit: room, perChannel: PER_CHANNEL, busy, leaseMs: LEASE_MS, giveUpMs: GIVE_UP_MS });
      for (const delivery of claimed) begin(delivery);
      return undefined;
    },
  });
  return {
    ...loop,
    async stop() {
      ending.abort(new Error('the controller stops'));
      await loop.stop();
      await Promise.all(running);
    },
  };
}

function tell(metrics: Metrics, type: string, outcome: DeliveryOutcome): void {
  if (outcome !== 'held' && outcome !== 'lost') metrics.notifications.inc({ type, outcome });
}

function createUpkeep({ pool, servers, log, metrics, keepDays }: Deps): Loop {
  return createLoop({
    name: 'notifications',
    intervalMs: UPKEEP_MS,
    needs: ['Postgres'],
    servers,
    log,
    pass: async (signal) => {
      const { deliveries, events } = await backlogAges(pool);
      metrics.notificationBacklog.set({ of: 'deliveries' }, deliveries);
      metrics.notificationBacklog.set({ of: 'events' }, events);
      await alone(pool, 'notifications', async () => {
        while (!signal.aborted && (await recountSome(pool, RECOUNT_BATCH)));
        while (!signal.aborted && (await deliveriesExpire(pool, keepDays, EXPIRE_BATCH)) === EXPIRE_BATCH);
        while (!signal.aborted && (await eventsExpire(pool, keepDays, EXPIRE_BATCH)) === EXPIRE_BATCH);
        await restsExpire(pool);
      });
      return undefined;
    },
  });
}
