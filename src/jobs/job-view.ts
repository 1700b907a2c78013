/** The job as GET returns it: the document with what Almanac knows about it. */
import type { Queryable } from '../postgres.ts';
import { nextRunning, type StopRules, workableRules } from './calendars/slot-filter.ts';
import type { DispatchChoice } from './dispatch-choice.ts';
import { type Frozen, frozenNow, heldUntil, runsOutsideFreezes } from './freezes/freezes-of-job.ts';
import type { JobDocument } from './job-document.ts';
import { type JobState, windowOf } from './job-facts.ts';
import type { Pause, StoredJob, Sync } from './job-store.ts';
import { formatInstant } from './time/instant.ts';
import { timingOf } from './time/timing.ts';

/** How many next times a job shows. */
const NEXT_RUNS = 5;

export type JobView = JobDocument & {
  id: string;
  generation: number;
  state: JobState;
  sync: Sync;
  pause: Pause | null;
  createdBy: string;
  /** RFC 3339, UTC. */
  createdAt: string;
  updatedAt: string;
  /** Due time of the next slot, without the job's own offset from jitter; null unless active with a slot ahead. */
  nextRunAt: string | null;
  nextRuns: string[];
  /** The freeze that holds it now; null: none does. Absent in the answer to its creation. */
  frozen?: Frozen | null;
  /** Terminal status of the last finished execution. */
  lastOutcome: string | null;
  lastExecution: unknown;
  dispatchChoice: DispatchChoice;
};

/** The next due times of a job at which it runs; none while it does not fire. */
function nextRunsOf(job: StoredJob, now: Date, rules: StopRules | null): Date[] {
  if (job.state !== 'active') return [];
  const { freezes = [] } = job;
  if (!job.clockId) return [job.nextRunAt && heldUntil(freezes, job.nextRunAt)].filter((at) => at !== null);
  const { schedule } = job.document;
  const timing = schedule ? timingOf(schedule, job.createdAt) : null;
  if (!timing) return [];
  return runsOutsideFreezes(freezes, now, NEXT_RUNS, (after, count) =>
    nextRunning(timing, after, count, windowOf(schedule), schedule?.dst ?? {}, rules),
  );
}

/** The view of a job, with the times that its calendars leave. */
export async function jobViewOf(database: Queryable, job: StoredJob, now: Date = new Date()): Promise<JobView> {
  const { schedule } = job.document;
  return jobView(job, schedule ? await workableRules(database, job.team, schedule, now) : null, now);
}

/** @param rules of its calendars; null: it names none. */
function jobView(job: StoredJob, rules: StopRules | null, now: Date): JobView {
  const nextRuns = nextRunsOf(job, now, rules).map(formatInstant);
  // the slot that comes next is no run while a freeze lies over it
  const held = job.state === 'active' && (job.freezes?.length ?? 0) > 0;
  return {
    id: job.id,
    ...job.document,
    generation: job.generation,
    state: job.state,
    sync: job.sync,
    pause: job.pause,
    createdBy: job.createdBy,
    createdAt: job.createdAt.toISOString(),
    updatedAt: job.updatedAt.toISOString(),
    nextRunAt: held ? (nextRuns[0] ?? null) : job.nextRunAt ? formatInstant(job.nextRunAt) : null,
    nextRuns,
    ...(job.freezes ? { frozen: frozenNow(job.freezes, now) } : {}),
    lastOutcome: job.lastOutcome,
    lastExecution: job.lastExecution,
    dispatchChoice: job.dispatchChoice,
  };
}
