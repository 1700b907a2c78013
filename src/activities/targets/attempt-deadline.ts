/** The end that every attempt has: its wall clock or the caller's signal, whichever comes first. */
import { formatDuration } from '../../jobs/time/duration.ts';
import type { TargetCall, TargetOutcome } from './target-call.ts';

/** The longest delay a timer of Node takes; a longer one would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export type AttemptDeadline = {
  /** Fires at the end, with an `AbortError` or a `TimeoutError`. */
  signal: AbortSignal;
  /** Settles at the end with the outcome the attempt then has; never, when `stop` comes first. */
  ended: Promise<TargetOutcome>;
  /** Releases timer and listener; to be called in every case. */
  stop: () => void;
};

/** Starts the clock of an attempt. @param timeoutMs wall clock; may exceed what one timer can hold. */
export function startDeadline(call: Pick<TargetCall, 'signal'>, timeoutMs: number): AttemptDeadline {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<TargetOutcome>();
  const endsAt = performance.now() + timeoutMs;
  let timer: NodeJS.Timeout;
  const wind = () => {
    timer = setTimeout(onTimer, Math.max(0, Math.min(Math.ceil(endsAt - performance.now()), LONGEST_TIMER_MS)));
  };
  const onTimer = () => {
    if (endsAt - performance.now() > 1) {
      wind();
      return;
    }
    const message = `no outcome within the timeout of ${formatDuration(Math.round(timeoutMs))}`;
    resolve({ status: 'timed_out', error: { type: 'timeout', message, retryable: true } });
    controller.abort(new DOMException(message, 'TimeoutError'));
  };
  const onCancel = () => {
    const { reason } = call.signal;
    const message = reason instanceof Error && reason.message !== '' ? reason.message : 'the attempt was cancelled';
    resolve({ status: 'cancelled', error: { type: 'cancelled', message, retryable: false } });
    controller.abort(reason instanceof Error ? reason : new DOMException(message, 'AbortError'));
  };
  wind();
  if (call.signal.aborted) onCancel();
  else call.signal.addEventListener('abort', onCancel, { once: true });
  return {
    signal: controller.signal,
    ended: promise,
    stop: () => {
      clearTimeout(timer);
      call.signal.removeEventListener('abort', onCancel);
    },
  };
}
