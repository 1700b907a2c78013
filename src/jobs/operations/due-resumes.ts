/**
 * Ends pauses at the time they were given. The pause ends at that time, whenever somebody comes to write it down: slots from then on are the job's again, and those that passed
 * meanwhile are looked for anew, to be judged by the job's own catch-up. What the pause itself has swallowed is not run: nobody has asked for it.
 */
import { inTransaction, type Pool } from '../../postgres.ts';
import { jobsLock } from '../job-store.ts';
import { missedInPauses } from './missed-in-pause.ts';
import { pausesOver } from './pause-store.ts';
import { writePauses } from './pauses.ts';

const BATCH = 200;
/** No more slots than these are counted in each pause. */
const MOST_COUNTED = 10_000;
const ALMANAC = { name: 'almanac', requestId: 'pause-until' };

/** Resumes jobs whose pause is over. @returns how many there were; as many as BATCH: there may be more */
export async function resumeDue(pool: Pool): Promise<{ resumed: number; more: boolean }> {
  const due = await pausesOver(pool, BATCH);
  let resumed = 0;
  for (const [team, ofTeam] of Map.groupBy(due, (job) => job.team)) {
    const ids = ofTeam.map((job) => job.job_id);
    resumed += await inTransaction(pool, async (tx) => {
      const { jobs, at } = await jobsLock(tx, team, ids);
      // somebody may have resumed it, or given it another end
      const over = [...jobs.values()].filter(({ pause }) => pause?.until && new Date(pause.until) <= at);
      const endOf = (id: string) => new Date(jobs.get(id)!.pause!.until!);
      const missed = await missedInPauses(
        tx,
        team,
        over.map((job) => job.id),
        endOf,
        MOST_COUNTED,
      );
      const wishes = over.map((job) => ({ job, pause: null }));
      return (await writePauses(tx, { ...ALMANAC, team }, wishes, at, missed)).length;
    });
  }
  return { resumed, more: due.length === BATCH && resumed > 0 };
}
