/**
 * Creating a job: everything is worked out beforehand, then one statement writes it. Those that are asked for at the same time share a statement and its commit;
 * one by itself goes at once. With an idempotency key it is a transaction of its own.
 */
import { inTransaction, type Pool, type Queryable, type Transaction } from '../postgres.ts';
import { calendarNamesOf, checkCalendars } from './calendars/calendar-references.ts';
import { withHolidayDates } from './calendars/holiday-dates.ts';
import { redrafted } from './calendars/holiday-drafts.ts';
import { withExactRun } from './calendars/next-runs.ts';
import type { Caller } from './caller.ts';
import { createCommitGroups } from './commit-groups.ts';
import { claimIdempotencyKey, type IdempotencyContext } from './idempotency.ts';
import { jobsInsert } from './job-batch-insert.ts';
import { invalidJob, type JobDocument } from './job-document.ts';
import { type CreatedJob, createdOf, type Draft, draftOf, type InsertOutcome } from './job-draft.ts';
import { jobNameTaken } from './job-errors.ts';
import type { QueueOf } from './job-facts.ts';
import { jobInsert } from './job-insert.ts';
import { missingServiceErrors } from './job-references.ts';
import { jobFindId } from './job-store.ts';
import { jobViewOf } from './job-view.ts';

/** A name that is freed again and again between two looks is given up on. */
const ROUNDS = 5;

export function createJobCreation({
  pool,
  queueOf,
  checkReferences,
}: {
  pool: Pool;
  queueOf: QueueOf;
  /** Handlers and channels that it names. @throws JobError `invalid` */
  checkReferences: (database: Queryable, document: JobDocument) => Promise<void>;
}) {
  const insertInCompany = createCommitGroups<Draft, InsertOutcome>(
    ({ job }) => job.team,
    async (drafts) => (drafts.length > 1 ? jobsInsert(pool, drafts) : [await jobInsert(pool, drafts[0]!)]),
  );

  /** Null: the name is taken. */
  async function insert(draft: Draft, idempotency: IdempotencyContext | undefined): Promise<InsertOutcome | null> {
    const held = calendarNamesOf(draft.job.document).length > 0;
    const outcome =
      idempotency || held ? await inTransaction(pool, (tx) => insertAlone(tx, draft, idempotency)) : await insertInCompany(draft);
    if (outcome.missingServices.length > 0) throw await refusal(pool, outcome.missingServices, draft);
    return outcome.created ? outcome : null;
  }

  /** In a transaction that holds what the job names, and the key. */
  async function insertAlone(tx: Transaction, draft: Draft, idempotency: IdempotencyContext | undefined): Promise<InsertOutcome> {
    await checkCalendars(tx, draft.job.document);
    // what was written into it before the calendars were held may be of the version before
    Object.assign(draft, await redrafted(tx, draft, queueOf));
    if (idempotency) await claimIdempotencyKey(tx, idempotency, await jobViewOf(tx, draft.job));
    const inserted = await jobInsert(tx, draft);
    // nothing was written, so the key must not be kept either
    if (!inserted.created && idempotency) throw await refusal(tx, inserted.missingServices, draft);
    if (inserted.created) draft.job.nextRunAt = (await withExactRun(tx, draft.job)).nextRunAt;
    return inserted;
  }

  async function refusal(database: Queryable, missing: string[], { job: { document, team } }: Draft): Promise<Error> {
    if (missing.length > 0) return invalidJob(missingServiceErrors(document, missing));
    const id = await jobFindId(database, team, document.name);
    return jobNameTaken(document.name, id ?? 'unknown');
  }

  /**
   * Creates a job.
   * @throws JobError `conflict` when the name is taken, `invalid` for a schedule without a time ahead, unknown handlers, channels and services.
   */
  async function create(caller: Caller, written: JobDocument, idempotency: IdempotencyContext | undefined): Promise<CreatedJob> {
    await checkReferences(pool, written);
    const document = await withHolidayDates(pool, caller.team, written);
    for (let round = 1; ; round += 1) {
      const draft = draftOf(caller, document, queueOf);
      const inserted = await insert(draft, idempotency);
      if (inserted) return createdOf(draft, inserted);
      const id = await jobFindId(pool, caller.team, document.name);
      // no job of that name any more: it was deleted between the two looks
      if (id !== null || round === ROUNDS) throw jobNameTaken(document.name, id ?? 'unknown');
    }
  }

  return { create };
}
