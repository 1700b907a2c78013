/** How a pool is cut into ranges, and how it is closed. */
import { activityInfo } from '@temporalio/activity';
import type { Starter } from '../../jobs/execution-starts.ts';
import { closePoolRows, planPoolRows, planPoolSlot } from '../../jobs/pools/pool-store.ts';
import type { Pool } from '../../postgres.ts';
import type { PoolActivities } from '../../workflows/pool-activities.ts';
import { withPatience } from '../patience.ts';

/** Rows of a range: one statement each to begin it. */
const SIZE = 250;
/** What is due within this time is served as due: its activity waits for the exact moment. */
const LEAD_MS = 1_500;

export function createPlanPool({ pool, starter }: { pool: Pool; starter: Starter }): Omit<PoolActivities, 'servePoolRanges'> {
  return {
    async planSlot({ team, clock, slot }) {
      const nominal = new Date(slot);
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
      return { ranges, nextDueAt: null };
    },

    async planPool({ team }) {
      const { workflowId } = activityInfo().workflowExecution!;
      const rows = await withPatience(() => planPoolRows(pool, { team, pool: workflowId, size: SIZE, leadMs: LEAD_MS }));
      const due = rows.filter((row) => !row.ahead);
      const ahead = rows.filter((row) => row.ahead).map((row) => row.due_at.getTime());
      return {
        ranges: due.map((row) => ({
          priority: row.priority,
          from: row.from_id,
          to: row.to_id,
          size: row.members,
          dueAt: row.due_at.getTime(),
          lastDueAt: row.last_due_at.getTime(),
        })),
        nextDueAt: ahead.length === 0 ? null : Math.min(...ahead),
      };
    },

    async closePool({ team, status, reason }) {
      const { workflowId, runId } = activityInfo().workflowExecution!;
      const released = await withPatience(() => closePoolRows(pool, { team, pool: workflowId, runId, status, reason, error: null }));
      for (const start of released) starter.startSoon(start);
    },
  };
}
