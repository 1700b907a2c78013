/**
 * Use cases on jobs: one transaction each, then the effects in Temporal within a budget. What is acknowledged is committed;
 * `sync` says whether Temporal is known to have it already.
 */
import type { Config } from '../config.ts';
import { inTransaction, type Pool, type Transaction } from '../postgres.ts';
import { checkCalendars } from './calendars/calendar-references.ts';
import { withHolidayDates } from './calendars/holiday-dates.ts';
import { withExactRun } from './calendars/next-runs.ts';
import type { Caller } from './caller.ts';
import { claimIdempotencyKey, type IdempotencyContext } from './idempotency.ts';
import { isJobId } from './ids.ts';
import { createJobBatch } from './job-batch.ts';
import { changeJob, type Effects, NO_EFFECTS } from './job-change.ts';
import { createJobCreation } from './job-creation.ts';
import { type DocumentRules, invalidJob, type JobDocument, parseJobDocument, READ_ONLY_KEYS } from './job-document.ts';
import { jobHasChanged, jobNameTaken, jobNotFound } from './job-errors.ts';
import { queueRouting } from './job-facts.ts';
import { isObject, mergePatch, sameJson } from './job-json.ts';
import { checkChannels, checkServices, createHandlerCheck } from './job-references.ts';
import { removeJob } from './job-removal.ts';
import { jobFind, jobFindId, jobLock, type StoredJob } from './job-store.ts';
import { createSyncer, type SyncDeps } from './job-sync.ts';
import { type JobView, jobViewOf } from './job-view.ts';
import { type JobPage, type JobQuery, jobsList } from './jobs-list.ts';
import { replaceOrCreate } from './replace-or-create.ts';
import { createRevisionReads } from './revisions/revision-reads.ts';
import type { TargetRules } from './target-document.ts';

export type WriteOptions = {
  /** If-Match: true when the current generation is one the caller knows. */
  ifMatch?: ((generation: number) => boolean) | undefined;
  /** Prefer: respond-async: answer after the commit, do not wait for Temporal. */
  respondAsync?: boolean | undefined;
  /** POST only. `render` is given the view. */
  idempotency?: IdempotencyContext | undefined;
  /** Does everything, and takes it back: what is answered is what would be. */
  dryRun?: boolean | undefined;
  /** What the audit trail calls an edit; absent: `job.updated`. */
  action?: string | undefined;
};
export type Written<T> = { value: T; generation: number };

export type JobsDeps = Omit<SyncDeps, 'budgetMs'> & {
  pool: Pool;
  config: Pick<Config, 'SYNC_BUDGET_MS' | 'BODY_LIMIT_BYTES' | 'INPUT_LIMIT_BYTES' | 'CATEGORY_QUEUES'>;
  targetRules: TargetRules;
};
export type Jobs = ReturnType<typeof createJobs>;

/** What a change works on: the stored job under its lock, and the database's time since the lock was won. */
export type Locked = { job: StoredJob; at: Date };

export function createJobs(deps: JobsDeps) {
  const { pool, config } = deps;
  const queueOf = queueRouting(config.CATEGORY_QUEUES);
  const { settle, drain } = createSyncer({ ...deps, budgetMs: config.SYNC_BUDGET_MS });
  const checkHandler = createHandlerCheck();
  const creation = createJobCreation({
    pool,
    queueOf,
    checkReferences: async (database, document) => {
      await checkHandler(database, document);
      await checkChannels(database, document);
    },
  });
  const rulesFor = (caller: Caller): DocumentRules => ({
    ...deps.targetRules,
    team: caller.team,
    inputLimitBytes: config.INPUT_LIMIT_BYTES,
  });
  const parse = (caller: Caller, body: unknown): JobDocument => parseJobDocument(body, rulesFor(caller));
  const batch = createJobBatch({
    pool,
    queueOf,
    parse,
    settle,
    budgetMs: config.SYNC_BUDGET_MS,
    documentLimitBytes: config.BODY_LIMIT_BYTES,
  });

  async function written(job: StoredJob, effects: Effects, options: WriteOptions): Promise<Written<JobView>> {
    const sync = await settle(effects, options.respondAsync, job.sync);
    return { value: await jobViewOf(pool, { ...job, sync }), generation: job.generation };
  }

  /**
   * Locks a job, checks If-Match, and lets `work` change it in one transaction; then brings the effects about.
   * @throws JobError `not_found`, `precondition`
   */
  async function withLocked(
    caller: Caller,
    idOrName: string,
    options: WriteOptions,
    work: (tx: Transaction, locked: Locked) => Promise<{ job: StoredJob; effects: Effects }>,
  ): Promise<Written<JobView>> {
    const locking = inTransaction(pool, async (tx) => {
      const locked = await jobLock(tx, caller.team, idOrName);
      if (!locked) throw jobNotFound(idOrName);
      if (options.ifMatch && !options.ifMatch(locked.job.generation)) throw jobHasChanged(idOrName, locked.job.generation);
      const result = await work(tx, locked);
      if (options.dryRun) throw new TakenBackError(result.job);
      if (options.idempotency) await claimIdempotencyKey(tx, options.idempotency, await jobViewOf(tx, result.job));
      return result;
    });
    const { job, effects } = await locking.catch((error: unknown) => {
      if (error instanceof TakenBackError) return { job: error.job, effects: NO_EFFECTS };
      throw error;
    });
    return written(job, effects, options);
  }

  /** Writes what `next` makes of the stored document; nothing at all when that is the same. */
  async function change(
    caller: Caller,
    idOrName: string,
    options: WriteOptions,
    next: (locked: Locked) => JobDocument,
  ): Promise<Written<JobView>> {
    let wanted: JobDocument | undefined;
    try {
      return await withLocked(caller, idOrName, options, async (tx, locked) => {
        const asked = next(locked);
        // held first: the days that are written are those of calendars that nobody changes now
        await checkCalendars(tx, asked);
        const document = await withHolidayDates(tx, caller.team, asked);
        wanted = document;
        if (sameJson(document, locked.job.document)) return { job: locked.job, effects: NO_EFFECTS };
        if (!sameJson(document.target, locked.job.document.target)) await checkHandler(tx, document);
        await checkServices(tx, document);
        await checkChannels(tx, document);
        const changed = await changeJob(tx, caller, locked.job, document, locked.at, queueOf, options.action);
        return { ...changed, job: await withExactRun(tx, changed.job) };
      });
    } catch (error) {
      throw (await asNameTaken(error, caller.team, wanted?.name)) ?? error;
    }
  }

  async function asNameTaken(error: unknown, team: string, name: string | undefined) {
    const { code, constraint } = error instanceof Error ? (error as { code?: string; constraint?: string }) : {};
    if (code !== '23505' || constraint !== 'jobs_name' || name === undefined) return null;
    return jobNameTaken(name, (await jobFindId(pool, team, name)) ?? 'unknown');
  }

  async function create(caller: Caller, body: unknown, options: WriteOptions = {}): Promise<Written<JobView>> {
    const { job, effects } = await creation.create(caller, parse(caller, body), options.idempotency);
    return written(job, effects, options);
  }

  return {
    ...createRevisionReads(pool),
    parse,
    create,
    createMany: batch.create,
    change,
    withLocked,
    queueOf,
    drain,

    /** PUT: by id replaces; by name creates or replaces. What GET returned may be sent back as it is. */
    async upsert(
      caller: Caller,
      idOrName: string,
      body: unknown,
      options: WriteOptions = {},
    ): Promise<Written<JobView> & { created: boolean }> {
      const byName = !isJobId(idOrName);
      const named = byName && isObject(body) && body.name === undefined ? { ...body, name: idOrName } : body;
      const document = parseJobDocument(withoutReadOnly(named), rulesFor(caller));
      const replace = async () => {
        const replaced = await change(caller, idOrName, options, ({ job }) => {
          refuseOtherJob(named, job);
          return document;
        });
        return { ...replaced, created: false };
      };
      if (!byName) return replace();
      return replaceOrCreate(replace, async () => {
        if (options.ifMatch) throw jobHasChanged(idOrName, null);
        if (document.name !== idOrName.normalize('NFC'))
          throw invalidJob([
            {
              path: '/name',
              message: `must be ${JSON.stringify(idOrName)}, as in the address: there is no such job to rename`,
              code: 'name_mismatch',
            },
          ]);
        const { job, effects } = await creation.create(caller, document, undefined);
        return { ...(await written(job, effects, options)), created: true };
      });
    },

    /** PATCH: RFC 7396 on the stored document. */
    patch: (caller: Caller, idOrName: string, patch: unknown, options: WriteOptions = {}): Promise<Written<JobView>> => {
      if (!isObject(patch)) throw invalidJob([{ path: '', message: 'must be an object: a merge patch (RFC 7396)', code: 'invalid_type' }]);
      return change(caller, idOrName, options, ({ job }) => parseJobDocument(mergePatch(job.document, patch), rulesFor(caller)));
    },

    /** Tombstones a job. Running executions finish, unless `running: 'cancel'`. */
    remove: (
      caller: Caller,
      idOrName: string,
      options: WriteOptions & { running?: 'cancel' | undefined } = {},
    ): Promise<Written<JobView>> =>
      withLocked(caller, idOrName, options, (tx, { job, at }) => removeJob(tx, caller, job, at, options.running === 'cancel')),

    async get(caller: Caller, idOrName: string): Promise<JobView> {
      const job = await jobFind(pool, caller.team, idOrName);
      if (!job) throw jobNotFound(idOrName);
      return jobViewOf(pool, job);
    },

    list: (caller: Caller, query: JobQuery): Promise<JobPage> => jobsList(pool, caller.team, query),
  };
}

/** Ends the transaction of a dry run. */
class TakenBackError extends Error {
  readonly job: StoredJob;
  constructor(job: StoredJob) {
    super('a dry run is taken back');
    this.job = job;
  }
}

/** What GET adds is left unread. */
function withoutReadOnly(body: unknown): unknown {
  if (!isObject(body) || body.id === undefined) return body;
  return Object.fromEntries(Object.entries(body).filter(([key]) => !READ_ONLY_KEYS.includes(key)));
}

/** A whole view that was read from one job must not be written over another, and its state is not changed by writing it down. */
function refuseOtherJob(body: unknown, job: StoredJob): void {
  if (!isObject(body) || body.id === undefined) return;
  if (body.id !== job.id)
    throw invalidJob([{ path: '/id', message: `is another job's id; this one is ${job.id}. Leave id out`, code: 'read_only' }]);
}
