import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
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
