/** Creating a job: everything is worked out beforehand, then one statement writes it. */
import { inTransaction, type Pool, type Queryable } from '../postgres.ts';
import type { Caller } from './caller.ts';
import { claimIdempotencyKey, type IdempotencyContext } from './idempotency.ts';
import { newExecutionId, newJobId } from './ids.ts';
import { desiredClock, type Effects, firstRun, NO_EFFECTS, onceValues } from './job-change.ts';
import { invalidJob, type JobDocument } from './job-document.ts';
import { jobNameTaken } from './job-errors.ts';
import { factsOf, type JobFacts, type QueueOf, stateOf } from './job-facts.ts';
import { jobInsert, type OnceRow } from './job-insert.ts';
import { onceStart } from './job-once-store.ts';
import { missingServiceErrors, servicesOf } from './job-references.ts';
import { jobFindId, type StoredJob } from './job-store.ts';
import { jobView } from './job-view.ts';

/** A name that is freed again and again between two looks is given up on. */
const ROUNDS = 5;

type Draft = { job: StoredJob; facts: JobFacts; once: OnceRow | null };

export function createJobCreation({
  pool,
  queueOf,
  checkHandler,
}: {
  pool: Pool;
  queueOf: QueueOf;
  checkHandler: (database: Queryable, document: JobDocument) => Promise<void>;
}) {
  function draft(caller: Caller, document: JobDocument): Draft {
    const id = newJobId();
    const now = new Date();
    const facts = factsOf(document, id, now, queueOf);
    const next = document.enabled ? firstRun(document, facts, now) : null;
    const state = stateOf(facts.kind, { enabled: document.enabled, paused: false, hasNextRun: next !== null });
    const clocked = facts.kind === 'scheduled' && document.enabled;
    const job: StoredJob = {
      id,
      team: caller.team,
      name: document.name,
      state,
      generation: 1,
      document,
      clockId: clocked ? id : null,
      clockHeld: clocked,
      queue: facts.queue,
      pause: null,
      createdBy: caller.name,
      createdAt: now,
      updatedAt: now,
      nextRunAt: state === 'active' ? next : null,
      lastOutcome: null,
      lastExecution: null,
      sync: state === 'active' ? 'pending' : 'synced',
    };
    return { job, facts, once: facts.kind === 'once' && next ? { id: newExecutionId(id, 'once'), dueAt: next } : null };
  }

  async function insert(caller: Caller, { job, facts, once }: Draft, idempotency: IdempotencyContext | undefined): Promise<boolean> {
    const services = servicesOf(job.document);
    const outcome = idempotency
      ? await inTransaction(pool, async (tx) => {
          await claimIdempotencyKey(tx, idempotency, jobView(job));
          const inserted = await jobInsert(tx, caller, job, facts, services, once);
          // nothing was written, so the key must not be kept either
          if (!inserted.created) throw await refusal(tx, inserted.missingServices, job);
          return inserted;
        })
      : await jobInsert(pool, caller, job, facts, services, once);
    if (outcome.missingServices.length > 0) throw await refusal(pool, outcome.missingServices, job);
    return outcome.created;
  }

  async function refusal(database: Queryable, missing: string[], { document, team }: StoredJob): Promise<Error> {
    if (missing.length > 0) return invalidJob(missingServiceErrors(document, missing));
    const id = await jobFindId(database, team, document.name);
    return jobNameTaken(document.name, id ?? 'unknown');
  }

  /**
   * Creates a job.
   * @throws JobError `conflict` when the name is taken, `invalid` for a schedule without a time ahead, unknown handlers and services.
   */
  async function create(
    caller: Caller,
    document: JobDocument,
    idempotency: IdempotencyContext | undefined,
  ): Promise<{ job: StoredJob; effects: Effects }> {
    await checkHandler(pool, document);
    for (let round = 1; ; round += 1) {
      const made = draft(caller, document);
      if (await insert(caller, made, idempotency)) return { job: made.job, effects: effectsOf(made) };
      const id = await jobFindId(pool, caller.team, document.name);
      // no job of that name any more: it was deleted between the two looks
      if (id !== null || round === ROUNDS) throw jobNameTaken(document.name, id ?? 'unknown');
    }
  }

  return { create };
}

function effectsOf({ job, facts, once }: Draft): Effects {
  return {
    ...NO_EFFECTS,
    clock: job.clockId ? desiredClock(job, facts, { generation: 1, observedGeneration: 0, paused: false }) : null,
    start: once ? onceStart(once.id, once.id, onceValues(job, facts, once.dueAt)) : null,
  };
}
