/**
 * Takes over at its start what a worker on this host left behind when it died: Temporal notices such a death after some seconds, this process at once.
 * Only pools of which no claim is anybody else's, not even of a row that was put back: their workflow is ended and begun anew under the same id, and its rows are the
 * truth. Of workers that start at the same time one after the other looks, and finds no more what was taken over before. What is overlooked here is found by the heartbeat.
 */
import type { Client } from '@temporalio/client';
import { poolTaskQueueFor } from '../../jobs/ids.ts';
import { type BusyPool, busyPools, giveToRun, lockTakeOver } from '../../jobs/pools/dead-pool-store.ts';
import type { Log } from '../../log.ts';
import { inTransaction, type Pool } from '../../postgres.ts';
import { isOfDeadProcess } from './chunk.ts';

/** The starts may take so long together: whoever waits for the lock, or for this worker, is not kept by a Temporal that is away. */
const STARTS_MS = 2_000;

/** Before this worker serves its first task: a claim with its own pid is then a former process'. Never throws. */
export async function takeOverDeadPools(deps: { pool: Pool; temporal: Client; log: Log; queues: readonly string[] }): Promise<void> {
  const { pool, temporal, log, queues } = deps;
  try {
    const taken = await inTransaction(pool, async (transaction) => {
      await lockTakeOver(transaction);
      const dead = (await busyPools(transaction, queues)).filter((busy) => busy.chunks.every(isOfDeadProcess));
      if (dead.length === 0) return 0;
      const begun = await temporal.withDeadline(Date.now() + STARTS_MS, () =>
        Promise.allSettled(dead.map((busy) => beginAnew(temporal, busy))),
      );
      let pools = 0;
      for (const [nth, one] of begun.entries()) {
        if (one.status === 'rejected') {
          log.debug({ pool: dead[nth]!.pool, error: String(one.reason) }, 'a pool could not be taken over; it is found by its heartbeat');
          continue;
        }
        await giveToRun(transaction, dead[nth]!, one.value);
        pools += 1;
      }
      return pools;
    });
    if (taken > 0) log.info({ pools: taken }, 'took over what a worker of this host had left when it died');
  } catch (error) {
    log.debug({ error: String(error) }, 'could not look for what dead workers have left; it is found by its heartbeat');
  }
}

/** Answers the id of the new run. */
async function beginAnew(temporal: Client, { team, pool, queue, priority, clock }: BusyPool): Promise<string> {
  const handle = await temporal.workflow.start(clock === null ? 'servePool' : 'serveSlot', {
    workflowId: pool,
    taskQueue: poolTaskQueueFor(queue),
    args: [clock === null ? { team } : { team, clock }],
    workflowIdReusePolicy: 'ALLOW_DUPLICATE',
    workflowIdConflictPolicy: 'TERMINATE_EXISTING',
    staticSummary: 'a pool of executions, taken over from a worker that died',
    priority: { priorityKey: priority },
  });
  return handle.firstExecutionRunId;
}
