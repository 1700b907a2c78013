/** Whom to spread: jobs without a spread of their own that start in the worst minutes, and the shortest spread that flattens them. */
import { setImmediate as yieldTurn } from 'node:timers/promises';
import type { Queryable } from '../../postgres.ts';
import { formatDuration } from '../time/duration.ts';
import { slotsBetween } from '../time/oracle.ts';
import type { Timing } from '../time/timing.ts';
import { paceOf } from './interval.ts';
import { unspreadJobs } from './load-store.ts';

export type SpreadSuggestion = {
  /** What the jobs' schedule says; that of the first of them. */
  schedule: unknown;
  /** Jobs with this timing that start at its slots themselves. */
  jobs: number;
  /** Some of them. */
  some: { jobId: string; jobName: string; queue: string }[];
  worstMinutes: string[];
  /** To be written as `spread` in their schedules. */
  spread: string;
};

/** Timings that are looked at: those of the most jobs. Smaller ones make no difference. */
const MOST_TIMINGS = 300;
const MOST_SUGGESTED = 10;
const NAMED = 20;
/** Fewer jobs than this make no herd. */
const LEAST_JOBS = 2;
/** Spreads that people would write, seconds. */
const SPREADS_S = [10, 30, 60, 120, 300, 600, 900, 1_800, 3_600];

export async function suggestSpread(
  database: Queryable,
  team: string,
  load: {
    timings: Map<string, Timing>;
    unspread: readonly { hash: string; jobs: number }[];
    /** Minutes since 1970. */
    worst: readonly number[];
    meanPerMinute: number;
  },
): Promise<SpreadSuggestion[]> {
  const herds: { hash: string; jobs: number; minutes: number[]; intervalMs: number | null }[] = [];
  for (const { hash, jobs } of load.unspread.toSorted((a, b) => b.jobs - a.jobs).slice(0, MOST_TIMINGS)) {
    const timing = load.timings.get(hash);
    if (!timing || jobs < LEAST_JOBS || herds.length === MOST_SUGGESTED) continue;
    const minutes = load.worst.filter((minute) => fires(timing, minute));
    if (minutes.length > 0) herds.push({ hash, jobs, minutes, intervalMs: paceOf(timing, new Date(minutes[0]! * 60_000)).intervalMs });
    await yieldTurn();
  }
  const hashes = herds.map(({ hash }) => hash);
  const found = Map.groupBy(await unspreadJobs(database, team, hashes, NAMED), ({ timing_hash }) => timing_hash);
  return herds.flatMap(({ hash, jobs: atMost, minutes, intervalMs }) => {
    const some = found.get(hash) ?? [];
    const jobs = some.length < NAMED ? some.length : atMost;
    const spreadS = jobs < LEAST_JOBS ? null : spreadOf(jobs, intervalMs, load.meanPerMinute);
    if (spreadS === null) return [];
    return [
      {
        schedule: some[0]!.schedule,
        jobs,
        some: some.map(({ job_id: jobId, job_name: jobName, queue }) => ({ jobId, jobName, queue })),
        worstMinutes: minutes.map((minute) => new Date(minute * 60_000).toISOString()),
        spread: formatDuration(spreadS * 1_000),
      },
    ];
  });
}

const fires = (timing: Timing, minute: number): boolean =>
  slotsBetween(timing, new Date(minute * 60_000 - 1), new Date((minute + 1) * 60_000 - 1), 1).length > 0;

/**
 * The shortest spread that brings so many jobs down to the mean of all minutes, but never longer than half the time between two of their slots; null when there is no room.
 */
function spreadOf(jobs: number, intervalMs: number | null, meanPerMinute: number): number | null {
  const room = intervalMs === null ? 3_600 : intervalMs / 2_000;
  const allowed = SPREADS_S.filter((seconds) => seconds <= room);
  const enough = allowed.find((seconds) => (jobs * 60) / seconds <= Math.max(1, meanPerMinute));
  return enough ?? allowed.at(-1) ?? null;
}
