import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { createHandlerTarget } from '../../../src/activities/targets/handler-target.ts';
import { defineHandler, type Handler, type HandlerContext } from '../../../src/handlers.ts';
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
