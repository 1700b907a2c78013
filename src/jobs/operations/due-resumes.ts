/**
 * Ends pauses at the time they were given. The pause ends at that time, whenever somebody comes to write it down: slots from then on are the job's again, and those that passed
 * meanwhile are looked for anew, to be judged by the job's own catch-up. What the pause itself has swallowed is not run: nobody has asked for it.
 *
 * It is written down a little before, so that Temporal is awake for a slot at that very time: most pauses end on a full hour, as slots begin. The stretch of the pause reaches up to
 * its end, and swallows the slots until then. Single runs have no stretch; their pauses end on time.
 */
import type { Log } from '../../log.ts';
import { inTransaction, isPostgresAway, type Pool } from '../../postgres.ts';
import { jobsLock } from '../job-store.ts';
import { missedInPauses } from './missed-in-pause.ts';
import { ownClocksWake, pausesOver, resumesForget } from './pause-store.ts';
import { writePauses } from './pauses.ts';

const BATCH = 200;
/** Time for Temporal to be shown that a job is awake. */
const AHEAD_MS = 5_000;
/** The clocks of jobs that have one each are woken before that: a thousand of them take Temporal half a minute. */
const WAKE_AHEAD_MS = 60_000;
/** No more slots than these are counted in each pause. */
const MOST_COUNTED = 10_000;
const ALMANAC = { name: 'almanac', requestId: 'pause-until' };

/** Resumes jobs whose pause is over, and wakes the clocks of those whose pause soon will be. `more`: there may be others. */
export async function resumeDue(pool: Pool, log: Log): Promise<{ resumed: number; woken: number; more: boolean }> {
  const woken = await ownClocksWake(pool, WAKE_AHEAD_MS, BATCH);
  const due = await pausesOver(pool, AHEAD_MS, BATCH);
  let resumed = 0;
  for (const [team, ofTeam] of Map.groupBy(due, (job) => job.team)) {
    const ids = ofTeam.map((job) => job.job_id);
    try {
      resumed += await resumeAll(pool, team, ids);
    } catch (error) {
      if (isPostgresAway(error)) throw error;
      // one of them is to blame; the others must not wait for it
      for (const id of ids) resumed += await resumeAll(pool, team, [id]).catch((cause: unknown) => refused(log, id, cause));
    }
  }
  return { resumed, woken, more: woken === BATCH || (due.length === BATCH && resumed > 0) };
}

async function resumeAll(pool: Pool, team: string, ids: readonly string[]): Promise<number> {
  return await inTransaction(pool, async (tx) => {
    // look-ups by key, as in operation-runner.ts
    await tx.query('SET LOCAL enable_seqscan = off');
    const { jobs, at } = await jobsLock(tx, team, ids);
    // somebody may have resumed it, deleted it, or given its pause another end
    const over = [...jobs.values()].filter(
      ({ pause, clockHeld }) => pause?.until && Date.parse(pause.until) <= at.getTime() + (clockHeld ? AHEAD_MS : 0),
    );
    const overIds = over.map((job) => job.id);
    await resumesForget(
      tx,
      team,
      ids.filter((id) => !jobs.get(id)?.pause?.until),
    );
    const missed = await missedInPauses(tx, team, overIds, (id) => new Date(jobs.get(id)!.pause!.until!), MOST_COUNTED);
    const wishes = over.map((job) => ({ job, pause: null, endsAt: new Date(job.pause!.until!) }));
    return (await writePauses(tx, { ...ALMANAC, team }, wishes, at, missed)).length;
  });
}

function refused(log: Log, job: string, error: unknown): number {
  if (isPostgresAway(error)) throw error;
  log.warn({ job, error: String(error) }, 'a pause that is over could not be ended; it is tried again');
  return 0;
}
