/** Calls a user's function. Whatever it does (throw, hang, return what is no JSON) is an outcome; nothing of it reaches the worker. */
import { inspect } from 'node:util';
import type { z } from 'zod';
import type { Handler } from '../../handlers.ts';
import { lazyChild } from '../../log.ts';
import { type AttemptDeadline, startDeadline } from './attempt-deadline.ts';
import type { HandlerRegistry } from './handler-registry.ts';
import { storableJson, storableMessage } from './storable-json.ts';
import { failed, type TargetCall, type TargetOutcome } from './target-call.ts';

const MOST_RETRY_AFTER_MS = 3_600_000;
const MOST_ISSUES = 10;

/** Makes the caller of the registered handlers. */
export function createHandlerTarget(registry: Pick<HandlerRegistry, 'get' | 'names'>) {
  /**
   * One attempt. Never rejects. When the time is up or the attempt is cancelled, the outcome is there at once, whether or not the handler heeds
   * its signal; what it does later is logged and dropped.
   */
  async function call(name: string, call: TargetCall): Promise<TargetOutcome> {
    const handler = registry.get(name);
    if (!handler) {
      const known = registry.names().join(', ') || 'none';
      return failed('unknown_handler', `this worker has no handler ${JSON.stringify(name)}; it has: ${known}`, true);
    }
    const deadline = startDeadline(call, Math.min(call.timeoutMs, handler.timeoutMs ?? Number.POSITIVE_INFINITY));
    let over = false;
    try {
      const work = attempt(handler, call, deadline).then((outcome) => {
        if (over) logLate(handler.name, call, outcome);
        return outcome;
      });
      return await Promise.race([deadline.ended, work]);
    } finally {
      over = true;
      deadline.stop();
    }
  }

  return { call };
}
export type HandlerTargetCaller = ReturnType<typeof createHandlerTarget>;

async function attempt(handler: Handler, call: TargetCall, deadline: AttemptDeadline): Promise<TargetOutcome> {
  try {
    const parsed = await parsedInput(handler, call.input);
    if ('problem' in parsed) return failed('invalid_input', parsed.problem, false);
    // Parsing may have taken the attempt to its end; nothing is started for nobody.
    if (deadline.signal.aborted) return await deadline.ended;
    const returned = await handler.run({
      input: parsed.input,
      executionId: call.executionId,
      slot: call.slot,
      attempt: call.attempt,
      signal: deadline.signal,
      log: lazyChild(call.log, { handler: handler.name }),
      heartbeat: (detail) => {
        if (!deadline.signal.aborted) call.heartbeat(detail);
      },
    });
    return kept(handler.name, returned, call);
  } catch (error) {
    return thrown(error);
  }
}

/** No input is also `{}`, so that a job need not spell out an empty object for a schema whose fields are all optional. */
async function parsedInput(handler: Handler, input: unknown): Promise<{ input: unknown } | { problem: string }> {
  if (handler.input === null) return { input };
  let parsed = await handler.input.safeParseAsync(input ?? null);
  if (!parsed.success && (input === null || input === undefined)) parsed = await handler.input.safeParseAsync({});
  return parsed.success
    ? { input: parsed.data }
    : { problem: storableMessage(`the input does not fit: ${issuesText(parsed.error.issues)}`) };
}

function issuesText(issues: readonly z.core.$ZodIssue[]): string {
  const shown = issues.slice(0, MOST_ISSUES).map(({ path, message }) => `${['input', ...path.map(String)].join('.')}: ${message}`);
  const rest = issues.length - shown.length;
  return shown.join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}

function kept(name: string, returned: unknown, call: TargetCall): TargetOutcome {
  try {
    const { value, replaced } = storableJson(returned);
    if (replaced)
      call.log.warn(
        { handler: name, executionId: call.executionId },
        "characters of a handler's result that can't be stored were replaced by U+FFFD",
      );
    return { status: 'succeeded', result: value };
  } catch (error) {
    // The work is done: doing it again would not make its result JSON.
    return failed('handler', storableMessage(`the handler's result is not JSON: ${(error as Error).message}`), false);
  }
}

/** Reading what somebody threw may throw too (a getter, a proxy). */
function thrown(error: unknown): TargetOutcome {
  try {
    const wishes: { retryable?: unknown; retryAfterMs?: unknown } = typeof error === 'object' && error !== null ? error : {};
    const { retryable, retryAfterMs } = wishes;
    const wait =
      typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? Math.min(Math.round(retryAfterMs), MOST_RETRY_AFTER_MS) : undefined;
    return {
      status: 'failed',
      error: {
        type: 'handler',
        message: storableMessage(sentenceOf(error)),
        retryable: retryable !== false,
        ...(wait === undefined ? {} : { retryAfterMs: wait }),
      },
    };
  } catch {
    return failed('handler', 'the handler threw something that can not be read', true);
  }
}

function sentenceOf(error: unknown): string {
  if (error instanceof Error) return error.message === '' ? `the handler threw ${error.name} without a message` : String(error.message);
  return `the handler threw ${inspect(error, { depth: 2, breakLength: Number.POSITIVE_INFINITY })}`;
}

function logLate(name: string, call: TargetCall, outcome: TargetOutcome): void {
  const error = outcome.status === 'succeeded' ? undefined : outcome.error.message;
  call.log.warn(
    { handler: name, executionId: call.executionId, attempt: call.attempt, lateStatus: outcome.status, error },
    'a handler ended after its attempt was over; what it did is not recorded',
  );
}
