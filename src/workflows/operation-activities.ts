/** What runOperation asks of its activities, in JSON shapes. Types only, as in execution-activities.ts. */

export type OperationInput = { team: string; operation: string };

/** `idleMs`: so long it has waited before, because nothing could be done; 0: something was. */
export type WorkOffInput = OperationInput & { idleMs: number };
/** Nothing is left, or there is more to do after so many milliseconds. */
export type WorkedOff = { done: boolean; waitMs: number; idleMs: number };

export type OperationActivities = {
  /** Works off batches of an operation's items for a while. Repeating it repeats nothing that was committed. */
  workOffOperation(input: WorkOffInput): Promise<WorkedOff>;
  /** Ends what has not had its turn, because the workflow was cancelled in Temporal. */
  abortOperation(input: OperationInput): Promise<void>;
};
