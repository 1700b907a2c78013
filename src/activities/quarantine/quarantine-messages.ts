/** What a quarantine and its process say to each other, as JSON. */
import type { Config } from '../../config.ts';
import type { DefinedCall } from '../call-target.ts';
import type { TargetSettings } from '../open-targets.ts';
import type { TargetOutcome } from '../targets/target-call.ts';

/** A call without what only the worker has: its signal, its heartbeat, its log. */
export type QuarantinedCall = Omit<DefinedCall, 'signal' | 'heartbeat' | 'log'>;

/** The worker's own, as it read or was given them: the process must reach no more and no less. */
export type QuarantineSettings = TargetSettings & Pick<Config, 'LOG_LEVEL'>;

export type ToQuarantine =
  /** The first, once: it is to load the handlers. */
  | { kind: 'open'; settings: QuarantineSettings }
  | { kind: 'call'; call: QuarantinedCall }
  /** The call under way is to stop; `reason` becomes its error's message. */
  | { kind: 'cancel'; reason: string }
  /** There are no more calls: it is to end by itself. */
  | { kind: 'end' };

/** `ready` answers `open`, an `outcome` for each call. */
export type FromQuarantine = { kind: 'ready' } | { kind: 'outcome'; outcome: TargetOutcome };
