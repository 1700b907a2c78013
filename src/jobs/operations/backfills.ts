/**
 * Backfills as rows: which slots, in which order, and how fast. Whoever starts one writes it in a transaction of its own; the controller starts the workflow that works it off.
 * Slots are chosen when it is written, so that a dry run and the backfill right after it agree, whatever the schedule becomes meanwhile.
 */
import { inTransaction, type Pool, type Queryable, type Transaction } from '../../postgres.ts';
import { auditInsert } from '../audit.ts';
import type { Caller } from '../caller.ts';
import { JobError } from '../errors.ts';
import { claimIdempotencyKey, type IdempotencyContext } from '../idempotency.ts';
import { jobNotFound } from '../job-errors.ts';
import { factsOf } from '../job-facts.ts';
import { jobFind, type StoredJob } from '../job-store.ts';
import { formatInstant } from '../time/instant.ts';
import { type BackfillRequest, MISSED_REASONS, rangeOf } from './backfill-document.ts';
import { startCatchUps } from './catch-ups.ts';
import { fatesOf, type SlotRange, slotsOfMemberships, slotsOfTiming, tooManySlots } from './expected-slots.ts';
import { operationFind } from './operation-queries.ts';
import { MOST_ITEMS, operationInsert, slotItemsInsert } from './operation-store.ts';
import { type OperationView, operationView } from './operation-view.ts';
import { freezeOver, withoutStopped } from './slot-stops.ts';

export type BackfillStart = {
  team: string;
  jobId: string;
  /** Those that are given, or those between two moments (from <= slot < to) by the schedules that the job had then. */
  slots: readonly Date[] | SlotRange;
  /** `missed`: leaves out what has run or is in a backfill already, and of a range whatever did not miss its turn. */
  only: 'missed' | 'all';
  /** Null: as fast as it goes. */
  ratePerMinute: number | null;
  order: 'oldest' | 'newest';
  requestedBy: string;
  reason: string | null;
  /** Why slots of a range did not run, for them to count as missed. Default: MISSED_REASONS. */
  reasons?: readonly string[] | undefined;
  requestId?: string | null;
};

/** `id` is null when there is no slot to run: nothing was written. */
export type StartedBackfill = { id: string | null; count: number };

/** What a backfill would run: how many slots, and the first and last of them in the order of work. */
export type BackfillPreview = { dryRun: true; count: number; first: string[]; last: string[] };
export type Backfills = ReturnType<typeof createBackfills>;

const SAMPLE = 5;

export function createBackfills({ pool }: { pool: Pool }) {
  /** Of several that ask for the same job's missed slots at once, each sees what the others have taken. */
  async function oneAtATime(tx: Transaction, jobId: string): Promise<void> {
    await tx.query({ name: 'backfill-lock', text: 'SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', values: [`backfill-${jobId}`] });
  }

  /** Slots, ascending, that such a backfill would run. */
  async function choose(database: Queryable, start: Pick<BackfillStart, 'team' | 'jobId' | 'slots' | 'only' | 'reasons'>): Promise<Date[]> {
    const { team, jobId, slots, only, reasons = MISSED_REASONS } = start;
    if ('from' in slots) {
      const expected = await slotsOfMemberships(database, team, jobId, slots);
      return only === 'all'
        ? await withoutStopped(database, team, jobId, expected)
        : await missed(database, team, jobId, expected, reasons);
    }
    const given = [...new Set(slots.map((slot) => slot.getTime()))].sort((a, b) => a - b).map((ms) => new Date(ms));
    if (given.length > MOST_ITEMS) throw tooManySlots();
    return only === 'all' ? given : await missed(database, team, jobId, given, null);
  }

  /** @param reasons null: any, also none. */
  async function missed(
    database: Queryable,
    team: string,
    jobId: string,
    slots: Date[],
    reasons: readonly string[] | null,
  ): Promise<Date[]> {
    const fates = await fatesOf(database, team, jobId, slots);
    return slots.filter((_, nth) => {
      const fate = fates[nth] ?? null;
      if (fate === 'ran' || fate === 'taken') return false;
      return reasons === null || (fate !== null && reasons.includes(fate));
    });
  }

  /** Writes a backfill of exactly these slots, ascending. */
  async function write(tx: Transaction, start: BackfillStart, slots: readonly Date[]): Promise<StartedBackfill> {
    if (slots.length === 0) return { id: null, count: 0 };
    const { team, jobId, only, order, reason, ratePerMinute, requestedBy, requestId = null } = start;
    const asked = { only, order, from: slots[0]!, to: slots.at(-1)! };
    const operation = { team, kind: 'backfill', jobId, asked, params: {}, reason, ratePerMinute, requestedBy, requestId } as const;
    const id = await operationInsert(tx, operation, slots.length);
    const inOrder = order === 'newest' ? slots.toReversed() : slots;
    await slotItemsInsert(
      tx,
      team,
      id,
      0,
      inOrder.map((slot) => ({ jobId, slot })),
    );
    await auditInsert(
      tx,
      { team, name: requestedBy, requestId: requestId ?? id },
      {
        action: 'job.backfill_started',
        subjectKind: 'job',
        subjectId: jobId,
        after: { backfill: id, count: slots.length, reason, ratePerMinute, ...asked },
      },
    );
    return { id, count: slots.length };
  }

  /** The slots that a request means. */
  async function chosenBy(database: Queryable, job: StoredJob, request: BackfillRequest): Promise<Date[]> {
    const slots = rangeOf(request, new Date());
    const { only, reasons } = request;
    const { team, id: jobId } = job;
    if (only === 'missed') return await choose(database, { team, jobId, slots, only, reasons });
    const { timing, window } = factsOf(job.document, job.id, job.createdAt, () => job.queue);
    if (!timing) throw noSchedule(job);
    return await withoutStopped(database, team, jobId, await slotsOfTiming(timing, window, slots));
  }

  async function found(database: Queryable, caller: Caller, idOrName: string): Promise<StoredJob> {
    const job = await jobFind(database, caller.team, idOrName);
    if (!job) throw jobNotFound(idOrName);
    return job;
  }

  return {
    choose,
    write,

    /**
     * Writes a backfill. Rows only: the controller starts its workflow within seconds of the commit.
     * @throws JobError `invalid` when there are more than 100,000 slots.
     */
    async start(tx: Transaction, start: BackfillStart): Promise<StartedBackfill> {
      await oneAtATime(tx, start.jobId);
      return await write(tx, start, await choose(tx, start));
    },

    startMany: startCatchUps,

    /** What a request would run, whether it could run now or not. @throws JobError `not_found`, `invalid` */
    async preview(caller: Caller, idOrName: string, request: BackfillRequest): Promise<BackfillPreview> {
      const slots = await chosenBy(pool, await found(pool, caller, idOrName), request);
      return previewOf(slots, request.order);
    },

    /** @throws JobError `not_found`; `invalid`; `refused` (409) when there is nothing to run, or the job may not run now. */
    async request(caller: Caller, idOrName: string, request: BackfillRequest, idempotency?: IdempotencyContext): Promise<OperationView> {
      return await inTransaction(pool, async (tx) => {
        const job = await found(tx, caller, idOrName);
        await refuseHeld(tx, job);
        await oneAtATime(tx, job.id);
        const slots = await chosenBy(tx, job, request);
        const { only, order, ratePerMinute = null, reason = null } = request;
        const { team, name: requestedBy, requestId } = caller;
        const { id } = await write(tx, { team, jobId: job.id, slots, only, order, ratePerMinute, reason, requestedBy, requestId }, slots);
        if (id === null) throw nothingToRun(job, only);
        const view = operationView((await operationFind(tx, team, ['backfill'], id))!, {});
        await claimIdempotencyKey(tx, idempotency, view);
        return view;
      });
    },
  };
}

/** @param slots ascending. */
export function previewOf(slots: readonly Date[], order: 'oldest' | 'newest'): BackfillPreview {
  const inOrder = order === 'newest' ? slots.toReversed() : slots;
  const texts = (some: readonly Date[]) => some.map(formatInstant);
  return { dryRun: true, count: slots.length, first: texts(inOrder.slice(0, SAMPLE)), last: texts(inOrder.slice(SAMPLE).slice(-SAMPLE)) };
}

async function refuseHeld(tx: Transaction, job: StoredJob): Promise<void> {
  const name = JSON.stringify(job.name);
  if (!job.document.enabled) throw new JobError('refused', 'job_disabled', `Job ${name} is disabled; set "enabled": true first.`);
  if (job.pause?.blockManual) {
    const why = job.pause.reason ? ` (${job.pause.reason})` : '';
    throw new JobError('refused', 'job_paused', `Job ${name} is paused for manual starts too${why}; resume it first.`);
  }
  const freeze = await freezeOver(tx, job.team, job.id);
  if (freeze)
    throw new JobError('refused', 'frozen', `Job ${name} is frozen (${freeze.reason}); backfill when freeze ${freeze.freezeId} is over.`, {
      extra: freeze,
    });
}

const noSchedule = (job: StoredJob): JobError =>
  new JobError(
    'refused',
    'no_schedule',
    `Job ${JSON.stringify(job.name)} has no schedule that repeats, so it has no slots to backfill; trigger it instead.`,
  );

const nothingToRun = (job: StoredJob, only: string): JobError =>
  new JobError(
    'refused',
    'nothing_to_backfill',
    only === 'missed'
      ? `Job ${JSON.stringify(job.name)} has missed nothing between these times; write other times, or only: "all" for slots that have run.`
      : `Job ${JSON.stringify(job.name)} has no slot between these times; write other times.`,
  );
