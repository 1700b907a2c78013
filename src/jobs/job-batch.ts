/**
 * Creating many jobs with one request: all of them or none, or each by itself. What can be said of a document without the database is said first and of all
 * documents; then one transaction writes the good ones in one statement.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { inTransaction, type Pool, type Transaction } from '../postgres.ts';
import { calendarNamesOf, holdCalendars, unknownCalendars } from './calendars/calendar-references.ts';
import { holidayPlaces, withHolidayDates } from './calendars/holiday-dates.ts';
import { redrafted } from './calendars/holiday-drafts.ts';
import { nextRunsOf } from './calendars/next-runs.ts';
import type { Caller } from './caller.ts';
import { type FieldError, JobError } from './errors.ts';
import { claimIdempotencyKey } from './idempotency.ts';
import { batchNamesTaken, invalidBatch, itemOfError } from './job-batch-errors.ts';
import { jobsInsert } from './job-batch-insert.ts';
import { invalidJob, type JobDocument } from './job-document.ts';
import { type CreatedJob, createdOf, type Draft, draftOf } from './job-draft.ts';
import { jobNameTaken } from './job-errors.ts';
import type { QueueOf } from './job-facts.ts';
import { missingServiceErrors, unknownChannels, unknownHandlers, unknownServices } from './job-references.ts';
import { jobFindIds, type Sync } from './job-store.ts';
import type { Syncer } from './job-sync.ts';
import type { WriteOptions } from './jobs.ts';

/** `all`: all jobs or none. `each`: those that can be created. */
export type BatchMode = 'all' | 'each';
export type BatchItem =
  | { index: number; status: 201; id: string; name: string; sync: Sync; dispatchChoice: CreatedJob['job']['dispatchChoice'] }
  | { index: number; status: number; code: string; detail: string; errors: FieldError[]; existingId?: string };
export type Batch = { created: number; refused: number; items: BatchItem[] };

/** A name that is freed again and again between two looks is given up on. */
const ROUNDS = 5;
/** So long documents are read before other requests have their turn, milliseconds. */
const TURN_MS = 10;
/** Effects in Temporal under way at once; what the budget does not reach is the controller's. */
const LANES = 16;

type Read = { index: number; draft: Draft } | { index: number; error: JobError };
type Written = { index: number; made: CreatedJob } | { index: number; error: JobError };

export function createJobBatch({
  pool,
  queueOf,
  parse,
  settle,
  budgetMs,
  documentLimitBytes,
}: {
  pool: Pool;
  queueOf: QueueOf;
  /** @throws JobError `invalid` */
  parse: (caller: Caller, body: unknown) => JobDocument;
  settle: Syncer['settle'];
  /** Most milliseconds the whole batch waits for Temporal. */
  budgetMs: number;
  /** Most bytes of one document as JSON: a large batch is many documents, not a large one, which nothing else could be read beside. */
  documentLimitBytes: number;
}) {
  /** Every document by itself, with the handlers and channels it names. */
  async function readAll(caller: Caller, bodies: readonly unknown[]): Promise<Read[]> {
    const read: Read[] = [];
    let turnAt = performance.now();
    for (const [index, body] of bodies.entries()) {
      read.push(draftOrError(index, () => draftOf(caller, parse(caller, ofBearableSize(body)), queueOf)));
      if (performance.now() < turnAt + TURN_MS) continue;
      await nextTurn();
      turnAt = performance.now();
    }
    for (const one of read) {
      if (!('draft' in one) || holidayPlaces(one.draft.job.document.schedule).length === 0) continue;
      const dated = await withHolidayDates(pool, caller.team, one.draft.job.document);
      read[one.index] = draftOrError(one.index, () => draftOf(caller, dated, queueOf));
    }
    const good = read.flatMap((one) => ('draft' in one ? [one] : []));
    const documents = good.map(({ draft }) => draft.job.document);
    const unknown = new Map<number, FieldError[]>();
    for (const [nth, error] of [...(await unknownHandlers(pool, documents)), ...(await unknownChannels(pool, documents))])
      unknown.set(nth, [...(unknown.get(nth) ?? []), error]);
    for (const [nth, errors] of unknown) read[good[nth]!.index] = { index: good[nth]!.index, error: invalidJob(errors) };
    return read;
  }

  function ofBearableSize(body: unknown): unknown {
    const bytes = Buffer.byteLength(JSON.stringify(body));
    if (bytes <= documentLimitBytes) return body;
    throw invalidJob([{ path: '', message: `has ${bytes} bytes as JSON, at most ${documentLimitBytes}`, code: 'too_large' }]);
  }

  /** One transaction: nothing is written when it throws. */
  async function write(tx: Transaction, caller: Caller, drafts: readonly Extract<Read, { draft: Draft }>[]): Promise<Written[]> {
    const written: Written[] = [];
    const unknown = await holdCalendars(
      tx,
      caller.team,
      drafts.map(({ draft }) => draft.job.document),
    );
    for (const [nth, errors] of unknown) written.push({ index: drafts[nth]!.index, error: invalidJob(errors) });
    let left = drafts.filter((_, nth) => !unknown.has(nth));
    for (const one of left) Object.assign(one.draft, await redrafted(tx, one.draft, queueOf));
    for (let round = 1; left.length > 0; round += 1) {
      const outcomes = await jobsInsert(
        tx,
        left.map(({ draft }) => draft),
      );
      const taken: typeof left = [];
      for (const [nth, { index, draft }] of left.entries()) {
        const outcome = outcomes[nth]!;
        const missing = missingServiceErrors(draft.job.document, outcome.missingServices);
        if (outcome.created) written.push({ index, made: createdOf(draft, outcome) });
        else if (missing.length > 0) written.push({ index, error: invalidJob(missing) });
        else taken.push({ index, draft });
      }
      if (taken.length === 0) break;
      const holders = await jobFindIds(
        tx,
        caller.team,
        taken.map(({ draft }) => draft.job.name),
      );
      // no job of that name any more: it was deleted between the two looks
      left = round < ROUNDS ? taken.filter(({ draft }) => !holders.has(draft.job.name)) : [];
      for (const { index, draft } of taken)
        if (holders.has(draft.job.name) || round === ROUNDS)
          written.push({ index, error: jobNameTaken(draft.job.name, holders.get(draft.job.name) ?? 'unknown') });
    }
    const made = written.flatMap((one) => ('made' in one && calendarNamesOf(one.made.job.document).length > 0 ? [one.made.job.id] : []));
    if (made.length > 0) await nextRunsOf(tx, caller.team, made);
    return written;
  }

  /**
   * Creates jobs. Durable when it returns.
   * @throws JobError of mode `all`: `invalid` naming every document that is not, `conflict` naming every name that is taken; nothing is written then.
   */
  async function create(caller: Caller, bodies: readonly unknown[], mode: BatchMode, options: WriteOptions): Promise<Batch> {
    const read = await readAll(caller, bodies);
    const good = read.flatMap((one) => ('draft' in one ? [one] : []));
    const bad = read.flatMap((one) => ('error' in one ? [one] : []));
    if (mode === 'all') await refuseBad(caller, good, bad);
    const { batch, made } = await inTransaction(pool, async (tx) => {
      const written = await write(tx, caller, good);
      const refused = written.flatMap((one) => ('error' in one ? [one] : []));
      if (mode === 'all' && refused.length > 0) throw refusalOf(refused);
      const made = written.flatMap((one) => ('made' in one ? [one] : []));
      const batch = batchOf([...bad, ...written], (job) => job.sync);
      // last, because what it keeps is what was written: whoever has the same key waits for the names
      await claimIdempotencyKey(tx, options.idempotency, batch);
      return { batch, made };
    });
    const syncs = await settleAll(
      made.map((one) => one.made),
      options.respondAsync,
    );
    for (const { index, made: one } of made) Object.assign(batch.items[index]!, { sync: syncs.get(one) ?? one.job.sync });
    return batch;
  }

  async function refuseBad(
    caller: Caller,
    good: readonly Extract<Read, { draft: Draft }>[],
    bad: Extract<Read, { error: JobError }>[],
  ): Promise<void> {
    const first = new Map<string, number>();
    const errors = bad.flatMap(({ index, error }) => itemOfError(index, error).errors);
    for (const { index, draft } of good) {
      const before = first.get(draft.job.name);
      if (before === undefined) first.set(draft.job.name, index);
      else
        errors.push({ path: `/jobs/${index}/name`, message: `is the name of /jobs/${before} too; names are unique`, code: 'name_twice' });
    }
    if (errors.length === 0) return;
    // only a refusal looks for services beforehand, so that it names all that is wrong
    const missing = await unknownServices(
      pool,
      caller.team,
      good.flatMap(({ draft }) => draft.services),
    );
    const unknown = await unknownCalendars(
      pool,
      caller.team,
      good.map(({ draft }) => draft.job.document),
    );
    for (const [nth, { index, draft }] of good.entries())
      for (const error of [...missingServiceErrors(draft.job.document, missing), ...(unknown.get(nth) ?? [])])
        errors.push({ ...error, path: `/jobs/${index}${error.path}` });
    throw invalidBatch(errors);
  }

  /** Within one budget for all; jobs that share a clock or a pool share its effect. */
  async function settleAll(made: readonly CreatedJob[], respondAsync: boolean | undefined): Promise<Map<CreatedJob, Sync>> {
    const sharers = new Map<string, CreatedJob[]>();
    for (const one of made) {
      const key = one.effects.start?.workflowId ?? one.job.clockId;
      if (key === null) continue;
      const others = sharers.get(key);
      if (others) others.push(one);
      else sharers.set(key, [one]);
    }
    const syncs = new Map<CreatedJob, Sync>();
    const open = [...sharers.values()].filter((jobs) => jobs.some(({ effects }) => effects.clocks.length > 0 || effects.start)).values();
    const until = performance.now() + budgetMs;
    const lane = async () => {
      for (const jobs of open) {
        const { effects, job } = jobs.find((one) => one.effects.clocks.length > 0 || one.effects.start)!;
        const sync = await settle(effects, respondAsync || performance.now() >= until, job.sync, until - performance.now());
        for (const one of jobs) syncs.set(one, sync);
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    return syncs;
  }

  return { create };
}

function draftOrError(index: number, make: () => Draft): Read {
  try {
    return { index, draft: make() };
  } catch (error) {
    if (error instanceof JobError && error.kind === 'invalid') return { index, error };
    throw error;
  }
}

function refusalOf(refused: readonly Extract<Written, { error: JobError }>[]): JobError {
  const errors = refused.flatMap(({ index, error }) => itemOfError(index, error).errors);
  return refused.every(({ error }) => error.kind === 'conflict') ? batchNamesTaken(errors) : invalidBatch(errors);
}

function batchOf(all: readonly (Read | Written)[], syncOf: (job: CreatedJob['job']) => Sync): Batch {
  const items: BatchItem[] = [];
  for (const one of all) {
    if ('error' in one) items[one.index] = itemOfError(one.index, one.error);
    else if ('made' in one) {
      const { job } = one.made;
      const { id, name, dispatchChoice } = job;
      items[one.index] = { index: one.index, status: 201, id, name, sync: syncOf(job), dispatchChoice };
    }
  }
  const created = items.filter((item) => item.status === 201).length;
  return { created, refused: items.length - created, items };
}
