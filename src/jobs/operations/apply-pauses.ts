/** Items that pause or resume a job: a batch is locked, written and told in few statements. */
import { JobError } from '../errors.ts';
import { jobsLock, type Pause, type StoredJob } from '../job-store.ts';
import type { Backfills } from './backfills.ts';
import type { JobCatchUp } from './catch-ups.ts';
import { missedInPauses } from './missed-in-pause.ts';
import type { Applied, Apply } from './operation-runner.ts';
import { type ItemOutcome, MOST_ITEMS, type OperationItem, type OperationRow } from './operation-store.ts';
import { type Actor, type PauseWish, writePauses } from './pauses.ts';
import { type CatchUp, missedMessage, slotsToCatchUp } from './resume.ts';

export type PauseParams = { blockManual: boolean; until: string | null };
export type ResumeParams = CatchUp;

/** Where nothing is to be caught up with, no more slots than these are counted in each job: thousands of jobs are resumed at once. */
const MOST_COUNTED = 1_000;

/** Who did it, as the trail names them. */
export const actorOf = (operation: OperationRow): Actor => ({
  team: operation.team,
  name: operation.requested_by,
  requestId: operation.request_id ?? operation.id,
});

export const jobGone = (position: number): ItemOutcome => ({
  position,
  result: 'refused',
  code: 'not_found',
  message: 'the job is not there any more',
});

/** @param toldLater tells the controller that clocks wait for it. */
export function createApplyPause(toldLater: () => void): Apply {
  return async (tx, operation, items): Promise<Applied> => {
    const { blockManual, until } = operation.params as PauseParams;
    const { jobs, at } = await jobsLock(
      tx,
      operation.team,
      items.map((item) => item.job_id),
    );
    const wishes: PauseWish[] = [];
    const outcomes = items.map(({ position, job_id: id }): ItemOutcome => {
      const job = jobs.get(id);
      if (!job) return jobGone(position);
      if (until !== null && new Date(until) <= at)
        return { position, result: 'refused', code: 'in_the_past', message: `the pause was to end at ${until}, which has passed` };
      const pause: Pause = {
        reason: operation.reason,
        by: operation.requested_by,
        at: job.pause?.at ?? at.toISOString(),
        blockManual,
        automatic: false,
        until,
      };
      if (isSamePause(job, pause)) return { position, result: 'unchanged', message: 'it was paused already' };
      wishes.push({ job, pause });
      return { position, result: 'succeeded' };
    });
    const paused = await writePauses(tx, actorOf(operation), wishes, at);
    return { outcomes, ...(paused.some(({ clocks }) => clocks.length > 0) ? { after: toldLater } : {}) };
  };
}

const isSamePause = ({ pause }: StoredJob, next: Pause): boolean =>
  pause !== null &&
  !pause.automatic &&
  pause.reason === next.reason &&
  pause.blockManual === next.blockManual &&
  (pause.until ?? null) === (next.until ?? null);

export function createApplyResume(backfills: Pick<Backfills, 'startMany'>, toldLater: () => void): Apply {
  return async (tx, operation, items): Promise<Applied> => {
    const catchUp = operation.params as ResumeParams;
    const ids = items.map((item) => item.job_id);
    const { jobs, at } = await jobsLock(tx, operation.team, ids);
    const most = catchUp.policy === 'none' ? MOST_COUNTED : MOST_ITEMS;
    const paused = ids.filter((id) => jobs.get(id)?.pause);
    const missed = await missedInPauses(tx, operation.team, paused, () => at, most);
    const wishes: PauseWish[] = [];
    const lost: JobCatchUp[] = [];
    const resumed = items.map(resume);
    const origin = operation.id;
    const reason = `missed while paused; resumed by ${origin}`;
    const { team, name: requestedBy, requestId } = actorOf(operation);
    const started = await backfills.startMany(tx, { team, origin, jobs: lost, order: catchUp.order, requestedBy, reason, requestId });
    const outcomes = resumed.map((one, nth) => ({ ...one, made: started.get(ids[nth]!) ?? null }));
    const awake = await writePauses(tx, actorOf(operation), wishes, at, missed);
    return { outcomes, ...(awake.some(({ clocks }) => clocks.length > 0) ? { after: toldLater } : {}) };

    function resume({ position, job_id: id }: OperationItem): ItemOutcome {
      const job = jobs.get(id);
      if (!job) return jobGone(position);
      if (!job.pause) return { position, result: 'unchanged', message: 'it was not paused' };
      const ofJob = missed.get(id)!;
      try {
        lost.push({ jobId: id, slots: slotsToCatchUp(job, ofJob, catchUp.policy) });
        wishes.push({ job, pause: null });
        return { position, result: 'succeeded', message: missedMessage(ofJob, most) };
      } catch (error) {
        if (!(error instanceof JobError)) throw error;
        return { position, result: 'refused', code: error.code, message: error.message };
      }
    }
  };
}
