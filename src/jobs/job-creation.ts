/** Creating a job: everything is worked out beforehand, then one statement writes it. */
import { inTransaction, type Pool, type Queryable } from '../postgres.ts';
import type { Caller } from './caller.ts';
import { choiceOf, type DispatchChoice, OWN } from './dispatch-choice.ts';
import { claimIdempotencyKey, type IdempotencyContext } from './idempotency.ts';
import { newExecutionId, newJobId } from './ids.ts';
import { type Effects, firstRun, NO_EFFECTS } from './job-change.ts';
import { desiredClock } from './job-clock-change.ts';
import { invalidJob, type JobDocument } from './job-document.ts';
import { jobNameTaken } from './job-errors.ts';
import { factsOf, type JobFacts, type QueueOf, stateOf } from './job-facts.ts';
import { type InsertOutcome, jobInsert, type OnceRow } from './job-insert.ts';
import { onceValues } from './job-once-change.ts';
import { onceStart } from './job-once-store.ts';
import { missingServiceErrors, servicesOf } from './job-references.ts';
import { jobFindId, type StoredJob } from './job-store.ts';
import { jobView } from './job-view.ts';

/** A name that is freed again and again between two looks is given up on. */
const ROUNDS = 5;

type Created = { job: StoredJob; effects: Effects };
type Draft = { job: StoredJob; facts: JobFacts; once: OnceRow | null; certain: DispatchChoice | null };

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
    const once = facts.kind === 'once' && next ? { id: newExecutionId(id, 'once'), dueAt: next } : null;
    const certain = choiceOf(document, facts.timing) ?? (clocked || once ? null : OWN);
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
      dispatchChoice: certain ?? OWN,
      sync: state === 'active' ? 'pending' : 'synced',
    };
    return { job, facts, once, certain };
  }

  /** Null: the name is taken. */
  async function insert(
    caller: Caller,
    { job, facts, once, certain }: Draft,
    idempotency: IdempotencyContext | undefined,
  ): Promise<InsertOutcome | null> {
    const services = servicesOf(job.document);
    const outcome = idempotency
      ? await inTransaction(pool, async (tx) => {
          await claimIdempotencyKey(tx, idempotency, jobView(job));
          const inserted = await jobInsert(tx, caller, job, facts, services, once, certain);
          // nothing was written, so the key must not be kept either
          if (!inserted.created) throw await refusal(tx, inserted.missingServices, job);
          return inserted;
        })
      : await jobInsert(pool, caller, job, facts, services, once, certain);
    if (outcome.missingServices.length > 0) throw await refusal(pool, outcome.missingServices, job);
    return outcome.created ? outcome : null;
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
  async function create(caller: Caller, document: JobDocument, idempotency: IdempotencyContext | undefined): Promise<Created> {
    await checkHandler(pool, document);
    for (let round = 1; ; round += 1) {
      const made = draft(caller, document);
      const inserted = await insert(caller, made, idempotency);
      if (inserted) return created(made, inserted);
      const id = await jobFindId(pool, caller.team, document.name);
      // no job of that name any more: it was deleted between the two looks
      if (id !== null || round === ROUNDS) throw jobNameTaken(document.name, id ?? 'unknown');
    }
  }

  return { create };
}

/** The job as the statement has placed it, and what Temporal has to learn of it. */
function created({ job: draft, facts, once }: Draft, { choice, clockId, joined, workflowId }: InsertOutcome): Created {
  const job: StoredJob = { ...draft, dispatchChoice: choice, clockId };
  const effects: Effects = { ...NO_EFFECTS, clocks: [] };
  if (joined) job.sync = joined.generation === joined.observedGeneration ? 'synced' : 'pending';
  if (clockId && (joined?.raised ?? true))
    effects.clocks.push(desiredClock(clockId, job, facts, { generation: 1, observedGeneration: 0, ...joined, paused: false }));
  if (once && workflowId) effects.start = onceStart(once.id, { workflowId, dispatch: choice.dispatch }, onceValues(job, facts, once.dueAt));
  return { job, effects };
}
