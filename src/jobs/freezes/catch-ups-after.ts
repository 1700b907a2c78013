/** What the jobs that are settled together run of the slots they have lost: one backfill per freeze and team takes it all. */
import type { Transaction } from '../../postgres.ts';
import { JobError } from '../errors.ts';
import type { Backfills } from '../operations/backfills.ts';
import type { JobCatchUp } from '../operations/catch-ups.ts';
import type { JobSlot } from '../operations/expected-slots.ts';
import { withoutStoppedOfMany } from '../operations/slot-stops.ts';
import type { OverFreeze } from './freeze-end-store.ts';
import type { JobState } from './settlement-store.ts';

/** A job's lost slots, ascending, of which its policy wants all, or the last. `last`: the freeze that was the last to end. */
export type LostSlots = { job: JobState; slots: readonly Date[]; last: OverFreeze };

/** Starts what is to run of them; answers the backfill of each job that runs any. */
export async function startCatchUpsAfter(
  tx: Transaction,
  backfills: Pick<Backfills, 'startMany'>,
  lost: readonly LostSlots[],
): Promise<Map<string, string>> {
  const started = new Map<string, string>();
  for (const ofTeam of Map.groupBy(lost, ({ job }) => job.team).values()) {
    const running = await wanted(tx, ofTeam);
    for (const ofFreeze of Map.groupBy(ofTeam, ({ last }) => last.id).values()) {
      const { job, last } = ofFreeze[0]!;
      const start = {
        team: job.team,
        origin: last.id,
        jobs: ofFreeze.flatMap((one): JobCatchUp[] => {
          const slots = running.get(one.job.job_id);
          return slots ? [{ jobId: one.job.job_id, slots }] : [];
        }),
        order: 'oldest',
        requestedBy: 'almanac',
        reason: `freeze ${last.id} is over: ${last.reason}`,
      } as const;
      for (const [jobId, operation] of await backfills.startMany(tx, start)) started.set(jobId, operation);
    }
  }
  return started;
}

/** Of jobs of one team. Most have neither calendars nor days when clocks change: of those that want the last slot only this one is looked at, before all. */
async function wanted(tx: Transaction, lost: readonly LostSlots[]): Promise<Map<string, Date[]>> {
  const team = lost[0]!.job.team;
  const slotsOf = ({ job, slots }: LostSlots): JobSlot[] => slots.map((slot) => ({ jobId: job.job_id, slot }));
  const isLast = ({ job }: LostSlots) => job.catch_up === 'last';
  const first = await running(
    tx,
    team,
    lost.map((one) => slotsOf(isLast(one) ? { ...one, slots: one.slots.slice(-1) } : one)),
  );
  const again = lost.filter((one) => isLast(one) && !first.has(one.job.job_id) && one.slots.length > 1);
  for (const [jobId, slots] of again.length > 0 ? await running(tx, team, again.map(slotsOf)) : []) first.set(jobId, slots.slice(-1));
  return first;
}

/** Without what calendars and the jobs' choices leave out now. Admit has done so already: what can not be worked out must not keep a freeze from its end. */
async function running(tx: Transaction, team: string, byJob: readonly JobSlot[][]): Promise<Map<string, Date[]>> {
  const known = (error: unknown): null => {
    if (error instanceof JobError) return null;
    throw error;
  };
  let kept = await withoutStoppedOfMany(tx, team, byJob.flat()).catch(known);
  if (kept === null) {
    kept = [];
    for (const slots of byJob) for (const one of (await withoutStoppedOfMany(tx, team, slots).catch(known)) ?? slots) kept.push(one);
  }
  return new Map([...Map.groupBy(kept, ({ jobId }) => jobId)].map(([jobId, slots]) => [jobId, slots.map(({ slot }) => slot)]));
}
