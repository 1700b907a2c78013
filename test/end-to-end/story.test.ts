/** The story a newcomer reads: a job is posted, Temporal shows its schedule, it fires, the target is called, and what happened can be read. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
/** Paths whose first call fails, and answers. */
before(async () => {
  receiver = await startReceiver((call, response) => {
    if (call.path === '/unwell' && call.attempt < 3) response.writeHead(503).end('not yet');
    else response.writeHead(201, { 'content-type': 'application/json', 'x-answer': call.path }).end(JSON.stringify({ path: call.path }));
  });
  almanac = await startAlmanac();
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const create = async (document: object): Promise<Body> => {
  const { status, body, headers } = await almanac.api.post('/jobs', document);
  assert.equal(status, 201, JSON.stringify(body));
  assert.equal(headers.get('location'), `/api/v1/jobs/${body.id}`);
  assert.equal(body.sync, 'synced');
  return body;
};
const callsTo = (path: string) => receiver.calls.filter((call) => call.path === path);
const firstEnded = (job: string, withinMs = 30_000) =>
  until(
    `${job} has an execution that ended`,
    async () => {
      const { status, body } = await almanac.api.get(`/executions/${job}`);
      assert.equal(status, 200);
      return body.items.findLast((item: Body) => item.finishedAt !== null);
    },
    withinMs,
  );

test('a cron with seconds is a schedule in Temporal under the id of the job; it fires on time and its call is on record', async () => {
  const job = await create({
    name: 'every few seconds',
    dispatch: 'dedicated',
    schedule: { cron: '*/3 * * * * *' },
    target: { type: 'http', url: `${receiver.url}/cron` },
  });
  const description = await almanac.temporal.schedule.getHandle(job.id).describe();
  assert.equal(description.state.paused, false);
  assert.deepEqual(
    description.info.nextActionTimes.slice(0, 2).map((time) => time.toISOString().replace('.000', '')),
    job.nextRuns.slice(0, 2),
  );
  const done = await firstEnded(job.id);
  assert.deepEqual([done.status, done.trigger, done.attempt, done.jobName], ['succeeded', 'schedule', 1, 'every few seconds']);
  assert.equal(Date.parse(done.slot) % 3_000, 0);
  assert.equal(done.id, `${job.id}-${done.slot.replace('.000', '')}`);
  assert.ok(done.latenessMs >= 0 && done.latenessMs < 15_000 && done.durationMs >= 0, JSON.stringify(done));
  assert.deepEqual([done.result.status, done.result.body, done.result.truncated], [201, '{"path":"/cron"}', false]);
  const call = callsTo('/cron').find((each) => each.execution === done.id)!;
  assert.equal(call.headers['x-almanac-slot'], done.slot);
  // the row is told before the workflow is
  const workflow = await until('its workflow is completed', async () => {
    const described = await almanac.temporal.workflow.getHandle(done.id).describe();
    return described.status.name === 'COMPLETED' && described;
  });
  assert.equal(workflow.runId, done.runId);
  const slots = callsTo('/cron').map((each) => each.execution);
  assert.equal(new Set(slots).size, slots.length, 'no slot is called twice');
});

test('an interval fires at its offset; a handler does the work and its answer is the result', async () => {
  const job = await create({
    name: 'health',
    dispatch: 'dedicated',
    schedule: { every: '4s', offset: '1s' },
    target: { type: 'handler', name: 'heartbeat-report' },
  });
  assert.equal((await almanac.temporal.schedule.getHandle(job.id).describe()).info.nextActionTimes[0]!.getTime() % 4_000, 1_000);
  const done = await firstEnded(job.id);
  assert.equal(done.status, 'succeeded');
  assert.ok('loadPerCpu' in done.result, JSON.stringify(done.result));
});

test('one-offs by time and by delay run once, when due, and their jobs are finished', async () => {
  const at = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 3_000).toISOString();
  const byTime = await create({ name: 'once at', schedule: { at }, target: { type: 'http', url: `${receiver.url}/at` }, input: { n: 1 } });
  const byDelay = await create({ name: 'once after', schedule: { delay: '2s' }, target: { type: 'http', url: `${receiver.url}/delay` } });
  for (const [job, path] of [
    [byTime, '/at'],
    [byDelay, '/delay'],
  ] as const) {
    const done = await firstEnded(job.id);
    assert.deepEqual([done.status, done.trigger], ['succeeded', 'once']);
    assert.ok(done.latenessMs >= 0, `${done.latenessMs} ms: never before it is due`);
    assert.equal(callsTo(path).length, 1);
    const { body } = await almanac.api.get(`/jobs/${job.id}`);
    assert.deepEqual([body.state, body.nextRunAt, body.lastOutcome], ['finished', null, 'succeeded']);
    await almanac.temporal.workflow.getHandle(done.workflowId).describe();
  }
  assert.deepEqual(JSON.parse(callsTo('/at')[0]!.body), { n: 1 });
});

test('a registered service and a path: the call goes there with the headers of both', async () => {
  const service = { name: 'invoicing', baseUrl: receiver.url, headers: { 'x-from': 'service' } };
  assert.equal((await almanac.api.post('/services', service)).status, 201);
  const job = await create({
    name: 'by service',
    target: { type: 'http', service: 'invoicing', method: 'PUT', path: '/close?day=1', headers: { 'x-job': 'yes' }, body: { a: [1, '2'] } },
  });
  const { status, body } = await almanac.api.post(`/schedule/${job.id}/trigger?wait=20s`);
  assert.deepEqual([status, body.status, body.result.status], [200, 'succeeded', 201]);
  const [call] = callsTo('/close?day=1');
  assert.deepEqual([call!.headers['x-from'], call!.headers['x-job'], call!.body], ['service', 'yes', '{"a":[1,"2"]}']);
});

test('a target that is unwell is called again, under one id, and every attempt is on record', async () => {
  const job = await create({
    name: 'unwell',
    target: { type: 'http', url: `${receiver.url}/unwell` },
    retry: { maxAttempts: 5, initialInterval: '200ms', backoffCoefficient: 1 },
  });
  const { body } = await almanac.api.post(`/schedule/unwell/trigger?wait=30s`, { input: { other: 'input' } });
  assert.deepEqual([body.status, body.attempt, body.error], ['succeeded', 3, null]);
  assert.deepEqual(
    callsTo('/unwell').map((call) => [call.execution, call.attempt, call.body]),
    [
      [body.id, 1, '{"other":"input"}'],
      [body.id, 2, '{"other":"input"}'],
      [body.id, 3, '{"other":"input"}'],
    ],
  );
  const shown = (await almanac.api.get(`/executions/${job.id}/${body.id}`)).body;
  assert.deepEqual(
    shown.attempts.map((attempt: Body) => [attempt.attempt, attempt.status, attempt.responseStatus]),
    [
      [1, 'failed', 503],
      [2, 'failed', 503],
      [3, 'succeeded', 201],
    ],
  );
  assert.equal(shown.live.status, 'COMPLETED');
});

test('a search over all jobs finds them by status and by name', async () => {
  const { body } = await almanac.api.get('/executions?status=succeeded&q=UNWELL');
  assert.deepEqual([body.items.length, body.items[0].jobName], [1, 'unwell']);
});
