/** How a pool is cut into ranges, and how it is closed. */
import { activityInfo } from '@temporalio/activity';
import type { Starter } from '../../jobs/execution-starts.ts';
import { closePoolRows, planPoolRows, planPoolSlot, type RangeRow } from '../../jobs/pools/pool-store.ts';
import type { Pool } from '../../postgres.ts';
import type { PoolActivities, PoolPlan, PoolRange, ServeInput } from '../../workflows/pool-activities.ts';
import { withPatience } from '../patience.ts';

/** Rows of a range: one statement each to begin it. */
const SIZE = 250;
/** What is due within this time is served at a stretch: its activity waits for each row's moment, and a slow call makes nobody late that comes after it. */
const LEAD_MS = 60_000;

export type PlanPool = ReturnType<typeof createPlanPool>;

export function createPlanPool({ pool }: { pool: Pool }) {
  return {
    /** The members of a slot that are still to be admitted. */
    async members(team: string, { clock, at }: NonNullable<ServeInput['slot']>): Promise<PoolPlan> {
      const rows = await withPatience(() => planPoolSlot(pool, { team, clock, nominal: new Date(at), size: SIZE }));
      return { ranges: rows.map(rangeOf), members: true, nextDueAt: null };
    },

    /** The unfinished rows of the calling workflow's pool. */
    async rows(team: string): Promise<PoolPlan> {
      const { workflowId } = activityInfo().workflowExecution!;
      const rows = await withPatience(() => planPoolRows(pool, { team, pool: workflowId, size: SIZE, leadMs: LEAD_MS }));
      const ahead = rows.filter((row) => row.ahead).map((row) => row.due_at.getTime());
      const ranges = rows.filter((row) => !row.ahead).map(rangeOf);
      return { ranges, members: false, nextDueAt: ahead.length === 0 ? null : Math.min(...ahead) };
    },
  };
}

const rangeOf = (row: RangeRow): PoolRange => ({
  priority: row.priority,
  from: row.from_id,
  to: row.to_id,
  size: row.members,
  laterMs: row.later_ms,
  plannedAt: row.planned_at,
});

export function createClosePool({ pool, starter }: { pool: Pool; starter: Starter }): PoolActivities['closePool'] {
  return async function closePool({ team, status, reason }) {
    const { workflowId } = activityInfo().workflowExecution!;
    const released = await withPatience(() => closePoolRows(pool, { team, pool: workflowId, status, reason, error: null }));
    for (const start of released) starter.startSoon(start);
  };
}
