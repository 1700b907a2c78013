/** Executions through a real worker, a real Temporal, a real Postgres and real HTTP: what only those with a workflow of their own do (test/behaviour holds the rest). */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readConfig } from '../src/config.ts';
import type { Caller } from '../src/jobs/caller.ts';
import { createStarter } from '../src/jobs/execution-starts.ts';
import { createExecutions, type Executions } from '../src/jobs/executions.ts';
import { createLog } from '../src/log.ts';
import { createPool, type Pool } from '../src/postgres.ts';
import { createTemporalClient } from '../src/temporal.ts';
import { until } from './support/almanac.ts';
import { type AlmanacProcess, startProcess } from './support/processes.ts';
import { type Receiver, startReceiver } from './support/receiver.ts';
import { countersOf, seedJob } from './support/seed.ts';
import { createTestDatabase, createTestNamespace } from './support/stack.ts';

const caller: Caller = { holder: 'key', name: 'tester', team: 'default', role: 'admin', requestId: 'request' };
const ENOUGH_MS = 30_000;

let settings: Record<string, string>;
let pool: Pool;
let executions: Executions;
let worker: AlmanacProcess;
const closing: (() => Promise<unknown>)[] = [];

before(async () => {
  const database = await createTestDatabase();
  const namespace = await createTestNamespace();
  settings = {
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: namespace.address,
    TEMPORAL_NAMESPACE: namespace.name,
    ALMANAC_TARGET_ALLOW: '127.0.0.0/8',
  };
  const config = readConfig(settings);
  const log = createLog('test', 'silent');
  pool = createPool(config, log, 'test');
  const temporal = createTemporalClient(config);
  const starter = createStarter({ pool, temporal, log });
  executions = createExecutions({ pool, temporal, log, config, starter });
  worker = await startProcess('worker', settings);
  closing.push(
    () => worker.stop(),
    starter.drain,
    async () => temporal.connection.close(),
    () => pool.end(),
    database.drop,
  );
});
after(async () => {
  for (const close of closing) await close();
});

async function receiver(...answer: Parameters<typeof startReceiver>): Promise<Receiver> {
  const server = await startReceiver(...answer);
  closing.unshift(server.close);
  return server;
}
const httpJob = (url: string, document: object = {}, options: object = {}) =>
  seedJob(pool, {
    ...options,
    document: { target: { type: 'http', url, method: 'POST', headers: {}, success: '200-299' }, ...document },
  });
const run = async (jobId: string, input?: unknown) => {
  const asked = await executions.trigger(caller, jobId, { input, hasInput: input !== undefined });
  return await executions.wait(caller, asked.id, ENOUGH_MS);
};

test('a trigger calls the URL once with its input and ids, and keeps status, headers and body', async () => {
  const server = await receiver((_call, response) => response.writeHead(201, { 'x-answer': 'yes' }).end('{"ok":true}'));
  const job = await httpJob(`${server.url}/hook`);
  const done = await run(job.id, { region: 'eu' });
  assert.equal(done.status, 'succeeded');
  assert.equal(server.calls.length, 1);
  assert.deepEqual(JSON.parse(server.calls[0]!.body), { region: 'eu' });
  assert.equal(server.calls[0]!.execution, done.id);
  assert.equal(server.calls[0]!.headers['webhook-id'], done.id);
  const result = done.result as { status: number; body: string; headers: Record<string, string> };
  assert.deepEqual([result.status, result.body, result.headers['x-answer']], [201, '{"ok":true}', 'yes']);
  const shown = await executions.get(caller, job.id, done.id);
  assert.deepEqual([shown.attempts.length, shown.attempts[0]!.responseStatus], [1, 201]);
  // the row ends a moment before its workflow does, and a new namespace is slow to answer at first
  const closed = await until('the workflow is closed', async () => {
    const { live } = await executions.get(caller, job.id, done.id);
    return live?.status === 'COMPLETED' && live;
  });
  assert.deepEqual([closed.historyLength, closed.shared], [6, false]);
});

test('a long target runs as an activity with heartbeats and is cancelled as well', async () => {
  const server = await receiver(() => {});
  const job = await httpJob(server.url, { timeout: '1h' });
  const asked = await executions.trigger(caller, job.id, { hasInput: false });
  await server.received(1);
  const { live } = await executions.get(caller, job.id, asked.id);
  assert.equal(live?.pending[0]?.activity, 'attempt');
  await executions.cancel(caller, job.id, asked.id);
  assert.equal((await executions.wait(caller, asked.id, ENOUGH_MS)).status, 'cancelled');
});

test('a retry is a new execution with the old input; a success cannot be retried', async () => {
  const server = await receiver((_call, response, nth) => response.writeHead(nth === 1 ? 400 : 200).end());
  const job = await httpJob(server.url);
  const failed = await run(job.id, { order: 7 });
  assert.equal(failed.status, 'failed');
  const [retried] = await executions.retry(caller, job.id, { definition: 'current' });
  const done = await executions.wait(caller, retried!.id, ENOUGH_MS);
  assert.deepEqual([done.status, done.trigger, done.retryOf], ['succeeded', 'retry', failed.id]);
  assert.deepEqual(JSON.parse(server.calls[1]!.body), { order: 7 });
  await assert.rejects(executions.retryOne(caller, job.id, done.id, 'current'), { kind: 'refused', code: 'not_failed' });
});

test('a handler gets its input and ids, and its answer is the result', async () => {
  const job = await seedJob(pool, { document: { target: { type: 'handler', name: 'heartbeat-report' } } });
  const done = await run(job.id, {});
  assert.equal(done.status, 'succeeded');
  assert.ok('loadPerCpu' in (done.result as object));
});

test('cancelling and terminating executions that share a workflow leaves the workflow to the others', async () => {
  const answer: (() => void)[] = [];
  const server = await receiver((_call, response) => void answer.push(() => response.end('late')));
  const job = await httpJob(server.url, {}, { overlap: 'allow_all' });
  await pool.query('UPDATE job_runtime SET poolable = true WHERE job_id = $1', [job.id]);
  const asked = await Promise.all([1, 2, 3].map((n) => executions.trigger(caller, job.id, { input: { n }, hasInput: true })));
  assert.deepEqual(new Set(asked.map((one) => one.dispatch)), new Set(['pooled']));
  assert.equal(new Set(asked.map((one) => one.workflowId)).size, 1);
  await server.received(3);
  const [first, second, third] = asked.map((one) => one.id) as [string, string, string];
  await executions.cancel(caller, job.id, first);
  await executions.terminate(caller, job.id, second);
  assert.equal((await executions.wait(caller, first, ENOUGH_MS)).status, 'cancelled');
  const open = await executions.get(caller, job.id, third);
  assert.deepEqual(
    [open.status, open.live?.shared, open.live?.status, open.workflowId],
    ['running', true, 'RUNNING', asked[0]!.workflowId],
  );
  for (const finish of answer) finish();
  const done = await executions.wait(caller, third, ENOUGH_MS);
  assert.deepEqual([done.status, done.attempt], ['succeeded', 1]);
  assert.equal((await executions.get(caller, job.id, second)).status, 'terminated');
  assert.equal(server.calls.length, 3);
  await until('the workflow has ended by itself', async () => (await executions.get(caller, job.id, third)).live?.status === 'COMPLETED');
  const counters = await countersOf(pool, job.id);
  assert.deepEqual([counters.active, counters.waiting], [0, 0]);
});

test('a worker killed in mid-call: another repeats the call under the same id, and rows are not doubled', async () => {
  const server = await receiver((_call, response, nth) => {
    if (nth > 1) response.end('second');
  });
  const job = await httpJob(server.url);
  const asked = await executions.trigger(caller, job.id, { hasInput: false });
  await server.received(1);
  await worker.kill();
  worker = await startProcess('worker', settings);
  const done = await executions.wait(caller, asked.id, 60_000);
  assert.deepEqual([done.status, done.attempt], ['succeeded', 2]);
  assert.deepEqual(
    server.calls.map((call) => call.execution),
    [asked.id, asked.id],
  );
  const { attempts } = await executions.get(caller, job.id, asked.id);
  assert.deepEqual(
    attempts.map((attempt) => attempt.status),
    ['lost', 'succeeded'],
  );
  const counters = await countersOf(pool, job.id);
  assert.deepEqual([counters.active, counters.waiting], [0, 0]);
});
