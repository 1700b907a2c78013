/** What executeJob asks of its activities, in JSON shapes. Types only: the workflow's bundle holds no code from other rooms. */

/** A clock fired for a slot (the slot stands in the workflow id), or somebody asked for one execution. */
export type ExecuteJobInput = { team: string; clock: string } | { team: string; execution: string };

/** What admit says, and what came of the first try where that was made at once. Times are milliseconds since 1970. */
export type Beginning =
  | {
      decision: 'run';
      execution: string;
      dueAt: number;
      /** Tries that are recorded already (a run before this one made them). */
      triesDone: number;
      timeoutMs: number;
      /** When the whole execution must have ended; null: no deadline. */
      deadlineAt: number | null;
      long: boolean;
      /** The first try of a short target that was due; null: it is still to be made. */
      first: AttemptResult | null;
    }
  /** Not yet due: a one-off whose start delay ended a moment early, or that was moved. */
  | { decision: 'early'; execution: string; dueAt: number }
  /** Queued behind another execution of the job; whoever ends that one starts this one again. */
  | { decision: 'wait'; execution: string }
  | { decision: 'skipped' | 'ended' | 'duplicate' | 'paused'; execution: string; reason: string | null }
  /** No job of the clock expects this slot. */
  | { decision: 'none' };

export type AttemptInput = {
  team: string;
  execution: string;
  /** Which try this is, from 1; a repeat after a crash is the same try. */
  tryNumber: number;
  /** When the whole execution must have ended; null: no deadline. */
  deadlineAt: number | null;
};

export type FinalStatus = 'succeeded' | 'failed' | 'timed_out' | 'cancelled' | 'terminated' | 'skipped';

/** An outcome that Postgres could not take yet; as record_outcomes reads it. */
export type Outcome = {
  team: string;
  partitionAt: string;
  id: string;
  attempt: number;
  status: FinalStatus;
  final: boolean;
  startedAt: string;
  finishedAt: string;
  responseStatus?: number;
  result?: unknown;
  error?: { type: string; message: string; attempt: number };
  reason?: string;
  worker: string;
};

/** What one attempt came to. `unrecorded` carries the outcome that is still to be written. */
export type AttemptResult =
  | { kind: 'finished'; status: FinalStatus; message: string | null; unrecorded?: Outcome }
  | { kind: 'retry'; afterMs: number; unrecorded?: Outcome }
  /** The row belongs to another run, or has ended: nothing to do here. */
  | { kind: 'stop'; status: FinalStatus | null };

export type ExecutionActivities = {
  /** Admits, and, where the target is short and due, makes the first try in the same breath: one marker in the history instead of two. */
  begin(input: ExecuteJobInput & { slot?: string }): Promise<Beginning>;
  attempt(input: AttemptInput): Promise<AttemptResult>;
  /** Writes outcomes that could not be written when they came about. Answers the row's status afterwards. */
  record(outcome: Outcome): Promise<FinalStatus | null>;
  /** Closes the row when the workflow itself was cancelled, or gave up. */
  close(input: { team: string; execution: string; status: 'cancelled' | 'failed'; reason: string; message: string | null }): Promise<void>;
};
