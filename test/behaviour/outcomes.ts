/** What becomes of a call: success, failure, timeout, retries, and what the row, the attempts and the receiver see of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Body } from '../support/client.ts';
import { endOf, quickly, type Scene } from './scene.ts';

const attemptsOf = (row: Body) => row.attempts.map((one: Body) => [one.attempt, one.status, one.responseStatus]);
const soon = quickly(3);

export function outcomeFacts(scene: () => Scene): void {
  test('a success keeps status, headers and body of the answer, and the row says where and when it ran', async () => {
    const { kind, almanac, endpoint, job, run } = scene();
    const answers = endpoint((_call, response) => response.writeHead(201, { 'x-answer': 'yes' }).end('{"ok":true}'));
    const made = await job(answers);
    const row = await run(made, { input: { region: 'eu' } });
    assert.deepEqual(endOf(row), ['succeeded', null]);
    const { result } = row;
    assert.deepEqual([result.status, result.body, result.headers['x-answer'], result.truncated], [201, '{"ok":true}', 'yes', false]);
    assert.deepEqual(attemptsOf(row), [[1, 'succeeded', 201]]);
    assert.match(row.attempts[0].worker, new RegExp(`/${almanac.processes.worker[0]!.pid}$`));
    assert.deepEqual([row.dispatch, row.trigger, row.slot, row.error, row.attempt, row.maxAttempts], [kind, 'manual', null, null, 1, 3]);
    if (kind === 'dedicated') assert.equal(row.workflowId, row.id);
    else assert.match(row.workflowId, /^group-default-[0-9a-f-]{36}$/);
    assert.ok(row.links.temporal.includes(`/workflows/${row.workflowId}/${row.runId}/`));
    const described = await almanac.temporal.workflow.getHandle(row.workflowId, row.runId).describe();
    assert.equal(described.type, kind === 'dedicated' ? 'executeJob' : 'servePool');
    const [created, started, finished] = [row.createdAt, row.startedAt, row.finishedAt].map((time) => Date.parse(time)) as [
      number,
      number,
      number,
    ];
    assert.ok(created <= started && started <= finished);
    assert.deepEqual([row.durationMs, row.latenessMs], [finished - started, started - Date.parse(row.dueAt)]);

    const shown = (await almanac.api.get(`/jobs/${made.id}`)).body;
    assert.deepEqual([shown.dispatch, shown.dispatchChoice.dispatch], [kind, kind]);
    assert.equal(shown.lastOutcome, 'succeeded');
    const { id, status, durationMs } = shown.lastExecution;
    assert.deepEqual([id, status], [row.id, 'succeeded']);
    assert.ok(Math.abs(durationMs - row.durationMs) <= 1, 'rounded');
  });

  test('every attempt tells its receiver the same ids, its own number, and nothing else of us', async () => {
    const { endpoint, job, run } = scene();
    const lucky = endpoint((_call, response, nth) => response.writeHead(nth < 3 ? 503 : 200).end());
    const made = await job(lucky, { name: `überall ${Math.random()}`, ...soon });
    const row = await run(made, { input: { n: 1 } });
    assert.deepEqual([row.status, row.attempt, row.error], ['succeeded', 3, null]);
    assert.deepEqual(attemptsOf(row), [
      [1, 'failed', 503],
      [2, 'failed', 503],
      [3, 'succeeded', 200],
    ]);
    assert.equal(lucky.calls.length, 3);
    const traces = new Set<string>();
    for (const [index, { headers, body, at }] of lucky.calls.entries()) {
      const ours = Object.keys(headers).filter((name) => /^(x-almanac|webhook|idempotency|traceparent)/.test(name));
      assert.deepEqual(ours.sort(), [
        'idempotency-key',
        'traceparent',
        'webhook-id',
        'webhook-timestamp',
        'x-almanac-attempt',
        'x-almanac-execution-id',
        'x-almanac-job-id',
        'x-almanac-job-name',
      ]);
      for (const name of ['idempotency-key', 'webhook-id', 'x-almanac-execution-id']) assert.equal(headers[name], row.id);
      assert.deepEqual(
        [headers['x-almanac-attempt'], headers['x-almanac-job-id'], decodeURIComponent(String(headers['x-almanac-job-name']))],
        [String(index + 1), made.id, made.name],
      );
      assert.ok(Math.abs(Number(headers['webhook-timestamp']) * 1_000 - at) < 5_000);
      traces.add(String(headers.traceparent).slice(0, 35));
      assert.deepEqual(JSON.parse(body), { n: 1 });
    }
    assert.equal(traces.size, 1, 'one trace for all attempts');
  });

  test('the pauses between attempts grow by the coefficient', async () => {
    const { endpoint, job, run } = scene();
    const broken = endpoint((_call, response) => response.writeHead(500).end('broken'));
    const made = await job(broken, { retry: { maxAttempts: 3, initialInterval: '300ms', backoffCoefficient: 3 } });
    const row = await run(made);
    assert.deepEqual([row.status, row.attempt, row.error.type, row.error.attempt, row.result.status], ['failed', 3, 'http_status', 3, 500]);
    assert.deepEqual(
      row.attempts.map((one: Body) => one.status),
      ['failed', 'failed', 'failed'],
    );
    const [first, second, third] = broken.calls.map((call) => call.at) as [number, number, number];
    // up to a tenth is taken off at random
    assert.ok(second - first >= 269 && second - first < 4_000, `${second - first} ms`);
    assert.ok(third - second >= 809 && third - second < 6_000, `${third - second} ms`);
  });

  test('a Retry-After is waited for, and a 404 is not tried again', async () => {
    const { endpoint, job, run } = scene();
    const busy = endpoint((_call, response, nth) => (nth === 1 ? response.writeHead(429, { 'retry-after': '1' }).end() : response.end()));
    const gone = endpoint((_call, response) => response.writeHead(404).end());
    const [patient, lost] = await Promise.all([job(busy, soon).then((made) => run(made)), job(gone, soon).then((made) => run(made))]);
    assert.equal(patient.status, 'succeeded');
    assert.ok(busy.calls[1]!.at - busy.calls[0]!.at >= 990, `${busy.calls[1]!.at - busy.calls[0]!.at} ms`);
    assert.deepEqual([lost.status, lost.attempt, gone.calls.length], ['failed', 1, 1]);
  });

  test('nonRetryable and success are the definition’s to say', async () => {
    const { endpoint, job, run } = scene();
    const teapot = endpoint((_call, response) => response.writeHead(418).end());
    const unavailable = endpoint((_call, response) => response.writeHead(503).end());
    const [pleased, hopeless, stubborn] = await Promise.all([
      job({ type: 'http', url: teapot.url, success: '200-299,418' }).then((made) => run(made)),
      job(unavailable, quickly(3, { nonRetryable: ['503'] })).then((made) => run(made)),
      job(teapot, quickly(2, { nonRetryable: [] })).then((made) => run(made)),
    ]);
    assert.deepEqual([pleased.status, pleased.result.status], ['succeeded', 418]);
    assert.deepEqual([hopeless.status, hopeless.attempt], ['failed', 1]);
    assert.deepEqual([stubborn.status, stubborn.attempt], ['failed', 2]);
  });

  test('maxAttempts 1 is one call', async () => {
    const { endpoint, job, run } = scene();
    const broken = endpoint((_call, response) => response.writeHead(500).end());
    const row = await run(await job(broken, quickly(1)));
    assert.deepEqual([row.status, row.attempt, row.maxAttempts, broken.calls.length], ['failed', 1, 1, 1]);
  });

  test('a call that outlasts the timeout of its definition is aborted; so is each retry, and the last word is timed_out', async () => {
    const { endpoint, job, run } = scene();
    const silent = endpoint(() => {});
    const row = await run(await job(silent, { timeout: '400ms', ...quickly(2) }));
    assert.deepEqual([row.status, row.attempt, row.error.type], ['timed_out', 2, 'timeout']);
    assert.deepEqual(attemptsOf(row), [
      [1, 'timed_out', null],
      [2, 'timed_out', null],
    ]);
    assert.ok(silent.calls.every((call) => call.aborted));
    for (const { durationMs } of row.attempts) assert.ok(durationMs >= 390 && durationMs < 2_000, `${durationMs} ms`);
  });

  test('a timeout of the trigger goes before the definition’s, on every attempt, shorter or longer', async () => {
    const { kind, endpoint, job, trigger, ended } = scene();
    const silent = endpoint(() => {});
    const made = await job(silent, { timeout: '8s', overlap: 'allow_all', ...quickly(2) });
    const short = await trigger(made, { timeout: '300ms' });
    const row = await ended(made, short);
    assert.deepEqual([row.status, row.attempt], ['timed_out', 2]);
    for (const { durationMs } of row.attempts) assert.ok(durationMs < 2_000, `${durationMs} ms`);

    const late = endpoint((_call, response) => void setTimeout(() => response.end(), 800));
    const hasty = await job(late, { timeout: '300ms', overlap: 'allow_all', ...quickly(1) });
    assert.equal((await ended(hasty, await trigger(hasty, { timeout: '5s' }))).status, 'succeeded');
    const long = await ended(hasty, await trigger(hasty, { timeout: '11s' }));
    assert.deepEqual([long.status, long.dispatch], ['succeeded', 'dedicated'], `longer than ten seconds is no call for a pool (${kind})`);
  });

  test('a deadline ends the execution while retries are left', async () => {
    const { endpoint, job, run } = scene();
    const broken = endpoint((_call, response) => response.writeHead(500).end());
    const row = await run(await job(broken, { deadline: '2s', ...quickly(100, { initialInterval: '300ms' }) }));
    assert.deepEqual(endOf(row), ['timed_out', 'deadline']);
    assert.ok(broken.calls.length >= 2 && broken.calls.length <= 7, `${broken.calls.length} calls`);
    const silent = endpoint(() => {});
    const cut = await run(await job(silent, { deadline: '700ms', timeout: '10s' }));
    assert.deepEqual([...endOf(cut), silent.calls.length], ['timed_out', 'deadline', 1]);
    assert.ok(cut.durationMs < 3_000, `${cut.durationMs} ms`);
  });

  test('a body is kept as far as 64 KiB, and says when it was longer', async () => {
    const { endpoint, job, run } = scene();
    const long = endpoint((_call, response) => response.end('x'.repeat(100_000)));
    const { status, result } = await run(await job(long));
    assert.deepEqual([status, result.truncated, result.body.length], ['succeeded', true, 65_536]);
  });

  test('the input of a trigger goes before the definition’s, null among them; without one the definition’s is sent', async () => {
    const { endpoint, job, run } = scene();
    const hears = endpoint();
    const made = await job(hears, { input: { from: 'definition' } });
    const sent = [];
    for (const body of [undefined, { input: { from: 'trigger' } }, { input: null }, { input: [1, 2] }]) sent.push(await run(made, body));
    assert.deepEqual(
      hears.calls.map(({ body }) => (body === '' ? null : JSON.parse(body))),
      [{ from: 'definition' }, { from: 'trigger' }, null, [1, 2]],
    );
    assert.deepEqual(
      sent.map((row) => ('input' in row ? row.input : 'none of its own')),
      ['none of its own', { from: 'trigger' }, null, [1, 2]],
    );
  });

  test('consecutive failures are counted until a success, and pause the job when it says so', async () => {
    const { almanac, endpoint, job, run, ok } = scene();
    let well = false;
    const moody = endpoint((_call, response) => response.writeHead(well ? 200 : 400).end());
    const made = await job(moody, { pauseAfterFailures: 3 });
    const count = async () =>
      (await almanac.pool.query('SELECT consecutive_failures AS count FROM job_runtime WHERE job_id = $1', [made.id])).rows[0].count;
    assert.equal((await run(made)).status, 'failed');
    assert.equal((await run(made)).status, 'failed');
    assert.equal(await count(), 2);
    well = true;
    assert.equal((await run(made)).status, 'succeeded');
    assert.equal(await count(), 0);
    well = false;
    for (let n = 0; n < 3; n += 1) assert.equal((await run(made)).status, 'failed');
    const { state, pause, lastOutcome } = await ok(200, almanac.api.get(`/jobs/${made.id}`));
    assert.deepEqual([state, pause.automatic, pause.by, lastOutcome], ['paused', true, 'almanac', 'failed']);
    assert.equal((await ok(200, almanac.api.post(`/schedule/${made.id}/resume`))).pause, null);
    assert.equal((await run(made)).status, 'failed');
    assert.equal((await ok(200, almanac.api.get(`/jobs/${made.id}`))).pause, null, 'counted from one again');
  });
}
