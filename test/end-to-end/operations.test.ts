/** Operations from the outside: asked for over HTTP, seen through whoever dies, told item by item. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Answer, Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

const PATIENCE_MS = 90_000;

let almanac: Almanac;
let receiver: Receiver;
before(async () => {
  receiver = await startReceiver();
  almanac = await startAlmanac();
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const ok = async (status: number, what: Promise<Answer>): Promise<Body> => {
  const answer = await what;
  assert.equal(answer.status, status, answer.text);
  return answer.body;
};
const documentOf = (name: string, more: object = {}) => ({
  name,
  target: { type: 'http', url: `${receiver.url}/${encodeURIComponent(name)}` },
  ...more,
});
const make = (jobs: object[]) => ok(201, almanac.api.post('/jobs/batch', { jobs }));
const seen = (path: string, fits: (operation: Body) => boolean): Promise<Body> =>
  until(
    `${path} is as it should be`,
    async () => {
      const { body } = await almanac.api.get(path);
      return fits(body) && body;
    },
    PATIENCE_MS,
  );

test('a bulk trigger survives a kill of the worker half-way: every job has run once', async () => {
  await make(Array.from({ length: 60 }, (_, nth) => documentOf(`many ${nth}`, { tags: { set: 'many' } })));
  const body = {
    action: 'trigger',
    jobs: { filter: { tag: ['set:many'] } },
    ratePerMinute: 600,
    input: { n: 7 },
    reason: 'after the outage',
  };
  const dry = await ok(200, almanac.api.post('/bulk-operations', { ...body, dryRun: true }));
  assert.deepEqual([dry.count, dry.sample.length], [60, 10]);

  const key = { 'Idempotency-Key': 'bulk-1' };
  const accepted = await almanac.api.post('/bulk-operations', body, key);
  const { id } = await ok(202, Promise.resolve(accepted));
  assert.equal(accepted.headers.get('location'), `/api/v1/bulk-operations/${id}`);
  assert.equal((await ok(202, almanac.api.post('/bulk-operations', body, key))).id, id);

  const halfWay = await seen(`/bulk-operations/${id}`, ({ progress }) => progress.done >= 15);
  assert.ok(halfWay.progress.done < 60, 'the rate keeps it going for six seconds');
  await Promise.all([almanac.processes.worker[0]!.kill(), almanac.processes.controller[0]!.kill()]);
  await Promise.all([almanac.start('worker'), almanac.start('controller')]);

  const ended = await seen(`/bulk-operations/${id}`, ({ state, executions }) => state === 'completed' && executions.succeeded === 60);
  assert.deepEqual(
    [ended.progress, ended.executions],
    [{ total: 60, done: 60, pending: 0, results: { succeeded: 60 } }, { succeeded: 60 }],
  );
  const called = new Set(
    receiver.calls.filter(({ path }) => path.startsWith('/many')).map(({ path, execution }) => `${path} ${execution}`),
  );
  assert.equal(called.size, 60, 'one execution per job');
  const { items } = await ok(200, almanac.api.get(`/executions?operationId=${id}&limit=200`));
  assert.deepEqual([items.length, items[0].operationId, items[0].input], [60, id, { n: 7 }]);
});

test('a backfill runs each slot of a range, and its executions say slot and backfill', async () => {
  await make([documentOf('yesterday', { schedule: { every: '1h' } })]);
  const to = new Date(Math.floor(Date.now() / 3_600_000) * 3_600_000);
  const range = { from: new Date(to.getTime() - 4 * 3_600_000).toISOString(), to: to.toISOString(), only: 'all' };
  const dry = await ok(200, almanac.api.post('/schedule/yesterday/backfill', { ...range, dryRun: true }));
  assert.equal(dry.count, 4);
  const backfill = await ok(202, almanac.api.post('/schedule/yesterday/backfill', range));
  const ended = await seen(`/backfills/${backfill.id}`, ({ executions }) => executions.succeeded === 4);
  assert.equal(ended.progress.total, 4);
  const { items } = await ok(200, almanac.api.get(`/executions/yesterday?trigger=backfill&operationId=${backfill.id}`));
  const slots = items.map((item: Body) => item.slot).sort();
  assert.deepEqual(
    slots,
    [4, 3, 2, 1].map((ago) => new Date(to.getTime() - ago * 3_600_000).toISOString()),
  );
  const made = (await ok(200, almanac.api.get(`/backfills/${backfill.id}/items`))).items;
  assert.deepEqual(
    made.map((item: Body) => item.result),
    ['succeeded', 'succeeded', 'succeeded', 'succeeded'],
  );
  assert.equal((await ok(200, almanac.api.get(`/backfills?job=${backfill.jobId}`))).items[0].id, backfill.id);
});

test('a pause ends at its time without anybody asking, and Temporal is shown it', async () => {
  const job = await ok(201, almanac.api.post('/jobs', documentOf('short pause', { schedule: { every: '1h' }, dispatch: 'dedicated' })));
  const paused = await ok(
    200,
    almanac.api.post(`/schedule/${job.id}/pause`, { until: new Date(Date.now() + 8_000).toISOString(), reason: 'short' }),
  );
  assert.equal(paused.state, 'paused');
  const awake = await seen(`/jobs/${job.id}`, ({ state, sync }) => state === 'active' && sync === 'synced');
  assert.deepEqual([awake.pause, typeof awake.nextRunAt], [null, 'string']);
  assert.equal((await almanac.temporal.schedule.getHandle(job.id).describe()).state.paused, false);
});
