/** Ids and what they say: every id carries its own time, so that rows are found in their month without a search. */
import { randomFillSync } from 'node:crypto';
import { v7 as uuidOf } from 'uuid';

/** How an execution came to be, as its id shows it; slots have the due time instead. */
export type ExecutionKind = 'manual' | 'backfill' | 'retry' | 'once' | 'batch';

const RANDOM_BYTES = 16;
/** Random bytes for many ids, drawn together: one by one they cost more than the rest of an id. */
const randoms = Buffer.alloc(RANDOM_BYTES * 256);
let drawn = randoms.length;
let msecs = 0;
let seq = 0;

/** A uuid v7 that sorts behind all earlier ones of this process (RFC 9562, 6.2: a counter that begins at a random number every millisecond). */
function v7(): string {
  if (drawn === randoms.length) {
    randomFillSync(randoms);
    drawn = 0;
  }
  const random = randoms.subarray(drawn, drawn + RANDOM_BYTES);
  drawn += RANDOM_BYTES;
  const now = Date.now();
  if (now > msecs) {
    msecs = now;
    // the upper bit stays free for the counter
    seq = random.readUInt32BE(6) >>> 1;
  } else seq += 1;
  return uuidOf({ random, msecs, seq });
}

const JOB_ID_LENGTH = 'job_'.length + 36;
const JOB_ID = /^job_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const SLOT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/;
const KIND = /^(manual|backfill|retry|once|batch)-([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

export const newJobId = (): string => `job_${v7()}`;
export const newServiceId = (): string => `svc_${v7()}`;
export const newArchiveId = (): string => `arc_${v7()}`;
export const newOperationId = (): string => `op_${v7()}`;
export const newFreezeId = (): string => `frz_${v7()}`;
export const newChannelId = (): string => `chn_${v7()}`;
export const newDeliveryId = (): string => `dlv_${v7()}`;
export const isJobId = (text: string): boolean => JOB_ID.test(text);

/** The nominal time as Temporal itself writes it into the ids of scheduled workflows: RFC 3339, UTC, whole seconds. */
export const slotText = (slot: Date): string => `${slot.toISOString().slice(0, 19)}Z`;

/** Id of the execution that serves a slot; the same form that Temporal gives, so both agree without asking each other. */
export const slotExecutionId = (jobId: string, slot: Date): string => `${jobId}-${slotText(slot)}`;

export const newExecutionId = (jobId: string, kind: ExecutionKind): string => `${jobId}-${kind}-${v7()}`;

/** The job an execution belongs to, or null when the text is not an execution id. */
export function jobIdOf(executionId: string): string | null {
  const jobId = executionId.slice(0, JOB_ID_LENGTH);
  return JOB_ID.test(jobId) && partitionAtOf(executionId) !== null ? jobId : null;
}

/**
 * The time that names the execution's partition (semantics.md 2): the slot, or the uuid v7's milliseconds.
 * Null when the text is not an execution id, so that a made-up id is "not found" and never an error.
 */
export function partitionAtOf(executionId: string): Date | null {
  if (executionId[JOB_ID_LENGTH] !== '-') return null;
  const rest = executionId.slice(JOB_ID_LENGTH + 1);
  if (SLOT.test(rest)) {
    const slot = new Date(rest);
    return Number.isNaN(slot.getTime()) ? null : slot;
  }
  const kind = KIND.exec(rest);
  return kind ? new Date(Number.parseInt(`${kind[2]}${kind[3]}`, 16)) : null;
}

/** Name of the Temporal task queue behind one of our queues. */
export const taskQueueFor = (queue: string): string => `almanac-${queue}`;

/** The same for the pools of a queue: they have places of their own, so that neither kind keeps the other waiting. No queue's name has a colon. */
export const poolTaskQueueFor = (queue: string): string => `almanac-${queue}:pools`;

/** The clock that all pooled jobs of one timing, zone, queue and team share. */
export const pooledClockId = (timingHash: string): string => `clock_${timingHash}`;

/** The pool of the one-offs that are due in the same second. Neither teams nor queues have a colon, so that no two of them share an id. */
export const bucketPoolId = (team: string, queue: string, dueAt: Date): string => `once-${team}:${queue}-${slotText(dueAt)}`;

/** The pool of triggers that came together. */
export const newGroupPoolId = (queue: string): string => `group-${queue}-${v7()}`;

/** The pool of a pooled clock's slot that Temporal did not bring in time. */
export const latePoolId = (clockId: string, slot: Date): string => `${clockId}-late-${slotText(slot)}`;
