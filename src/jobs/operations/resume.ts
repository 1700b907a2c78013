/** What a resume says of the slots that the pause has swallowed, and what it runs of them because somebody asks for that (never by itself). */
import type { Transaction } from '../../postgres.ts';
import { JobError } from '../errors.ts';
import type { StoredJob } from '../job-store.ts';
import { type Backfills, previewOf } from './backfills.ts';
import type { MissedInPause } from './missed-in-pause.ts';
import { MOST_ITEMS } from './operation-store.ts';
import type { Actor } from './pauses.ts';

export type CatchUp = { policy: 'none' | 'last' | 'all'; order: 'oldest' | 'newest'; ratePerMinute: number | null };

export type Resumed = {
  dryRun: boolean;
  /** Slots that would have run but for the pause; null: more than 100,000. */
  missed: number | null;
  message: string;
  /** What runs of them now, or would. */
  catchUp: { policy: CatchUp['policy']; count: number; first: string[]; last: string[]; backfill: string | null };
};

/**
 * Starts what is asked for of a job's missed slots, in the transaction that resumes it.
 * @throws JobError `invalid` when they are too many; `refused` when the job is disabled.
 */
export async function catchUpAfterPause(
  tx: Transaction,
  backfills: Pick<Backfills, 'write'>,
  actor: Actor,
  job: StoredJob,
  missed: MissedInPause,
  { policy, order, ratePerMinute }: CatchUp,
  dryRun: boolean,
): Promise<Resumed> {
  const slots = slotsToCatchUp(job, missed, policy);
  const { count, first, last } = previewOf(slots, order);
  const { id } = dryRun
    ? { id: null }
    : await backfills.write(
        tx,
        {
          team: job.team,
          jobId: job.id,
          slots,
          only: 'missed',
          order,
          ratePerMinute,
          requestedBy: actor.name,
          reason: job.pause?.reason ? `missed while paused: ${job.pause.reason}` : 'missed while paused',
          requestId: actor.requestId,
        },
        slots,
      );
  return {
    dryRun,
    missed: missed.slots?.length ?? null,
    message: missedMessage(missed),
    catchUp: { policy, count, first, last, backfill: id },
  };
}

/** @param most so many were looked for. */
export function missedMessage({ slots }: MissedInPause, most = MOST_ITEMS): string {
  if (slots === null) return `more than ${most.toLocaleString('en')} slots were missed`;
  return slots.length === 1 ? '1 slot was missed' : `${slots.length} slots were missed`;
}

/**
 * The missed slots that a policy runs, ascending.
 * @throws JobError `invalid` when they are too many; `refused` when the job is disabled.
 */
export function slotsToCatchUp(job: StoredJob, { slots }: MissedInPause, policy: CatchUp['policy']): Date[] {
  if (policy === 'none' || slots?.length === 0) return [];
  if (!job.document.enabled)
    throw new JobError(
      'refused',
      'job_disabled',
      `Job ${JSON.stringify(job.name)} is disabled and cannot catch up; set "enabled": true first, or resume it with "catchUp": "none".`,
    );
  if (slots === null)
    throw new JobError(
      'invalid',
      'too_many_slots',
      `More than ${MOST_ITEMS.toLocaleString('en')} slots were missed; resume with "catchUp": "none", then backfill shorter ranges.`,
      {
        errors: [
          {
            path: '/catchUp',
            message: `would run more than ${MOST_ITEMS} slots; write "none" and backfill in parts`,
            code: 'too_many_slots',
          },
        ],
      },
    );
  return policy === 'last' ? slots.slice(-1) : slots;
}
