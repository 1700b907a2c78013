/**
 * The quarantine: a process of its own in which one call is made alone, so that a job which kills its worker (process.exit, out of memory, a segfault, an
 * endless loop) kills only that process, and is known to have done so.
 *
 * A process serves many calls one after another, because starting one takes some hundred milliseconds and most of those who come here are innocent. So a death may
 * be the doing of an earlier call, whose timer went off late. It is therefore blamed on a call only in a process that has made no other; elsewhere the call
 * is made again in a fresh one.
 */
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { Log } from '../../log.ts';
import { startDeadline } from '../targets/attempt-deadline.ts';
import type { TargetOutcome } from '../targets/target-call.ts';
import type { QuarantinedCall, QuarantineSettings } from './quarantine-messages.ts';
import { type QuarantineProcess, startQuarantineProcess } from './quarantine-process.ts';

/** A process answers by itself when the time of its call is up; so much later it does not any more. */
const GRACE_MS = 2_000;
/** The same after a cancel. */
const CANCEL_MS = 1_000;
const IDLE_MS = 30_000;

export type QuarantineDeps = {
  config: QuarantineSettings;
  log: Log;
  /** How long a process without a call is kept. Default 30 s. */
  idleMs?: number;
};

export type Quarantine = {
  /**
   * Makes a call alone, after those that came before it. `poisoned` when it kills its process, or leaves it without an answer 2 s after its timeout.
   * When `signal` fires the outcome is `cancelled`, at once for a call that waits, within about a second for one under way. The time in the queue and the
   * start of a process (as a rule under a second) do not count as the call's own.
   * @throws QuarantineStartError when no process can be started.
   */
  call: (call: QuarantinedCall, signal: AbortSignal) => Promise<TargetOutcome | 'poisoned'>;
  /** Cancels every call and ends the process; later calls are cancelled too. */
  close: () => Promise<void>;
};

export function createQuarantine({ config, log, idleMs = IDLE_MS }: QuarantineDeps): Quarantine {
  const settings = settingsOf(config);
  const inTurn = pLimit(1);
  const closing = new AbortController();
  let kept: QuarantineProcess | null = null;
  let idle: NodeJS.Timeout | undefined;
  /** The end of the process before: there is one at a time. */
  let leaving: Promise<void> = Promise.resolve();

  async function call(call: QuarantinedCall, signal: AbortSignal): Promise<TargetOutcome | 'poisoned'> {
    const stop = AbortSignal.any([signal, closing.signal]);
    if (stop.aborted) return await cancelled(stop);
    const waiting = Promise.withResolvers<TargetOutcome>();
    const onStop = () => waiting.resolve(cancelled(stop));
    stop.addEventListener('abort', onStop);
    const turn = inTurn(async () => {
      stop.removeEventListener('abort', onStop);
      return stop.aborted ? await cancelled(stop) : await blamed(plain(call), stop);
    });
    return await Promise.race([turn, waiting.promise]);
  }

  /** Makes the call until it has an outcome or the blame is certain: twice at most. */
  async function blamed(call: QuarantinedCall, stop: AbortSignal): Promise<TargetOutcome | 'poisoned'> {
    for (;;) {
      const process = await running(stop);
      if (process === null) return await cancelled(stop);
      const isAlone = process.calls() === 0;
      const outcome = await made(process, call, stop);
      if (outcome !== null) return outcome;
      if (stop.aborted) return await cancelled(stop);
      const found = { execution: call.executionId, jobName: call.job.name, end: await process.ended, lastWords: process.lastWords() };
      if (isAlone) {
        log.warn(found, 'a quarantined call has killed its process');
        return 'poisoned';
      }
      log.warn(found, 'a quarantined call is made again: its process is gone, but others were made in it before');
    }
  }

  /** The process for the next call; null when it was cancelled before there was one. @throws QuarantineStartError */
  async function running(stop: AbortSignal): Promise<QuarantineProcess | null> {
    clearTimeout(idle);
    if (kept) return kept;
    await leaving;
    try {
      const started = await startQuarantineProcess(settings, log, stop);
      kept = started;
      void started.ended.then(() => {
        if (kept === started) kept = null;
      });
      return started;
    } catch (error) {
      if (stop.aborted) return null;
      throw error;
    }
  }

  /** One call in one process. Null: there is no outcome, and the process is gone. */
  async function made(process: QuarantineProcess, call: QuarantinedCall, stop: AbortSignal): Promise<TargetOutcome | null> {
    const deadline = startDeadline({ signal: stop }, call.timeoutMs);
    const silence = deadline.ended.then(async (end) => {
      if (end.status === 'cancelled') process.cancel(end.error.message);
      await sleep(end.status === 'cancelled' ? CANCEL_MS : GRACE_MS, undefined, { ref: false });
      return null;
    });
    const outcome = await Promise.race([process.call(call), silence]);
    deadline.stop();
    if (outcome === null) await process.kill();
    // A function whose time was up may still be at work: nobody else comes in with it.
    else if (outcome.status === 'cancelled' || (outcome.status === 'timed_out' && call.target.type === 'handler')) endKept();
    else idle = setTimeout(endKept, idleMs);
    return outcome;
  }

  function endKept(): void {
    if (!kept) return;
    leaving = kept.end();
    kept = null;
  }

  async function close(): Promise<void> {
    closing.abort(new Error('the worker stops'));
    await inTurn(() => {});
    clearTimeout(idle);
    endKept();
    await leaving;
  }

  return { call, close };
}

/** The outcome of a call whose signal has fired. */
function cancelled(stop: AbortSignal): Promise<TargetOutcome> {
  const deadline = startDeadline({ signal: stop }, 0);
  deadline.stop();
  return deadline.ended;
}

/** What can be sent of a whole `Config`; the working directory may change before a process starts. */
const settingsOf = (config: QuarantineSettings): QuarantineSettings => ({
  ALMANAC_HANDLERS: config.ALMANAC_HANDLERS && resolve(config.ALMANAC_HANDLERS),
  ALMANAC_TARGET_ALLOW: config.ALMANAC_TARGET_ALLOW,
  ALMANAC_TARGET_DENY: config.ALMANAC_TARGET_DENY,
  LOG_LEVEL: config.LOG_LEVEL,
});

/** Only what can be sent: a caller may hold a whole `DefinedCall`. */
const plain = (call: QuarantinedCall): QuarantinedCall => ({
  target: call.target,
  service: call.service,
  nonRetryable: call.nonRetryable,
  executionId: call.executionId,
  slot: call.slot,
  dueAt: call.dueAt,
  attempt: call.attempt,
  maxAttempts: call.maxAttempts,
  job: call.job,
  input: call.input,
  timeoutMs: call.timeoutMs,
});
