/** What a job has missed in its pause: what a resume answers, and what its catch-up would run. */
import type { Queryable } from '../../postgres.ts';
import { fatesOfMany, type JobSlot, slotsOfManyMemberships } from './expected-slots.ts';
import { type EndedPause, pausedRangesNow } from './pause-store.ts';
import { withoutFrozen, withoutStoppedOfMany } from './slot-stops.ts';

export type MissedInPause = {
  /** The stretches that end now, with how many slots lie in each. */
  ended: EndedPause[];
  /** Slots that would have run but for the pause, ascending; null: more than were looked for. */
  slots: Date[] | null;
};

/**
 * Looks at the open pauses of jobs.
 * @param endOf when a job's pause ends: its slots from then on are not missed.
 * @param most no more slots than these are looked for in one job.
 */
export async function missedInPauses(
  database: Queryable,
  team: string,
  jobIds: readonly string[],
  endOf: (jobId: string) => Date,
  most: number,
): Promise<Map<string, MissedInPause>> {
  const found = new Map<string, MissedInPause>(jobIds.map((id) => [id, { ended: [], slots: [] }]));
  const open = await pausedRangesNow(database, team, jobIds);
  const ranges = open.map(({ job_id: jobId, from }) => ({ jobId, from, to: endOf(jobId) }));
  const slotsOf = await slotsOfManyMemberships(database, team, ranges, most);
  for (const [nth, { jobId, from, to }] of ranges.entries()) {
    const missed = found.get(jobId)!;
    const slots = slotsOf[nth]!;
    missed.ended.push({ job_id: jobId, from, to, count: slots?.length ?? null });
    missed.slots = slots && missed.slots && [...missed.slots, ...slots];
  }
  const all = [...found].flatMap(([jobId, { slots }]) => (slots ?? []).map((slot) => ({ jobId, slot })));
  const kept = Map.groupBy(await wouldHaveRun(database, team, all), ({ jobId }) => jobId);
  for (const [jobId, missed] of found) if (missed.slots) missed.slots = (kept.get(jobId) ?? []).map(({ slot }) => slot);
  return found;
}

async function wouldHaveRun(database: Queryable, team: string, slots: readonly JobSlot[]): Promise<JobSlot[]> {
  const wanted = await withoutFrozen(database, team, await withoutStoppedOfMany(database, team, slots));
  const fates = await fatesOfMany(database, team, wanted);
  // a slot that was admitted just before the pause has its row; one that was caught by it has a range, or a row that says so
  return wanted.filter((_, nth) => fates[nth] === null || fates[nth] === 'paused');
}
