/** What people do to executions, and where they run: waiting for them, cancelling, terminating, retrying, deadlines, queues of their own, many copies of each process. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
let wellNow = false;
before(async () => {
  receiver = await startReceiver((call, response) => {
    if (call.path === '/never') return;
    if (call.path === '/unwell' && !wellNow) response.writeHead(500).end('unwell');
    else response.end(call.path);
  });
  almanac = await startAlmanac({ apis: 2, workers: 2, controllers: 2, settings: { CATEGORY_QUEUES: 'reports=reports' } });
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const ok = async (status: number, what: ReturnType<typeof almanac.api.get>): Promise<Body> => {
  const answer = await what;
  assert.equal(answer.status, status, answer.text);
  return answer.body;
};
const create = (name: string, path: string, more: object = {}) =>
  ok(201, almanac.api.post('/jobs', { name, target: { type: 'http', url: `${receiver.url}${path}` }, ...more }));
const trigger = (name: string, query = '', body?: object) => almanac.api.post(`/schedule/${name}/trigger${query}`, body);
const callsTo = (path: string) => receiver.calls.filter((call) => call.path === path);

test('a trigger waited for answers 200 when it has ended and 202 when it has not; a second one waits for its own', async () => {
  await create('waits', '/waits');
  assert.equal((await ok(200, trigger('waits', '?wait=20s'))).status, 'succeeded');
  await create('never', '/never', { overlap: 'allow_all' });
  const started = Date.now();
  const asked = await trigger('never', '?wait=1s');
  assert.deepEqual([asked.status, asked.headers.get('location')], [202, `/api/v1/executions/${asked.body.jobId}/${asked.body.id}`]);
  assert.ok(Date.now() - started >= 1_000);
  await receiver.received(2);

  const cancelled = await ok(202, almanac.api.post(`/executions/never/${asked.body.id}/cancel`));
  assert.equal(cancelled.id, asked.body.id);
  const ended = await almanac.finished('never', asked.body.id);
  assert.deepEqual([ended.status, ended.cancelledBy !== null], ['cancelled', true]);
  assert.ok(callsTo('/never')[0]!.aborted);
  assert.equal((await ok(409, almanac.api.post(`/executions/never/${asked.body.id}/cancel`))).code, 'execution_finished');

  const next = await ok(202, trigger('never'));
  await until('it is called', () => callsTo('/never').length === 2);
  assert.equal((await ok(200, almanac.api.post(`/executions/never/${next.id}/terminate`))).status, 'terminated');
  await until(
    'its workflow has ended too',
    async () => (await almanac.temporal.workflow.getHandle(next.id).describe()).status.name !== 'RUNNING',
  );
});

test('the latest failure is retried with its own input and today’s definition, once for one key however many ask', async () => {
  await create('unwell', '/unwell', { retry: { maxAttempts: 1 } });
  const failed = [];
  for (let n = 0; n < 3; n += 1) failed.push(await ok(200, trigger('unwell', '?wait=20s', { input: { n } })));
  assert.deepEqual(
    failed.map(({ status }) => status),
    ['failed', 'failed', 'failed'],
  );
  wellNow = true;
  const retried = await ok(202, almanac.api.post('/executions/unwell/retry'));
  assert.equal(retried.retryOf, failed[2].id);
  assert.equal((await almanac.finished('unwell', retried.id)).status, 'succeeded');
  assert.deepEqual(JSON.parse(callsTo('/unwell').at(-1)!.body), { n: 2 });
  assert.equal((await ok(409, almanac.api.post(`/executions/unwell/${retried.id}/retry`))).code, 'not_failed');

  const executionIds = [failed[0].id, failed[1].id];
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, n) =>
      almanac.apis[n % 2]!.post('/executions/unwell/retry', { executionIds }, { 'idempotency-key': 'both' }),
    ),
  );
  for (const answer of answers) assert.deepEqual([answer.status, answer.text], [202, answers[0]!.text]);
  const { items } = await ok(200, almanac.api.get('/executions/unwell?trigger=retry'));
  assert.equal(items.length, 3, 'one for the latest, and one for each of the two');
});

test('a category runs on its queue: nowhere until a worker serves it, then there alone', async () => {
  const job = await create('report', '/report', { category: 'reports' });
  const asked = await ok(202, trigger('report'));
  assert.equal(asked.queue, 'reports');
  await ok(200, trigger('waits', '?wait=20s')); // the default queue is alive meanwhile
  assert.equal(callsTo('/report').length, 0);
  const { queues } = await ok(200, almanac.api.get('/schedule/status'));
  assert.ok(
    queues.some((each: Body) => each.queue === 'reports'),
    JSON.stringify(queues),
  );
  const worker = await almanac.start('worker', { WORKER_QUEUES: 'reports' });
  assert.equal((await almanac.finished(job.id, asked.id)).status, 'succeeded');
  const { attempts } = await ok(200, almanac.api.get(`/executions/report/${asked.id}`));
  assert.match(attempts[0].worker, new RegExp(`\\b${worker.pid}\\b`));
});

test('two of each process: every slot and every trigger runs once', async () => {
  const jobs = await Promise.all(
    Array.from({ length: 10 }, (_, n) => create(`copies ${n}`, `/copies-${n}`, { schedule: { every: '2s' }, overlap: 'allow_all' })),
  );
  const triggered = await Promise.all(jobs.flatMap(({ id }) => almanac.apis.map((api) => api.post(`/schedule/${id}/trigger`))));
  for (const answer of triggered) assert.equal(answer.status, 202);
  const copies = () => receiver.calls.filter(({ path }) => path.startsWith('/copies-'));
  await until('each has had four calls', () => jobs.every((_, n) => callsTo(`/copies-${n}`).length >= 4), 60_000);
  for (const { id } of jobs) await ok(200, almanac.api.call('DELETE', `/jobs/${id}`));
  const ids = copies().map((call) => call.execution);
  assert.equal(new Set(ids).size, ids.length, 'no execution is called twice');
  for (const { body } of triggered) assert.ok(ids.includes(body.id));
  const { rows } = await almanac.pool.query(
    `SELECT job_id, slot, count(*) FROM job_executions WHERE trigger = 'schedule' GROUP BY 1, 2 HAVING count(*) > 1`,
  );
  assert.deepEqual(rows, []);
});
