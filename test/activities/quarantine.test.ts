/** The quarantine with real processes: whatever a call does to its own, the next one is served, and nothing is left behind. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { createQuarantine, type QuarantineDeps } from '../../src/activities/quarantine/quarantine.ts';
import { QuarantineStartError } from '../../src/activities/quarantine/quarantine-process.ts';
import { quarantinedCall as aCall } from './quarantined-call.ts';
import { errorOf, receiver } from './targets/calls.ts';

const HANDLERS = fileURLToPath(new URL('./fixtures/quarantined', import.meta.url));
const OWNER = fileURLToPath(new URL('./fixtures/quarantine-owner.ts', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'almanac-quarantine-'));
const forEver = new AbortController().signal;
after(() => rmSync(folder, { recursive: true }));

type Line = Record<string, unknown> & { msg: string };

/** A quarantine of this test alone, with what it logs. */
function opened(t: TestContext, { config, idleMs }: { config?: Partial<QuarantineDeps['config']>; idleMs?: number } = {}) {
  const lines: Line[] = [];
  const waiting = new Set<() => void>();
  const write = (text: string) => {
    lines.push(JSON.parse(text) as Line);
    for (const look of waiting) look();
  };
  const quarantine = createQuarantine({
    config: { ALMANAC_HANDLERS: HANDLERS, ALMANAC_TARGET_ALLOW: [], ALMANAC_TARGET_DENY: [], LOG_LEVEL: 'info', ...config },
    log: pino({ formatters: { level: (level) => ({ level }) } }, { write }),
    ...(idleMs === undefined ? {} : { idleMs }),
  });
  t.after(() => quarantine.close());
  /** The first line that fits, past or future. */
  const line = (fits: (line: Line) => boolean) =>
    new Promise<Line>((resolve) => {
      const look = () => {
        const found = lines.find(fits);
        if (found) resolve(found);
        if (found) waiting.delete(look);
      };
      waiting.add(look);
      look();
    });
  const call = async (handler: string, input: unknown = null, own: Parameters<typeof aCall>[2] = {}, signal = forEver) =>
    await quarantine.call(aCall(handler, input, own), signal);
  /** Of a call that must succeed. */
  const result = async <T>(...of: Parameters<typeof call>): Promise<T> => {
    const outcome = await call(...of);
    if (outcome === 'poisoned' || outcome.status !== 'succeeded') throw new Error(JSON.stringify(outcome));
    return outcome.result as T;
  };
  const pid = async () => (await result<{ pid: number }>('works')).pid;
  return { quarantine, lines, line, call, result, pid };
}

const isThere = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};
/** A process that is no child of ours says nobody when it goes. */
async function gone(pid: number): Promise<void> {
  for (const until = Date.now() + 10_000; isThere(pid); await sleep(20)) assert.ok(Date.now() < until, `${pid} is still there`);
}

describe('a call in quarantine', () => {
  test('is made in another process, which serves the next one too', async (t) => {
    const { result, pid } = opened(t);
    const first = await result<Record<string, unknown>>('works', { who: 'ada' });
    assert.deepEqual(first, {
      input: { who: 'ada' },
      executionId: 'job_0199-2026-11-21T00:00:00Z',
      slot: '2026-11-21T00:00:00Z',
      attempt: 3,
      pid: first.pid,
      env: process.env.HOME ?? null,
    });
    assert.notEqual(first.pid, process.pid);
    assert.equal(await pid(), first.pid);
  });

  test('may fail, time out, or name what is not there, as in a worker', async (t) => {
    const { call } = opened(t);
    const failed = await call('fails');
    assert.deepEqual(failed, { status: 'failed', error: { type: 'handler', message: 'no such invoice', retryable: false } });
    const late = await call('takes', { ms: 60_000 }, { timeoutMs: 50 });
    assert.ok(late !== 'poisoned');
    assert.deepEqual([late.status, errorOf(late).message], ['timed_out', 'no outcome within the timeout of 50ms']);
    const unknown = await call('nobody');
    assert.ok(unknown !== 'poisoned');
    assert.equal(errorOf(unknown).type, 'unknown_handler');
    assert.match(errorOf(unknown).message, /heartbeat-report.*works/);
  });

  test('reaches by http what a worker with these settings reaches, and nothing else', async (t) => {
    const server = await receiver((_request, response) => response.end('hello'));
    t.after(() => server.close());
    const target = { type: 'http' as const, url: server.url, method: 'GET' as const, headers: {}, success: '200-299' };
    const allowed = await opened(t, { config: { ALMANAC_TARGET_ALLOW: ['127.0.0.0/8'] } }).call('', null, { target });
    assert.ok(allowed !== 'poisoned');
    assert.equal(allowed.status, 'succeeded');
    const refused = await opened(t).call('', null, { target });
    assert.ok(refused !== 'poisoned');
    assert.equal(errorOf(refused).type, 'address_refused');
    assert.equal(server.connections(), 1);
  });

  test('is alone: the next one begins when it has ended', async (t) => {
    const { result } = opened(t);
    const calls = await Promise.all([50, 50, 50].map((ms) => result<{ began: number; ended: number }>('takes', { ms })));
    assert.ok(calls[0]!.ended <= calls[1]!.began && calls[1]!.ended <= calls[2]!.began, JSON.stringify(calls));
  });

  test('logs to the log of its worker, and so does what it writes besides', async (t) => {
    const { result, line, lines } = opened(t);
    await result('talks');
    const said = await line(({ msg }) => msg === 'three are late');
    assert.deepEqual(
      [said.level, said.invoices, said.execution, said.jobName, said.attempt, said.handler],
      ['warn', 3, 'job_0199-2026-11-21T00:00:00Z', 'nightly', 3, 'talks'],
    );
    await line(({ text }) => text === 'not a line of a log');
    await line(({ text }) => text === 'x'.repeat(64 * 1024));
    assert.ok(lines.every(({ text }) => text === undefined || (text as string).length <= 64 * 1024));
  });
});

describe('a call that kills its process', () => {
  for (const [handler, end] of [
    ['exits', 'exit code 1'],
    ['aborts', 'signal SIGABRT'],
    ['segfaults', 'signal SIGSEGV'],
    ['rejects', 'exit code 1'],
  ] as const) {
    test(`is poisoned when it ${handler}, and the next one is served`, async (t) => {
      const { call, pid, line } = opened(t);
      assert.equal(await call(handler), 'poisoned');
      const told = await line(({ msg }) => msg === 'a quarantined call has killed its process');
      assert.deepEqual([told.end, told.execution], [end, 'job_0199-2026-11-21T00:00:00Z']);
      if (handler === 'rejects') assert.match((told.lastWords as string[]).join('\n'), /nobody waits for this/);
      assert.ok(isThere(await pid()));
    });
  }

  test('is poisoned when it loops for ever, some time after its timeout, and the loop is over', async (t) => {
    const { call, pid, line } = opened(t);
    const began = performance.now();
    assert.equal(await call('loops', null, { timeoutMs: 200 }), 'poisoned');
    const took = performance.now() - began;
    assert.ok(took > 2_200, `${took} ms`);
    const { looping } = await line(({ looping }) => looping !== undefined);
    assert.ok(!isThere(looping as number));
    assert.notEqual(await pid(), looping);
  });

  test('is poisoned when it fills its memory, which is 512 MiB even where the worker has less', async (t) => {
    const owner = spawn(process.execPath, ['--max-old-space-size=64', OWNER, 'fills-memory'], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => owner.kill('SIGKILL'));
    const lines: Line[] = [];
    for await (const line of createInterface({ input: owner.stdout })) lines.push(JSON.parse(line) as Line);
    const { end, lastWords } = lines.find(({ msg }) => msg === 'a quarantined call has killed its process')!;
    assert.equal(end, 'signal SIGABRT');
    assert.match((lastWords as string[]).join('\n'), /Mark-Compact (\S+ )?(4[89]|5[012])\d\.[\s\S]*heap out of memory/);
    assert.equal(lines.find(({ msg }) => msg === 'called')?.outcome, 'poisoned');
  });

  test('is not blamed for what an earlier one left behind: it is made again', async (t) => {
    const { result, line } = opened(t);
    const earlier = await result<{ pid: number }>('kills-later', { ms: 300 });
    const later = await result<{ pid: number }>('takes', { ms: 600 });
    assert.notEqual(later.pid, earlier.pid);
    await line(({ msg }) => msg.startsWith('a quarantined call is made again'));
  });

  test('is poisoned also after others, once it has killed a process of its own', async (t) => {
    const { call, pid, lines } = opened(t);
    await pid();
    assert.equal(await call('exits'), 'poisoned');
    assert.deepEqual(
      lines.map(({ msg }) => msg.split(':')[0]),
      ['a quarantined call is made again', 'a quarantined call has killed its process'],
    );
  });

  test('has succeeded when its answer came before the end, even if both are heard of at once', async (t) => {
    const { call, pid, lines } = opened(t);
    await pid();
    const made = call('answers-and-exits');
    await nextTurn();
    // So long nothing is heard: answer and end come in the same turn.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    assert.deepEqual(await made, { status: 'succeeded', result: 'done' });
    assert.deepEqual(lines, []);
    assert.ok(await pid());
  });
});

describe('a cancel', () => {
  const cancelled = (message: string) => ({ status: 'cancelled', error: { type: 'cancelled', message, retryable: false } });

  test('ends a call at once, and leaves its function a second to put things in order', async (t) => {
    const { call, line, quarantine } = opened(t);
    const file = path.join(folder, 'tidy');
    const cancel = new AbortController();
    const made = call('tidies', { file }, {}, cancel.signal);
    await line(({ msg }) => msg === 'at work');
    cancel.abort(new Error('somebody cancelled it'));
    assert.deepEqual(await made, cancelled('somebody cancelled it'));
    await quarantine.close();
    assert.ok(existsSync(file));
  });

  test('ends an endless loop within two seconds', async (t) => {
    const { call, pid, line } = opened(t);
    const cancel = new AbortController();
    const made = call('loops', null, {}, cancel.signal);
    const { looping } = await line(({ looping }) => looping !== undefined);
    const began = performance.now();
    cancel.abort(new Error('somebody cancelled it'));
    assert.deepEqual(await made, cancelled('somebody cancelled it'));
    assert.ok(performance.now() - began < 2_000);
    assert.ok(!isThere(looping as number));
    assert.ok(await pid());
  });

  test('ends a call that waits before its turn, which then never comes', async (t) => {
    const { call, lines, pid } = opened(t);
    const first = call('takes', { ms: 500 });
    const cancel = new AbortController();
    const second = call('loops', null, {}, cancel.signal);
    cancel.abort();
    const winner = await Promise.race([first.then(() => 'first'), second.then(() => 'second')]);
    assert.equal(winner, 'second');
    assert.equal(((await second) as { status: string }).status, 'cancelled');
    await first;
    await pid();
    assert.ok(!lines.some(({ looping }) => looping !== undefined));
  });

  test('ends a call whose process is still being started', async (t) => {
    const { call, pid } = opened(t);
    const cancel = new AbortController();
    const made = call('works', null, {}, cancel.signal);
    setImmediate(() => cancel.abort(new Error('too late')));
    assert.deepEqual(await made, cancelled('too late'));
    assert.ok(await pid());
  });
});

describe('the process of a quarantine', () => {
  test('goes when it had nothing to do for a while; the next call gets another', async (t) => {
    const { pid } = opened(t, { idleMs: 50 });
    const first = await pid();
    await gone(first);
    assert.notEqual(await pid(), first);
  });

  test('is gone after close, which cancels the call under way and those to come', async (t) => {
    const { quarantine, call, line } = opened(t);
    const [made, waits] = [call('loops'), call('works')];
    const { looping } = await line(({ looping }) => looping !== undefined);
    await quarantine.close();
    assert.ok(!isThere(looping as number));
    for (const outcome of [await made, await waits, await call('works')]) {
      assert.ok(outcome !== 'poisoned');
      assert.deepEqual([outcome.status, errorOf(outcome).message], ['cancelled', 'the worker stops']);
    }
  });

  test('that can not start is no fault of the call: the error says what is wrong', async (t) => {
    const { call } = opened(t, { config: { ALMANAC_HANDLERS: path.join(HANDLERS, '../not-loading') } });
    await assert.rejects(call('works'), (error: Error) => {
      assert.ok(error instanceof QuarantineStartError);
      assert.match(error.message, /did not start \(exit code 1\)\n.*broken\.ts:2: .*this file is broken/);
      return true;
    });
  });

  test('goes with its parent, even out of an endless loop', async (t) => {
    const owner = spawn(process.execPath, [OWNER, 'loops'], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => owner.kill('SIGKILL'));
    const looping = await new Promise<number>((resolve) => {
      createInterface({ input: owner.stdout }).on('line', (line) => resolve((JSON.parse(line) as { looping: number }).looping));
    });
    assert.ok(isThere(looping));
    owner.kill('SIGKILL');
    await gone(looping);
  });

  test('does not end by signals that are meant for the whole service', async (t) => {
    const { call, pid } = opened(t);
    const own = await pid();
    const made = call('takes', { ms: 300 });
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(own, signal);
    const outcome = await made;
    assert.ok(outcome !== 'poisoned');
    assert.deepEqual([outcome.status, (outcome.result as { pid: number }).pid], ['succeeded', own]);
  });
});
