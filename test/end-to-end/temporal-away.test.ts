/** Temporal is stopped: everything is still accepted, nothing that was acknowledged is lost, and soon after its return all of it is true there. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ScheduleNotFoundError } from '@temporalio/client';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type OwnServer, ownTemporal } from '../support/own-servers.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { createTestDatabase, type TestDatabase } from '../support/stack.ts';

const TRUE_WITHIN_MS = 30_000;
let temporal: OwnServer;
let database: TestDatabase;
let almanac: Almanac;
let receiver: Receiver;

before(async () => {
  receiver = await startReceiver();
  [temporal, database] = await Promise.all([ownTemporal(), createTestDatabase()]);
  await temporal.start();
  almanac = await startAlmanac({ servers: { databaseUrl: database.url, temporalAddress: temporal.address } });
});
after(async () => {
  await almanac?.close();
  await temporal?.close();
  await database?.drop();
  await receiver?.close();
});

const job = (name: string, more: object = {}) => ({
  name,
  schedule: { cron: '0 3 * * *' },
  target: { type: 'http', url: `${receiver.url}/${name}` },
  ...more,
});
const accepted = async (what: Promise<{ status: number; body: Body; text: string }>, status: number): Promise<Body> => {
  const started = Date.now();
  const answer = await what;
  assert.equal(answer.status, status, answer.text);
  assert.ok(Date.now() - started < 5_000, `took ${Date.now() - started} ms`);
  return answer.body;
};
const pending = async (what: Promise<{ status: number; body: Body; text: string }>, status: number): Promise<Body> => {
  const body = await accepted(what, status);
  assert.equal(body.sync, 'pending');
  return body;
};

test('while Temporal is away every write is accepted and pending, reads work, and after its return all is true there within 30 s', async (t) => {
  const { api } = almanac;
  const ids: Record<string, string> = {};
  for (const name of ['paused', 'resumed', 'moved', 'removed', 'unscheduled', 'disabled'])
    ids[name] = (await accepted(api.post('/jobs', job(name)), 201)).id;
  await accepted(api.post('/schedule/resumed/pause'), 200);
  await temporal.stop();

  ids.created = (await pending(api.post('/jobs', job('created')), 201)).id;
  ids.once = (await pending(api.post('/jobs', job('once', { schedule: { delay: '1s' } })), 201)).id;
  ids.put = (await pending(api.call('PUT', '/jobs/put', job('put', { schedule: { every: '1h' } })), 201)).id;
  await pending(api.post('/schedule/paused/pause', { reason: 'nobody is there' }), 200);
  await pending(api.post('/schedule/resumed/resume'), 200);
  await pending(api.call('PATCH', '/jobs/moved', { schedule: { cron: '30 4 * * *' } }), 200);
  await pending(api.call('PATCH', '/jobs/disabled', { enabled: false }), 200);
  await pending(api.call('DELETE', '/jobs/removed'), 200);
  await pending(api.call('DELETE', '/schedule/unscheduled'), 200);
  const triggered = [(await accepted(api.post('/schedule/created/trigger'), 202)).id];
  const overlapping: string[] = []; // overlap is skip, and the first has not even started
  for (let n = 0; n < 4; n += 1) overlapping.push((await accepted(api.post('/schedule/created/trigger'), 409)).skippedId);

  assert.equal((await api.get('/jobs')).body.items.length, 8, 'without the removed one');
  assert.equal((await api.get('/jobs/moved')).body.nextRuns[0].slice(11), '04:30:00Z');
  assert.equal((await api.get(`/executions/created/${triggered[0]}`)).body.live, null);
  const status = await api.get('/schedule/status');
  assert.equal(status.status, 200, status.text);
  assert.equal((await api.get('//health/ready')).status, 503);
  assert.equal((await api.get('//health/live')).status, 200);

  await temporal.start();
  const back = Date.now();
  const described = (name: string) => almanac.temporal.schedule.getHandle(ids[name]!).describe();
  const soon = (what: string, check: () => Promise<boolean>) =>
    until(what, () => check().catch(() => false), Math.max(0, back + TRUE_WITHIN_MS - Date.now()));
  const gone = (name: string) =>
    described(name).then(
      () => false,
      (error: unknown) => error instanceof ScheduleNotFoundError,
    );
  await Promise.all([
    soon('created', async () => !(await described('created')).state.paused),
    soon('put', async () => (await described('put')).spec.intervals?.[0]?.every === 3_600_000),
    soon('paused', async () => (await described('paused')).state.paused),
    soon('resumed', async () => !(await described('resumed')).state.paused),
    soon('moved', async () => (await described('moved')).info.nextActionTimes[0]?.toISOString().slice(11, 16) === '04:30'),
    soon('disabled', async () => (await described('disabled')).state.paused),
    soon('removed', () => gone('removed')),
    soon('unscheduled', () => gone('unscheduled')),
  ]);
  const trueAfter = Date.now() - back;
  const first = await almanac.finished('created', triggered[0]!, TRUE_WITHIN_MS);
  assert.equal(first.status, 'succeeded');
  for (const id of overlapping) assert.equal((await almanac.finished('created', id)).reason, 'skipped_overlap');
  await until('the one-off ran', async () => (await api.get('/executions/once?status=succeeded')).body.items.length === 1);
  assert.deepEqual(receiver.calls.map((call) => call.path).sort(), ['/created', '/once']);
  await until('nothing is pending', async () => (await api.get('/jobs')).body.items.every((each: Body) => each.sync === 'synced'));
  t.diagnostic(`all true in Temporal ${trueAfter} ms after its port answered, everything run after ${Date.now() - back} ms`);
  const ready = await until('ready again', async () => (await api.get('//health/ready')).status === 200);
  assert.ok(ready);
});

test('an operation that Temporal leaves half-way goes on when it is back, and a bulk pause does not wait for it', async () => {
  const { api } = almanac;
  const names = (set: string, count: number, more: object = {}) =>
    Array.from({ length: count }, (_, nth) => job(`${set}-${nth}`, { tags: { set }, ...more }));
  await accepted(api.post('/jobs/batch', { jobs: names('bulk-run', 30, { schedule: undefined }) }), 201);
  await accepted(api.post('/jobs/batch', { jobs: names('bulk-pause', 5) }), 201);
  await until('all are synced', async () =>
    (await api.get('/jobs?tag=set:bulk-pause')).body.items.every((each: Body) => each.sync === 'synced'),
  );
  const run = await accepted(
    api.post('/bulk-operations', { action: 'trigger', jobs: { filter: { tag: ['set:bulk-run'] } }, ratePerMinute: 300 }),
    202,
  );
  const progressOf = async (id: string) => (await api.get(`/bulk-operations/${id}`)).body;
  await until('it has begun', async () => (await progressOf(run.id)).progress.done >= 5);
  await temporal.stop();

  const pause = await accepted(api.post('/bulk-operations', { action: 'pause', jobs: { filter: { tag: ['set:bulk-pause'] } } }), 202);
  await until('the rows are paused while Temporal is away', async () => (await progressOf(pause.id)).state === 'completed');
  assert.equal((await api.get('/jobs?state=paused&tag=set:bulk-pause')).body.items.length, 5);

  await temporal.start();
  const ended = await until(
    'every job has run',
    async () => {
      const operation = await progressOf(run.id);
      return operation.state === 'completed' && operation.executions.succeeded === 30 && operation;
    },
    90_000,
  );
  assert.deepEqual([ended.progress.results, ended.executions], [{ succeeded: 30 }, { succeeded: 30 }]);
  const paused = (await api.get('/jobs?tag=set:bulk-pause')).body.items;
  await until(
    'the schedules are paused',
    async () => {
      const all = await Promise.all(paused.map(({ id }: Body) => almanac.temporal.schedule.getHandle(id).describe()));
      return all.every(({ state }) => state.paused);
    },
    60_000,
  );
});
