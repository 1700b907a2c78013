/** Use cases on slots: what became of them, what lies ahead, how it stands up, and who watches. */
import type { Pool } from '../../postgres.ts';
import type { Caller } from '../caller.ts';
import { type HealthQuery, healthList } from '../health/health-store.ts';
import { createLoadMap } from '../health/load-map.ts';
import { type SkippedQuery, skippedSlots } from './skipped-slots.ts';
import { createTimeline } from './timeline.ts';

export type Ledger = ReturnType<typeof createLedger>;

export function createLedger({ pool }: { pool: Pool }) {
  return {
    /** One job's slots, past and ahead, in their order. */
    timeline: createTimeline({ pool }),
    /** Slots of all jobs that did not run, newest first. */
    skipped: (caller: Caller, query: Omit<SkippedQuery, 'team'>) => skippedSlots(pool, { ...query, team: caller.team }),
    /** Jobs by how much of their interval they take, worst first. */
    health: (caller: Caller, query: Omit<HealthQuery, 'team'>) => healthList(pool, { ...query, team: caller.team }),
    /** Starts per minute ahead. */
    load: createLoadMap({ pool }),
  };
}
