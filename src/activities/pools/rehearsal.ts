/** Has some connections plan the statements of pools before the first burst does: they are the largest, and the plan costs more than a hundred rows. Nothing is written. */
import { beginPool, beginPoolSlot, planPoolRows, planPoolSlot, recordPool } from '../../jobs/pools/pool-store.ts';
import type { Log } from '../../log.ts';
import type { Pool, Queryable } from '../../postgres.ts';

/** As many as serve a burst at once. */
const CONNECTIONS = 3;
const NOBODY = { team: '', pool: '', runId: '', chunk: '', priority: 3, from: '', to: '', bufferLimit: 0 };
const LONG_AGO = new Date(0);

/** Never throws. */
export async function rehearsePools(pool: Pool, log: Log): Promise<void> {
  const connections = await Promise.allSettled(Array.from({ length: CONNECTIONS }, () => pool.connect()));
  const open = connections.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  try {
    await Promise.all(open.map(rehearse));
  } catch (error) {
    log.debug({ error: String(error) }, 'the statements of pools could not be rehearsed');
  } finally {
    for (const connection of open) connection.release();
  }
}

async function rehearse(connection: Queryable): Promise<void> {
  await planPoolSlot(connection, { team: '', clock: '', nominal: LONG_AGO, size: 1 });
  await planPoolRows(connection, { team: '', pool: '', size: 1, leadMs: 0 });
  await beginPoolSlot(connection, { ...NOBODY, clock: '', nominal: LONG_AGO, successor: null, plannedAt: LONG_AGO.toISOString() });
  await beginPool(connection, NOBODY);
  await recordPool(connection, []);
}
