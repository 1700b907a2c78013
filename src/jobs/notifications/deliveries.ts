/** Use cases on deliveries: the log of what was told, sending one again, and the test of a channel. */
import { inTransaction, type Pool } from '../../postgres.ts';
import { auditInsert } from '../audit.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import { findJobOfExecutions } from '../execution-queries.ts';
import { newDeliveryId } from '../ids.ts';
import { jobNotFound } from '../job-errors.ts';
import { channelNotFound } from './channel-errors.ts';
import { channelFind } from './channel-store.ts';
import type { Deliver } from './deliver.ts';
import {
  type DeliveryQuery,
  type DeliveryView,
  deliveriesList,
  deliveryFind,
  deliveryJobs,
  deliveryRedeliver,
  testInsert,
} from './delivery-log-store.ts';
import type { Message } from './message.ts';

export type DeliveryDetail = DeliveryView & {
  message: Message | null;
  attemptLog: unknown[];
  jobs: { id: string; name: string; events: number }[];
};
export type Deliveries = ReturnType<typeof createDeliveries>;

/** Ids of jobs that one answer names. */
const MOST_JOBS = 1_000;
/** A test is claimed by whoever makes it; after this it would be somebody else's. */
const LEASE_MS = 120_000;

export function createDeliveries({ pool, deliver }: { pool: Pool; deliver: Deliver }) {
  async function detailOf(team: string, id: string): Promise<DeliveryDetail> {
    const found = await deliveryFind(pool, team, id);
    if (!found) throw deliveryNotFound(id);
    return { ...found, jobs: await deliveryJobs(pool, team, id, MOST_JOBS) };
  }

  return {
    /** Newest first. `channel` is an id or a name, `job` too. @throws JobError `not_found` when `job` is none; a channel may be gone. */
    async list(
      caller: Caller,
      query: Omit<DeliveryQuery, 'team' | 'channelId' | 'jobId'> & { channel?: string | undefined; job?: string | undefined },
    ): Promise<{ items: DeliveryView[]; next: string | null }> {
      const { channel, job, limit, ...rest } = query;
      const jobId = job === undefined ? undefined : (await findJobOfExecutions(pool, caller.team, job))?.id;
      if (job !== undefined && jobId === undefined) throw jobNotFound(job);
      const found = await deliveriesList(pool, { ...rest, team: caller.team, channel, jobId, limit: limit + 1 });
      const items = found.slice(0, limit);
      return { items, next: found.length > limit ? items.at(-1)!.id : null };
    },

    /** @throws JobError `not_found` */
    get: (caller: Caller, id: string): Promise<DeliveryDetail> => detailOf(caller.team, id),

    /**
     * Sends a delivery again that has ended, under the same id, at any hour and although the channel is muted.
     * @throws JobError `not_found`; `refused` while it is still to be sent, or when its channel is gone.
     */
    async redeliver(caller: Caller, id: string): Promise<DeliveryDetail> {
      await inTransaction(pool, async (tx) => {
        const found = await deliveryFind(tx, caller.team, id);
        if (!found) throw deliveryNotFound(id);
        if (!(await channelFind(tx, caller.team, found.channelId)))
          throw new JobError(
            'refused',
            'channel_deleted',
            `The channel ${found.channel} of this delivery is deleted; it can't be sent again.`,
          );
        if (found.message === null || !(await deliveryRedeliver(tx, caller.team, id, caller.name)))
          throw new JobError('refused', 'not_ended', `The delivery ${id} is ${found.state}; only one that has ended can be sent again.`);
        await auditInsert(tx, caller, {
          action: 'delivery.redelivered',
          subjectKind: 'channel',
          subjectId: found.channelId,
          after: { delivery: id, state: found.state },
        });
      });
      return detailOf(caller.team, id);
    },

    /**
     * Sends a test to a channel at once and waits for its outcome. It is a delivery like others, but tried only once.
     * @throws JobError `not_found`
     */
    async test(caller: Caller, channelIdOrName: string, signal: AbortSignal = new AbortController().signal): Promise<DeliveryDetail> {
      const channel = await channelFind(pool, caller.team, channelIdOrName);
      if (!channel) throw channelNotFound(channelIdOrName);
      const id = newDeliveryId();
      const at = new Date().toISOString();
      const message: Message = {
        kind: 'test',
        team: caller.team,
        channel: channel.document.name,
        from: at,
        to: at,
        events: 0,
        jobCount: 0,
        jobs: [],
        link: `/api/v1/channels/${channel.id}`,
      };
      const claimed = await testInsert(pool, { id, channel, message, by: caller.name, leaseMs: LEASE_MS });
      await deliver(claimed, signal);
      return detailOf(caller.team, id);
    },
  };
}

const deliveryNotFound = (id: string): JobError =>
  new JobError(
    'not_found',
    'delivery_not_found',
    `There is no delivery ${JSON.stringify(id.slice(0, 80))}; GET /api/v1/deliveries lists those of the last days.`,
  );
