/** What a quarantine and its process say to each other, as JSON. */
import type { DefinedCall } from '../call-target.ts';
import type { TargetOutcome } from '../targets/target-call.ts';

/** A call without what only the worker has: its signal, its heartbeat, its log. */
export type QuarantinedCall = Omit<DefinedCall, 'signal' | 'heartbeat' | 'log'>;

export type ToQuarantine =
  | { kind: 'call'; call: QuarantinedCall }
  /** The call under way is to stop; `reason` becomes its error's message. */
  | { kind: 'cancel'; reason: string }
  /** There are no more calls: it is to end by itself. */
  | { kind: 'end' };

/** `ready` comes once, an `outcome` for each call. */
export type FromQuarantine = { kind: 'ready' } | { kind: 'outcome'; outcome: TargetOutcome };
