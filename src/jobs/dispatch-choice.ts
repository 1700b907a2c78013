/**
 * Whether a job's executions have workflows of their own (`dedicated`) or share them (`pooled`), and why (semantics.md 21). A request decides it when the answer follows
 * from the document, or when the job can join a company that is there; jobs that are there already are moved together by the controller alone.
 */
import type { JobDocument } from './job-document.ts';
import { durationMs } from './time/duration.ts';
import { valuesOf } from './time/ranges.ts';
import type { Timing } from './time/timing.ts';

export type Dispatch = 'dedicated' | 'pooled';
/** What GET shows of it. */
export type DispatchChoice = { dispatch: Dispatch; reason: string };

/** The longest attempt that may share a workflow with others, milliseconds: what runs longer wants cancelling and heartbeats of its own. */
const POOLED_TIMEOUT_MS = 10_000;

export const OWN: DispatchChoice = { dispatch: 'dedicated', reason: 'auto: a schedule and workflows of its own' };
export const COMPANY: DispatchChoice = { dispatch: 'pooled', reason: 'auto: many jobs have the same timing, zone and queue' };
export const SAME_SECOND: DispatchChoice = { dispatch: 'pooled', reason: 'auto: another one-off is due in the same second' };
export const OFTEN: DispatchChoice = { dispatch: 'pooled', reason: 'auto: it fires more often than once a minute' };
const ASKED = 'asked for';

type Wanted = Pick<JobDocument, 'dispatch' | 'target' | 'timeout'>;

/** True when calls of this job are short enough to share a workflow. */
export const isPoolable = ({ target, timeout }: Pick<JobDocument, 'target' | 'timeout'>): boolean =>
  ['http', 'handler'].includes(target.type) && durationMs(timeout) <= POOLED_TIMEOUT_MS;

/** True when two slots certainly come less than a minute apart. Several calendars that only together do so are not seen. */
export const firesWithinAMinute = ({ calendars, intervals }: Timing): boolean =>
  intervals.some(({ everyS }) => everyS < 60) || calendars.some((calendar) => valuesOf(calendar.second).length > 1);

/** What the document alone decides; null: who else fires at the same times does. */
export function choiceOf(document: Wanted, timing: Timing | null): DispatchChoice | null {
  if (document.dispatch !== 'auto') return { dispatch: document.dispatch, reason: ASKED };
  if (!isPoolable(document)) return OWN;
  return timing && firesWithinAMinute(timing) ? OFTEN : null;
}

/** Why a document can't ask for `pooled`; null when it can. */
export const pooledProblem = (document: Wanted): string | null =>
  document.dispatch !== 'pooled' || isPoolable(document)
    ? null
    : 'dispatch "pooled" needs an http or handler target with a timeout of at most 10s';
