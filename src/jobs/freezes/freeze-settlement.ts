/**
 * The end of a freeze. Nothing has to happen for jobs to start again: admit and claim look at the freeze's own times. What is left is done here, some jobs in
 * one transaction under their locks, so that a controller killed half-way leaves whole jobs behind, and another goes on:
 *
 * 1. the slots of its stretches are counted, once every slot of that time is known to have been admitted (the search for late slots has been there);
 * 2. its catch-up policy says which of them run now, as items of a backfill that it shares with the others (catch-ups-after.ts). While another freeze holds the job it waits, so that one catch-up follows freezes that overlap.
 *
 * A freeze is settled when no stretch of it is left and no clock of its jobs could bring another.
 */
import { inTransaction, type Pool } from '../../postgres.ts';
import { timingsByHash } from '../clocks/late-slot-store.ts';
import type { Backfills } from '../operations/backfills.ts';
import type { Timing } from '../time/timing.ts';
import { type LostSlots, startCatchUpsAfter } from './catch-ups-after.ts';
import { freezeIsComplete, freezeSettle, freezesOver, type OverFreeze } from './freeze-end-store.ts';
import { type JobPlan, planSettlement } from './settlement-plan.ts';
import {
  type FrozenRange,
  type JobSlot,
  jobsForSettling,
  jobsOfSkipped,
  jobsToSettle,
  membershipsBetween,
  otherRanges,
  rangesOfNobodySettle,
  rangesSettle,
  rangesToSettle,
  slotsSkipped,
  slotsWithRow,
} from './settlement-store.ts';

/** Jobs settled in one transaction, and about how many slots of theirs may be caught up with in it: their locks are held for a tenth of a second or two. */
const JOBS_AT_ONCE = 250;
const SLOTS_AT_ONCE = 20_000;
/** Jobs looked at in one pass. */
const JOBS_PER_PASS = 2_000;
/** Timings kept. */
const TIMINGS = 20_000;

export type Settled = { jobs: number; catchUps: number; freezes: string[]; more: boolean };

export function createFreezeSettlement({ pool, backfills }: { pool: Pool; backfills: Pick<Backfills, 'startMany'> }) {
  const timings = new Map<string, Timing>();
  /** Jobs that wait for something must not keep others from their turn: each look goes on behind the last. */
  let reached = '';
  /** Of freezes that wait for others: jobs whose single slots have been dealt with. */
  const skippedDone = new Map<string, Set<string>>();

  async function load(hashes: Iterable<string>): Promise<void> {
    if (timings.size > TIMINGS) timings.clear();
    const unknown = [...new Set(hashes)].filter((hash) => !timings.has(hash));
    if (unknown.length > 0) for (const [hash, timing] of await timingsByHash(pool, unknown)) timings.set(hash, timing);
  }

  /** Settles those of these jobs that are ready; answers which. `over`: the freezes that are over, by id. */
  async function settleJobs(over: Over, jobIds: readonly string[], done: Settled): Promise<string[]> {
    return inTransaction(pool, async (tx) => {
      // look-ups by key, as in operation-runner.ts
      await tx.query('SET LOCAL enable_seqscan = off');
      const jobs = (await jobsForSettling(tx, jobIds)).filter(({ free }) => free);
      const free = jobs.map((job) => job.job_id);
      const ranges = await rangesToSettle(tx, [...over.keys()], free);
      const byJob = Map.groupBy(ranges, ({ job_id }) => job_id);
      const memberships = await membershipsBetween(
        tx,
        [...byJob.values()].map((ofJob) => extentOf(ofJob, over)),
      );
      await load(memberships.map(({ timing_hash }) => timing_hash));
      const spans = ranges.map(({ job_id: jobId, from, to }) => ({ jobId, from, to }));
      const others = Map.groupBy(await otherRanges(tx, spans), ({ job_id }) => job_id);
      const members = Map.groupBy(memberships, ({ job_id }) => job_id);
      const rows = slotsByJob(await slotsWithRow(tx, spans));
      const skipped = slotsByJob(await slotsSkipped(tx, [...over.keys()], free));
      const settled: JobPlan['settled'] = [];
      const gone: { jobId: string; key: string }[] = [];
      const ready: string[] = [];
      const lost: LostSlots[] = [];
      let slots = 0;
      for (const job of jobs) {
        const { job_id: id } = job;
        const ofJob = byJob.get(id) ?? [];
        const ended = ofJob.length > 0 ? ofJob.map(({ freeze_id }) => over.get(freeze_id)!) : [...over.values()];
        const last = ended.reduce((a, b) => (a.end > b.end ? a : b));
        const plan = planSettlement({
          job,
          ranges: ofJob,
          memberships: members.get(id) ?? [],
          timingOf: (hash) => timings.get(hash),
          rows: rows.get(id) ?? [],
          skipped: skipped.get(id) ?? [],
          others: others.get(id) ?? [],
          end: last.end,
        });
        if (!plan) continue;
        const runs = job.catch_up === 'last' ? Math.min(plan.catchUp.length, 1) : plan.catchUp.length;
        if (runs > 0 && slots > 0 && slots + runs > SLOTS_AT_ONCE) {
          done.more = true;
          continue;
        }
        slots += runs;
        if (runs > 0) lost.push({ job, slots: plan.catchUp, last });
        ready.push(id);
        settled.push(...plan.settled);
        gone.push(...plan.gone);
      }
      const started = await startCatchUpsAfter(tx, backfills, lost);
      const told = settled.map((range) => ({ ...range, operation: started.get(range.jobId) ?? null }));
      await rangesSettle(tx, told, gone);
      done.jobs += ready.length;
      done.catchUps += started.size;
      return ready;
    });
  }

  /** Settles all jobs of a freeze that have lost slots one by one and nothing else; false: some have to wait. A repeat starts nothing twice: a backfill takes a slot once. */
  async function settleSkipped(freeze: OverFreeze, done: Settled, signal?: AbortSignal): Promise<boolean> {
    const before = skippedDone.get(freeze.id) ?? new Set<string>();
    skippedDone.set(freeze.id, before);
    const left = (await jobsOfSkipped(pool, freeze.id)).filter((id) => !before.has(id));
    let ready = 0;
    for (let from = 0; from < left.length && !signal?.aborted; from += JOBS_AT_ONCE) {
      const settled = await settleJobs(new Map([[freeze.id, freeze]]), left.slice(from, from + JOBS_AT_ONCE), done);
      for (const id of settled) before.add(id);
      ready += settled.length;
    }
    return ready === left.length;
  }

  return {
    /** One look: settles what is ready. */
    async settle(signal?: AbortSignal): Promise<Settled> {
      const done: Settled = { jobs: 0, catchUps: 0, freezes: [], more: false };
      const freezes = await freezesOver(pool);
      if (freezes.length === 0) return done;
      const over: Over = new Map(freezes.map((freeze) => [freeze.id, freeze]));
      if (reached === '') await rangesOfNobodySettle(pool, [...over.keys()]);
      for (let looked = 0; looked < JOBS_PER_PASS && !signal?.aborted; looked += JOBS_AT_ONCE) {
        const jobs = await jobsToSettle(pool, [...over.keys()], reached, JOBS_AT_ONCE);
        reached = jobs.length < JOBS_AT_ONCE ? '' : jobs.at(-1)!;
        if (jobs.length > 0) await settleJobs(over, jobs, done);
        if (reached === '') break;
      }
      for (const freeze of freezes) {
        if (signal?.aborted || !(await freezeIsComplete(pool, freeze.id)) || !(await settleSkipped(freeze, done, signal))) continue;
        if (!(await inTransaction(pool, (tx) => freezeSettle(tx, freeze.id)))) continue;
        skippedDone.delete(freeze.id);
        done.freezes.push(freeze.id);
      }
      done.more = done.jobs > 0 && (done.more || reached !== '');
      return done;
    },
  };
}

export type FreezeSettlement = ReturnType<typeof createFreezeSettlement>;

type Over = ReadonlyMap<string, OverFreeze>;

const slotsByJob = (rows: readonly JobSlot[]): Map<string, Date[]> =>
  new Map([...Map.groupBy(rows, ({ job_id }) => job_id)].map(([id, of]) => [id, of.map(({ slot }) => slot)]));

/** From the beginning of a job's first stretch to the end of its last, and of its freezes: until then there may be slots that nobody has admitted. */
function extentOf(ranges: readonly FrozenRange[], over: Over): { jobId: string; from: Date; to: Date } {
  const to = new Date(Math.max(...ranges.flatMap((range) => [range.to.getTime(), over.get(range.freeze_id)!.end.getTime()])));
  return { jobId: ranges[0]!.job_id, from: ranges[0]!.from, to };
}
