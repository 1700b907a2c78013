import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { z } from 'zod';
import { createHandlerTarget } from '../../../src/activities/targets/handler-target.ts';
import { defineHandler, type Handler, type HandlerContext, NonRetryableError } from '../../../src/handlers.ts';
import { aCall, errorOf } from './calls.ts';

const run = (handler: Handler, own: Parameters<typeof aCall>[0] = {}) =>
  createHandlerTarget({ get: (name) => (name === handler.name ? handler : undefined), names: () => [handler.name] }).call(
    handler.name,
    aCall(own),
  );
const quick = (body: (context: HandlerContext<unknown>) => unknown, timeout?: string) =>
  defineHandler({ name: 'quick', run: body, ...(timeout ? { timeout } : {}) });

/** A log whose lines can be awaited. */
function watchedLog() {
  const lines: Record<string, unknown>[] = [];
  const waiting: (() => void)[] = [];
  const log = pino(
    { level: 'info' },
    {
      write: (line: string) => {
        lines.push(JSON.parse(line));
        for (const wake of waiting.splice(0)) wake();
      },
    },
  );
  const line = async (): Promise<Record<string, unknown>> => {
    if (lines.length === 0) await new Promise<void>((resolve) => waiting.push(resolve));
    return lines[0]!;
  };
  return { log, line };
}

test('a handler gets its parsed input and the ids, and its return value is the result', async () => {
  const beats: unknown[] = [];
  const greet = defineHandler({
    name: 'greet',
    input: z.object({ who: z.string(), times: z.coerce.number().default(2) }),
    run: async ({ input, executionId, slot, attempt, heartbeat, signal }) => {
      heartbeat({ half: true });
      return { text: `${input.who}`.repeat(input.times), executionId, slot, attempt, aborted: signal.aborted };
    },
  });
  const outcome = await run(greet, {
    input: { who: 'ada' },
    slot: '2026-11-21T00:00:00Z',
    attempt: 2,
    heartbeat: (detail) => beats.push(detail),
  });
  assert.deepEqual(outcome, {
    status: 'succeeded',
    result: { text: 'adaada', executionId: 'job_0199-manual-1', slot: '2026-11-21T00:00:00Z', attempt: 2, aborted: false },
  });
  assert.deepEqual(beats, [{ half: true }]);
});

test('input that does not fit fails for good and names the fields', async () => {
  const strict = defineHandler({
    name: 'strict',
    input: z.strictObject({ a: z.object({ b: z.array(z.number()) }) }),
    run: () => assert.fail('must not run'),
  });
  const error = errorOf(await run(strict, { input: { a: { b: [1, 'x'] }, c: 1 } }));
  assert.deepEqual([error.type, error.retryable], ['invalid_input', false]);
  assert.match(error.message, /input\.a\.b\.1: .*number/);
  assert.match(error.message, /"c"/);
});

test('no input is also an empty object, unless null itself fits', async () => {
  const seen = (input: z.ZodType) => run(defineHandler({ name: 'seen', input, run: (context) => [context.input] }));
  assert.deepEqual((await seen(z.object({ a: z.number().default(1) }))).result, [{ a: 1 }]);
  assert.deepEqual((await seen(z.null())).result, [null]);
  assert.match(errorOf(await seen(z.object({ a: z.number() }))).message, /input\.a/);
});

test('a schema that throws or takes its time is an outcome too', async () => {
  const broken = defineHandler({
    name: 'broken',
    input: z.unknown().transform(() => {
      throw new Error('in the schema');
    }),
    run: () => 1,
  });
  assert.match(errorOf(await run(broken, { input: 1 })).message, /in the schema/);
  let ran = false;
  const slow = defineHandler({
    name: 'slow',
    input: z.unknown().refine(async () => {
      await sleep(60);
      return true;
    }),
    run: () => {
      ran = true;
    },
  });
  assert.equal((await run(slow, { input: 1, timeoutMs: 20 })).status, 'timed_out');
  await sleep(80);
  assert.equal(ran, false);
});

test('what is thrown, at once or later, is a failure worth another try', async () => {
  for (const body of [
    () => {
      throw new Error('broke');
    },
    async () => {
      throw new Error('broke');
    },
  ]) {
    assert.deepEqual(errorOf(await run(quick(body))), { type: 'handler', message: 'broke', retryable: true });
  }
});

test('NonRetryableError and any error with retryable: false end the execution; retryAfterMs is heeded', async () => {
  assert.equal(
    errorOf(
      await run(
        quick(() => {
          throw new NonRetryableError('never');
        }),
      ),
    ).retryable,
    false,
  );
  assert.equal(
    errorOf(
      await run(
        quick(() => {
          throw Object.assign(new Error('x'), { retryable: false });
        }),
      ),
    ).retryable,
    false,
  );
  const later = (retryAfterMs: unknown) =>
    run(
      quick(() => {
        throw Object.assign(new Error('x'), { retryAfterMs });
      }),
    );
  assert.equal(errorOf(await later(1500)).retryAfterMs, 1500);
  assert.equal(errorOf(await later(1e12)).retryAfterMs, 3_600_000);
  for (const odd of [-1, Number.NaN, '5']) assert.equal(errorOf(await later(odd)).retryAfterMs, undefined);
});

test('whatever else can be thrown has a sentence that can be stored', async () => {
  const unreadable = new Proxy(
    {},
    {
      get: () => {
        throw new Error('trap');
      },
    },
  );
  const cycle: { self?: unknown } = {};
  cycle.self = cycle;
  const empty = new TypeError('');
  for (const thing of [null, undefined, 5, 'text', { a: 1 }, cycle, unreadable, empty, new Error('a\0\ud800'), Symbol('s'), 1n]) {
    const { message, type } = errorOf(
      await run(
        quick(() => {
          throw thing;
        }),
      ),
    );
    assert.equal(type, 'handler');
    assert.ok(message.length > 0 && message.isWellFormed() && !message.includes('\0'));
  }
});

test('a handler that ignores its signal is timed out; its late end is logged and dropped', async () => {
  for (const late of [
    () => 'late',
    () => {
      throw new Error('late');
    },
  ]) {
    const { log, line } = watchedLog();
    const { promise: gate, resolve: release } = Promise.withResolvers<void>();
    let signal: AbortSignal | undefined;
    const start = performance.now();
    const outcome = await run(
      quick(async (context) => {
        signal = context.signal;
        await gate;
        return late();
      }),
      { timeoutMs: 50, log },
    );
    assert.ok(performance.now() - start < 250);
    assert.deepEqual([outcome.status, errorOf(outcome).type, errorOf(outcome).retryable], ['timed_out', 'timeout', true]);
    assert.equal(signal?.aborted, true);
    assert.equal(signal?.reason.name, 'TimeoutError');
    release();
    assert.match(String((await line()).msg), /ended after its attempt was over/);
  }
});

test('the shorter of the job’s and the handler’s timeout counts', async () => {
  const forever = () => new Promise(() => {});
  assert.match(errorOf(await run(quick(forever, '30ms'))).message, /30ms/);
  assert.match(errorOf(await run(quick(forever, '1h'), { timeoutMs: 40 })).message, /40ms/);
});

test('a timeout beyond what one timer holds does not fire at once', async () => {
  assert.equal(
    (
      await run(
        quick(() => sleep(30, 'done')),
        { timeoutMs: 2 ** 40 },
      )
    ).status,
    'succeeded',
  );
});

test('a cancel reaches the handler with its reason, and the outcome is there at once', async () => {
  const controller = new AbortController();
  const reasons: unknown[] = [];
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const pending = run(
    quick(({ signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      resolve();
      return new Promise(() => {});
    }),
    { signal: controller.signal },
  );
  await begun;
  const reason = new Error('terminated by ada');
  controller.abort(reason);
  assert.deepEqual(await pending, { status: 'cancelled', error: { type: 'cancelled', message: 'terminated by ada', retryable: false } });
  assert.deepEqual(reasons, [reason]);
});

test('an attempt cancelled before it begins does not run', async () => {
  let ran = false;
  assert.equal(
    (
      await run(
        quick(() => {
          ran = true;
        }),
        { signal: AbortSignal.abort() },
      )
    ).status,
    'cancelled',
  );
  assert.equal(ran, false);
});

test('a result is JSON, storable and bounded; what is no JSON fails for good', async () => {
  assert.equal((await run(quick(() => undefined))).result, null);
  assert.deepEqual((await run(quick(() => ({ at: new Date(0), 'k\0': '\ud800' })))).result, {
    at: '1970-01-01T00:00:00.000Z',
    'k\ufffd': '\ufffd',
  });
  assert.equal(((await run(quick(() => 'x'.repeat(100_000)))).result as { truncated: boolean }).truncated, true);
  const error = errorOf(await run(quick(() => ({ big: 1n }))));
  assert.deepEqual([error.type, error.retryable], ['handler', false]);
  assert.match(error.message, /result is not JSON/);
});

test('an unknown handler fails, names those there are, and may be tried again on another worker', async () => {
  const target = createHandlerTarget({ get: () => undefined, names: () => ['a', 'b'] });
  assert.deepEqual(errorOf(await target.call('c', aCall())), {
    type: 'unknown_handler',
    message: 'this worker has no handler "c"; it has: a, b',
    retryable: true,
  });
});
