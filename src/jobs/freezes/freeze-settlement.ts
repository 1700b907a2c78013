/**
 * The end of a freeze. Nothing has to happen for jobs to start again: admit and claim look at the freeze's own times. What is left is done here, job by job, each in one
 * transaction under its lock, so that a controller killed half-way leaves whole jobs behind, and another goes on:
 *
 * 1. its stretches end where the freeze ended, and their slots are counted, once every slot of that time is known to have been admitted (the search for late slots has been there);
 * 2. its catch-up policy says which of them run now, as a backfill. While another freeze holds the job it waits, so that one catch-up follows freezes that overlap.
 *
 * A freeze is settled when no stretch of it is left and no clock of its jobs could bring another.
 */
import { inTransaction, type Pool, type Transaction } from '../../postgres.ts';
import { timingsByHash } from '../clocks/late-slot-store.ts';
import type { Backfills } from '../operations/backfills.ts';
import { withoutStopped } from '../operations/slot-stops.ts';
import type { Timing } from '../time/timing.ts';
import { rangesEndBy } from './freeze-store.ts';
import { planSettlement } from './settlement-plan.ts';
import {
  type FrozenRange,
  freezeSettle,
  freezesOver,
  type JobState,
  jobsForSettling,
  jobsToSettle,
  membershipsBetween,
  otherRanges,
  rangesSettle,
  rangesToSettle,
  type SettledRange,
  slotsWithRow,
} from './settlement-store.ts';

/** Jobs settled in one transaction: their locks are held for some tens of milliseconds. */
const JOBS_AT_ONCE = 20;
/** Jobs looked at in one pass. */
const JOBS_PER_PASS = 2_000;
/** Timings kept. */
const TIMINGS = 20_000;

export type Settled = { jobs: number; catchUps: number; freezes: string[]; more: boolean };

export function createFreezeSettlement({ pool, backfills }: { pool: Pool; backfills: Pick<Backfills, 'start'> }) {
  const timings = new Map<string, Timing>();
  /** Jobs that wait for something must not keep others from their turn: each look goes on behind the last. */
  let reached = '';

  async function load(hashes: Iterable<string>): Promise<void> {
    if (timings.size > TIMINGS) timings.clear();
    const unknown = [...new Set(hashes)].filter((hash) => !timings.has(hash));
    if (unknown.length > 0) for (const [hash, timing] of await timingsByHash(pool, unknown)) timings.set(hash, timing);
  }

  /** Starts the job's catch-up, if any slot of it would run; answers the backfill's id. */
  async function catchUp(tx: Transaction, job: JobState, candidates: readonly Date[], last: FrozenRange): Promise<string | null> {
    if (candidates.length === 0) return null;
    const { team, job_id: jobId } = job;
    const running = await withoutStopped(tx, team, jobId, candidates);
    const slots = job.catch_up === 'last' ? running.slice(-1) : running;
    if (slots.length === 0) return null;
    const reason = `freeze ${last.freeze_id} is over${last.reason ? `: ${last.reason}` : ''}`;
    const started = await backfills.start(tx, {
      team,
      jobId,
      slots,
      only: 'missed',
      ratePerMinute: null,
      order: 'oldest',
      requestedBy: 'almanac',
      reason,
    });
    return started.id;
  }

  /** Settles those of these jobs that are ready. */
  async function settleJobs(jobIds: readonly string[], done: Settled): Promise<void> {
    await inTransaction(pool, async (tx) => {
      const jobs = (await jobsForSettling(tx, jobIds)).filter(({ free }) => free);
      const ranges = await rangesToSettle(
        tx,
        jobs.map((job) => job.job_id),
      );
      const byJob = Map.groupBy(ranges, ({ job_id }) => job_id);
      const extents = [...byJob.values()].map(extentOf);
      const memberships = await membershipsBetween(tx, extents);
      await load(memberships.map(({ timing_hash }) => timing_hash));
      const spans = ranges.map(({ job_id: jobId, from, to }) => ({ jobId, from, to }));
      const rows = Map.groupBy(await slotsWithRow(tx, spans), ({ job_id }) => job_id);
      const others = Map.groupBy(await otherRanges(tx, spans), ({ job_id }) => job_id);
      const members = Map.groupBy(memberships, ({ job_id }) => job_id);
      const settled: SettledRange[] = [];
      const gone: { jobId: string; key: string }[] = [];
      for (const job of jobs) {
        const ofJob = byJob.get(job.job_id);
        if (!ofJob) continue;
        const plan = planSettlement({
          job,
          ranges: ofJob,
          memberships: members.get(job.job_id) ?? [],
          timingOf: (hash) => timings.get(hash),
          rows: rows.get(job.job_id) ?? [],
          others: others.get(job.job_id) ?? [],
        });
        if (!plan) continue;
        const operation = await catchUp(tx, job, plan.catchUp, ofJob.at(-1)!);
        done.jobs += 1;
        done.catchUps += operation === null ? 0 : 1;
        settled.push(...plan.settled.map((range) => ({ ...range, operation })));
        gone.push(...plan.gone);
      }
      await rangesSettle(tx, settled, gone);
    });
  }

  return {
    /** One look: settles what is ready. */
    async settle(signal?: AbortSignal): Promise<Settled> {
      const done: Settled = { jobs: 0, catchUps: 0, freezes: [], more: false };
      const over = await freezesOver(pool);
      if (over.length === 0) return done;
      for (const { id, end } of over) await rangesEndBy(pool, id, end);
      const ids = over.map(({ id }) => id);
      for (let looked = 0; looked < JOBS_PER_PASS && !signal?.aborted; looked += JOBS_AT_ONCE) {
        const jobs = await jobsToSettle(pool, ids, reached, JOBS_AT_ONCE);
        reached = jobs.length < JOBS_AT_ONCE ? '' : jobs.at(-1)!.job_id;
        if (jobs.length > 0)
          await settleJobs(
            jobs.map((job) => job.job_id),
            done,
          );
        if (reached === '') break;
      }
      for (const { id } of over) {
        if (signal?.aborted) break;
        if (await inTransaction(pool, (tx) => freezeSettle(tx, id))) done.freezes.push(id);
      }
      done.more = reached !== '' && done.jobs > 0;
      return done;
    },
  };
}

export type FreezeSettlement = ReturnType<typeof createFreezeSettlement>;

/** From the beginning of a job's first stretch to the end of its last. */
function extentOf(ranges: readonly FrozenRange[]): { jobId: string; from: Date; to: Date } {
  const to = new Date(Math.max(...ranges.map((range) => range.to.getTime())));
  return { jobId: ranges[0]!.job_id, from: ranges[0]!.from, to };
}
