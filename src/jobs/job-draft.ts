/** A job as it will be written: all that follows from its document, before the database has said who else is there. */
import type { Caller } from './caller.ts';
import { choiceOf, type DispatchChoice, OWN } from './dispatch-choice.ts';
import { newExecutionId, newJobId } from './ids.ts';
import { type Effects, firstRun, NO_EFFECTS } from './job-change.ts';
import { desiredClock } from './job-clock-change.ts';
import type { JobDocument } from './job-document.ts';
import { factsOf, type JobFacts, type QueueOf, stateOf } from './job-facts.ts';
import { onceValues } from './job-once-change.ts';
import { onceStart } from './job-once-store.ts';
import { servicesOf } from './job-references.ts';
import type { StoredJob } from './job-store.ts';

/** The single execution of a one-off. */
export type OnceRow = { id: string; dueAt: Date };

export type Draft = {
  caller: Caller;
  job: StoredJob;
  facts: JobFacts;
  /** Names of the services it needs, each once. */
  services: string[];
  /** The execution of a one-off that is enabled. */
  once: OnceRow | null;
  /** How it is dispatched, where the document tells; null: the company decides. */
  certain: DispatchChoice | null;
};

/** What the database has made of a draft. */
export type InsertOutcome = {
  /** False: services are missing, or the name is taken. */
  created: boolean;
  missingServices: string[];
  choice: DispatchChoice;
  /** Null: no clock. */
  clockId: string | null;
  /** Of the shared clock it joined; null for a clock of its own. `raised`: Temporal has something to learn. */
  joined: { generation: number; observedGeneration: number; raised: boolean } | null;
  /** The workflow of a one-off. */
  workflowId: string | null;
};

export type CreatedJob = { job: StoredJob; effects: Effects };

/** @throws JobError `invalid` for a schedule without a time ahead. */
export function draftOf(caller: Caller, document: JobDocument, queueOf: QueueOf): Draft {
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
  return { caller, job, facts, services: servicesOf(document), once, certain };
}

/** The job as the statement has placed it, and what Temporal has to learn of it. */
export function createdOf({ job: draft, facts, once }: Draft, { choice, clockId, joined, workflowId }: InsertOutcome): CreatedJob {
  const job: StoredJob = { ...draft, dispatchChoice: choice, clockId };
  if (joined) job.sync = joined.generation === joined.observedGeneration ? 'synced' : 'pending';
  const effects: Effects = { ...NO_EFFECTS, clocks: [] };
  if (clockId && (joined?.raised ?? true))
    effects.clocks.push(desiredClock(clockId, job, facts, { generation: 1, observedGeneration: 0, ...joined, paused: false }));
  if (once && workflowId) effects.start = onceStart(once.id, { workflowId, dispatch: choice.dispatch }, onceValues(job, facts, once.dueAt));
  return { job, effects };
}
