/** How a pool is cut into ranges, and how it is closed. */
import { activityInfo } from '@temporalio/activity';
import type { Starter } from '../../jobs/execution-starts.ts';
import { closePoolRows, planPoolRows, planPoolSlot } from '../../jobs/pools/pool-store.ts';
import type { Pool } from '../../postgres.ts';
import type { PoolActivities, PoolPlan, ServeInput } from '../../workflows/pool-activities.ts';
import { withPatience } from '../patience.ts';

/** Rows of a range: one statement each to begin it. */
const SIZE = 250;
/** What is due within this time is served as due: whoever serves it waits for the exact moment. */
const LEAD_MS = 1_500;

export type PlanPool = ReturnType<typeof createPlanPool>;

export function createPlanPool({ pool }: { pool: Pool }) {
  return {
    /** The members of a slot that are still to be admitted. */
    async members(team: string, { clock, at }: NonNullable<ServeInput['slot']>): Promise<PoolPlan> {
      const nominal = new Date(at);
      const rows = await withPatience(() => planPoolSlot(pool, { team, clock, nominal, size: SIZE }));
      const dueAt = nominal.getTime();
      const ranges = rows.map((row) => ({
        priority: row.priority,
        from: row.from_id,
        to: row.to_id,
        size: row.members,
        dueAt,
        lastDueAt: dueAt,
      }));
      return { ranges, members: true, nextDueAt: null };
    },

    /** The unfinished rows of the calling workflow's pool. */
    async rows(team: string): Promise<PoolPlan> {
      const { workflowId } = activityInfo().workflowExecution!;
      const rows = await withPatience(() => planPoolRows(pool, { team, pool: workflowId, size: SIZE, leadMs: LEAD_MS }));
      const ahead = rows.filter((row) => row.ahead).map((row) => row.due_at.getTime());
      const ranges = rows
        .filter((row) => !row.ahead)
        .map((row) => ({
          priority: row.priority,
          from: row.from_id,
          to: row.to_id,
          size: row.members,
          dueAt: row.due_at.getTime(),
          lastDueAt: row.last_due_at.getTime(),
        }));
      return { ranges, members: false, nextDueAt: ahead.length === 0 ? null : Math.min(...ahead) };
    },
  };
}

export function createClosePool({ pool, starter }: { pool: Pool; starter: Starter }): PoolActivities['closePool'] {
  return async function closePool({ team, status, reason }) {
    const { workflowId, runId } = activityInfo().workflowExecution!;
    const released = await withPatience(() => closePoolRows(pool, { team, pool: workflowId, runId, status, reason, error: null }));
    for (const start of released) starter.startSoon(start);
  };
}
