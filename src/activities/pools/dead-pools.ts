/**
 * Takes over at its start what a worker on this host left behind when it died: Temporal notices such a death after some seconds, this process at once.
 * Only pools of which no call is anybody else's: their workflow is ended and begun anew under the same id, and its rows are the truth. What is overlooked here is
 * found by the heartbeat.
 */
import type { Client } from '@temporalio/client';
import { poolTaskQueueFor } from '../../jobs/ids.ts';
import { type BusyPool, busyPools } from '../../jobs/pools/pool-store.ts';
import type { Log } from '../../log.ts';
import type { Pool } from '../../postgres.ts';
import { isOfDeadProcess } from './chunk.ts';

/** Before this worker serves its first task: a claim with its own pid is then a former process'. Never throws. */
export async function takeOverDeadPools(deps: { pool: Pool; temporal: Client; log: Log; queues: readonly string[] }): Promise<void> {
  const { pool, temporal, log, queues } = deps;
  try {
    const dead = (await busyPools(pool, queues)).filter((busy) => busy.chunks.every(isOfDeadProcess));
    await Promise.all(dead.map((busy) => beginAnew(temporal, busy)));
    if (dead.length > 0) log.info({ pools: dead.length }, 'took over what a worker of this host had left when it died');
  } catch (error) {
    log.debug({ error: String(error) }, 'could not look for what dead workers have left; it is found by its heartbeat');
  }
}

async function beginAnew(temporal: Client, { team, pool, queue, priority, clock }: BusyPool): Promise<void> {
  await temporal.workflow.start(clock === null ? 'servePool' : 'serveSlot', {
    workflowId: pool,
    taskQueue: poolTaskQueueFor(queue),
    args: [clock === null ? { team } : { team, clock }],
    workflowIdReusePolicy: 'ALLOW_DUPLICATE',
    workflowIdConflictPolicy: 'TERMINATE_EXISTING',
    staticSummary: 'a pool of executions, taken over from a worker that died',
    priority: { priorityKey: priority },
  });
}
