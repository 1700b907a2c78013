/**
 * What a user's handler file imports:
 *
 *     import { defineHandler } from 'almanac/handlers';
 *     import { z } from 'zod';
 *
 *     export const greet = defineHandler({
 *       name: 'greet',
 *       input: z.object({ who: z.string() }),
 *       run: async ({ input, log }) => {
 *         log.info({ who: input.who }, 'hello');
 *         return { greeted: input.who };
 *       },
 *     });
 *
 * The worker loads every file of the folder in `ALMANAC_HANDLERS`; a job calls the handler with `target: { type: handler, name: greet }`.
 */
import type { z } from 'zod';
import { DurationError, parseDuration } from './jobs/time/duration.ts';
import type { Log } from './log.ts';

/** What `run` gets. */
export type HandlerContext<Input> = {
  /** The execution's input, parsed by the handler's schema; as it came when there is none. */
  input: Input;
  /** The same on every attempt: hand it on as an idempotency key. */
  executionId: string;
  /** Due time of the slot, RFC 3339; null when the execution serves none. */
  slot: string | null;
  /** 1 for the first. */
  attempt: number;
  /** Fires on cancel, terminate, timeout and when the worker stops: pass it on to fetch, queries, timers. */
  signal: AbortSignal;
  /** Lines carry the execution's id. */
  log: Log;
  /** Says that the work goes on. */
  heartbeat: (detail?: unknown) => void;
};

export type HandlerOptions<Schema extends z.ZodType | undefined> = {
  /** Lower-case letters, digits, `.`, `_` and `-`; starts with a letter or digit; at most 100. */
  name: string;
  description?: string;
  /** Schema of the input; without one `input` is `unknown`. Executions without an input are parsed as `{}` when the schema refuses null. */
  input?: Schema;
  /** The longest an attempt may take, as a duration (`"30s"`, `"5m"`); a job's shorter timeout wins. */
  timeout?: string;
  /** Does the work and returns what is to be kept of it: JSON, of which the first 64 KiB are stored. A rejection fails the attempt. */
  run: (context: HandlerContext<Schema extends z.ZodType ? z.output<Schema> : unknown>) => unknown;
};

/** Known by a symbol of the realm, so that a second copy of this module makes handlers too. */
const HANDLER: unique symbol = Symbol.for('almanac.handler');

/** A handler as the worker holds it; made by `defineHandler` alone. */
export type Handler = {
  readonly [HANDLER]: true;
  readonly name: string;
  readonly description: string | null;
  readonly input: z.ZodType | null;
  /** Milliseconds; null: the job's timeout alone. */
  readonly timeoutMs: number | null;
  readonly run: (context: HandlerContext<unknown>) => unknown;
};

/** Thrown by `defineHandler` for a definition that can't work; the message names the field and the cure. */
export class HandlerDefinitionError extends Error {
  override name = 'HandlerDefinitionError';
}

/** Thrown by a handler when another attempt would fail the same way. Any error with `retryable: false` does the same. */
export class NonRetryableError extends Error {
  override name = 'NonRetryableError';
  readonly retryable = false;
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,99}$/;

/**
 * Makes a function callable by jobs; export the result.
 * @throws HandlerDefinitionError
 */
export function defineHandler<Schema extends z.ZodType | undefined = undefined>(options: HandlerOptions<Schema>): Handler {
  const { name, description, input, timeout, run } = options;
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw new HandlerDefinitionError(
      `name ${JSON.stringify(name)} is not a handler name; use lower-case letters, digits, ".", "_" and "-", at most 100, e.g. "nightly-report"`,
    );
  }
  if (typeof run !== 'function') throw new HandlerDefinitionError(`handler ${name}: run is not a function`);
  if (input !== undefined && typeof input?.safeParseAsync !== 'function') {
    throw new HandlerDefinitionError(`handler ${name}: input is not a zod schema; write e.g. z.object({ … })`);
  }
  return {
    [HANDLER]: true,
    name,
    description: description ?? null,
    input: input ?? null,
    timeoutMs: timeout === undefined ? null : timeoutOf(name, timeout),
    run: run as Handler['run'],
  };
}

/** True for what `defineHandler` made. */
export function isHandler(value: unknown): value is Handler {
  return typeof value === 'object' && value !== null && HANDLER in value;
}

function timeoutOf(name: string, timeout: string): number {
  try {
    const ms = parseDuration(String(timeout));
    if (ms > 0) return ms;
    throw new DurationError('it must be longer than nothing');
  } catch (error) {
    throw new HandlerDefinitionError(`handler ${name}: timeout ${JSON.stringify(timeout)} is not usable: ${(error as Error).message}`);
  }
}
