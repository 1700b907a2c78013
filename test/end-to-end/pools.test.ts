/** Executions that share a workflow, from the outside: one clock for many jobs, one workflow for a slot of it, and what leaves it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
before(async () => {
  receiver = await startReceiver((call, response) => {
    if (call.path === '/second-time-lucky' && call.attempt === 1) {
      response.statusCode = 503;
      response.setHeader('Retry-After', '1');
    }
    response.end('done');
  });
  almanac = await startAlmanac();
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const create = async (name: string, more: object): Promise<Body> => {
  const { status, body } = await almanac.api.post('/jobs', {
    name,
    target: { type: 'http', url: `${receiver.url}/${name}` },
    dispatch: 'pooled',
    ...more,
  });
  assert.equal(status, 201, JSON.stringify(body));
  return body!;
};
const ended = (job: Body, count = 1): Promise<Body[]> =>
  until(`${count} executions of ${job.name} ended`, async () => {
    const { body } = await almanac.api.get(`/executions/${job.id}?status=succeeded&status=failed&limit=50`);
    return body!.items.length >= count && body!.items;
  });

test('jobs of one timing share a clock, and a slot of it is one workflow for all of them', async () => {
  const schedule = { every: '2s' };
  const jobs = [];
  for (const name of ['first', 'second', 'third']) jobs.push(await create(name, { schedule }));
  assert.deepEqual(new Set(jobs.map((job) => job.dispatchChoice.dispatch)), new Set(['pooled']));
  const executions = await Promise.all(jobs.map((job) => ended(job, 2)));
  const last = executions.map((of) => of.at(-2)!);
  for (const execution of last) {
    assert.equal(execution.status, 'succeeded');
    assert.equal(execution.dispatch, 'pooled');
    assert.match(execution.workflowId, /^clock_[0-9a-f]{32}-/);
  }
  assert.equal(new Set(last.map((execution) => execution.workflowId.slice(0, 38))).size, 1, 'one clock');
  const history = await almanac.temporal.workflow.getHandle(last[0]!.workflowId, last[0]!.runId).fetchHistory();
  assert.equal(history.events![0]!.workflowExecutionStartedEventAttributes?.workflowType?.name, 'serveSlot');
  for (const job of jobs) await almanac.api.call('DELETE', `/jobs/${job.id}`);
});

test('a try that fails goes on in a workflow of its own, after the pause that its receiver asked for', async () => {
  const job = await create('second-time-lucky', {});
  const { body: triggered } = await almanac.api.post(`/schedule/${job.id}/trigger`, {});
  const execution = await almanac.finished(job.id, triggered!.id);
  assert.deepEqual(
    [execution.status, execution.attempt, execution.dispatch, execution.workflowId],
    ['succeeded', 2, 'dedicated', execution.id],
  );
  const [first, second] = receiver.calls.filter((call) => call.path === '/second-time-lucky');
  assert.equal(first!.execution, second!.execution);
  assert.ok(second!.at - first!.at >= 1_000, `${second!.at - first!.at} ms`);
  assert.deepEqual(
    execution.attempts.map((attempt: Body) => [attempt.attempt, attempt.status]),
    [
      [1, 'failed'],
      [2, 'succeeded'],
    ],
  );
});

test('one-offs of the same second share a bucket and are called when they are due', async () => {
  const at = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 4_000).toISOString();
  const jobs = [];
  for (let index = 0; index < 5; index += 1) jobs.push(await create(`once-${index}`, { schedule: { at } }));
  const executions = (await Promise.all(jobs.map((job) => ended(job)))).map(([execution]) => execution!);
  assert.deepEqual(new Set(executions.map((execution) => execution.workflowId)).size, 1);
  for (const execution of executions) {
    assert.equal(execution.status, 'succeeded');
    assert.ok(execution.latenessMs >= 0 && execution.latenessMs < 2_000, `${execution.latenessMs} ms late`);
  }
});

test('a thousand inputs of one trigger share a pool, each an execution of its own', async () => {
  const job = await create('many', { overlap: 'allow_all' });
  const inputs = Array.from({ length: 1_000 }, (_, index) => ({ index }));
  const { status, body } = await almanac.api.post(`/schedule/${job.id}/trigger`, { inputs });
  assert.equal(status, 202, JSON.stringify(body));
  await until('all have succeeded', async () => {
    const { rows } = await almanac.pool.query(
      `SELECT count(*)::int AS count FROM job_executions WHERE job_id = $1 AND status = 'succeeded'`,
      [job.id],
    );
    return rows[0].count === 1_000;
  });
  const seen = receiver.calls
    .filter((call) => call.path === '/many')
    .map((call) => JSON.parse(call.body).index ?? JSON.parse(call.body).input?.index);
  assert.equal(new Set(seen).size, 1_000);
  assert.equal(seen.length, 1_000);
});
