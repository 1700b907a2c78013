/** Many jobs in one request over real HTTP, with two API processes on the same servers. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Answer, type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
let other: RunningApi;
before(async () => {
  stack = await createApiStack();
  [api, other] = (await Promise.all([stack.start(), stack.start()])) as [RunningApi, RunningApi];
});
after(() => stack.close());

const BATCH = '/api/v1/jobs/batch';
const document = (name: string, more: object = {}) => ({ name, target: { type: 'http', url: 'https://example.com/hook' }, ...more });
const many = <T>(count: number, make: (nth: number) => T): T[] => Array.from({ length: count }, (_, nth) => make(nth));
const post = (body: unknown, headers: Record<string, string> = {}, to = api): Promise<Answer> => to.call('POST', BATCH, body, headers);
const pathsIn = (answer: Answer) => (answer.body.errors as { path: string }[]).map(({ path }) => path);
const metric = async (name: string) =>
  Number(new RegExp(`^${name}{.*} (\\d+)$`, 'm').exec((await api.call('GET', '/metrics')).text)?.[1] ?? 0);

describe('POST /api/v1/jobs/batch', () => {
  test('creates 1,000 jobs in one request, whose clock Temporal has, and counts each', async () => {
    const before = await metric('jobs_created_total');
    const answer = await post({
      jobs: many(1_000, (n) => document(`thousand ${n}`, { schedule: { cron: '0 3 1 1 *' }, dispatch: 'pooled' })),
    });
    assert.equal(answer.status, 201, answer.text.slice(0, 500));
    assert.deepEqual([answer.body.created, answer.body.refused, answer.body.items.length], [1_000, 0, 1_000]);
    assert.deepEqual(
      new Set(
        answer.body.items.map(({ status, sync, dispatchChoice }) =>
          JSON.stringify([status, sync, (dispatchChoice as { dispatch: string }).dispatch]),
        ),
      ),
      new Set(['[201,"synced","pooled"]']),
    );
    assert.deepEqual(Object.keys(answer.body.items[0]!), ['index', 'status', 'id', 'name', 'sync', 'dispatchChoice']);
    const read = await api.call('GET', `/api/v1/jobs/${answer.body.items[999]?.id}`);
    assert.deepEqual([read.body.name, read.body.sync], ['thousand 999', 'synced']);
    assert.equal((await metric('jobs_created_total')) - before, 1_000);
  });

  test('answers within the budget when every job has a clock of its own; what Temporal has by then is synced', async () => {
    const jobs = many(300, (n) => document(`own ${n}`, { schedule: { cron: `${n % 60} ${n % 24} ${(n % 28) + 1} 1 *` } }));
    const from = performance.now();
    const answer = await post({ jobs });
    assert.equal(answer.status, 201, answer.text.slice(0, 500));
    assert.ok(performance.now() - from < 5_000);
    const synced = answer.body.items.filter(({ sync }) => sync === 'synced').length;
    assert.ok(synced > 0, 'none is synced');
    assert.ok(answer.body.items.every(({ sync }) => sync === 'synced' || sync === 'pending'));
  });

  test('with respond-async waits for nothing', async () => {
    const jobs = many(3, (n) => document(`async ${n}`, { schedule: { every: '1h' } }));
    const answer = await post({ jobs }, { Prefer: 'respond-async' });
    assert.deepEqual([answer.status, answer.headers.get('preference-applied')], [201, 'respond-async']);
    assert.deepEqual(
      answer.body.items.map(({ sync }) => sync),
      ['pending', 'pending', 'pending'],
    );
  });

  test('refuses the whole batch with the place of every error, or what is each by itself', async () => {
    const jobs = [
      document('good'),
      document('bad', { target: { type: 'http', url: 'ftp://example.com' } }),
      document('worse', { priority: 9 }),
    ];
    const all = await post({ jobs });
    assert.deepEqual([all.status, all.body.code, pathsIn(all)], [422, 'invalid_batch', ['/jobs/1/target/url', '/jobs/2/priority']]);
    assert.equal((await api.call('GET', '/api/v1/jobs/good')).status, 404);
    const each = await post({ jobs, mode: 'each' });
    assert.deepEqual([each.status, each.body.created, each.body.refused], [207, 1, 2]);
    assert.deepEqual(
      each.body.items.map(({ status }) => status),
      [201, 422, 422],
    );
    const taken = await post({ jobs: [document('new'), document('good')] });
    assert.deepEqual([taken.status, taken.body.code, pathsIn(taken)], [409, 'name_taken', ['/jobs/1/name']]);
    assert.equal((await api.call('GET', '/api/v1/jobs/new')).status, 404);
  });

  test('takes 1 to 1,000 documents and knows its two modes', async () => {
    for (const [body, path] of [
      [{ jobs: [] }, '/jobs'],
      [{ jobs: many(1_001, (n) => document(`many ${n}`)) }, '/jobs'],
      [{ jobs: 'x' }, '/jobs'],
      [{}, '/jobs'],
      [{ jobs: [document('m')], mode: 'some' }, '/mode'],
      [{ jobs: [document('m')], more: 1 }, '/more'],
    ] as const) {
      const answer = await post(body);
      assert.deepEqual([answer.status, answer.body.code, pathsIn(answer)], [422, 'invalid_batch', [path]], answer.text.slice(0, 300));
    }
  });

  test('takes a body far beyond the limit of a single document, but no document beyond it', async () => {
    const jobs = many(10, (n) => document(`large ${n}`, { input: 'x'.repeat(200_000) }));
    assert.equal((await post({ jobs })).status, 201);
    const one = await post({ jobs: [document('small'), document('huge', { description: 'x'.repeat(600_000) })], mode: 'each' });
    assert.deepEqual(
      one.body.items.map(({ status, errors }) => [status, (errors as { code: string }[] | undefined)?.[0]?.code]),
      [
        [201, undefined],
        [422, 'too_large'],
      ],
    );
  });

  test('repeated with its Idempotency-Key gives the same answer, from either process', async () => {
    const body = { jobs: [document('kept 0'), document('kept 1'), document('kept 0')], mode: 'each' };
    const headers = { 'Idempotency-Key': 'batch-1' };
    const answers = await Promise.all(many(8, (n) => post(body, headers, n % 2 === 0 ? api : other)));
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([207]));
    assert.equal(new Set(answers.map(({ text }) => text)).size, 1);
    assert.equal(answers.filter((answer) => answer.headers.get('idempotency-replayed') === 'true').length, 7);
    assert.deepEqual([answers[0]?.body.created, answers[0]?.body.refused], [2, 1]);
    const changed = await post({ ...body, mode: 'all' }, headers);
    assert.deepEqual([changed.status, changed.body.code], [422, 'idempotency_key_reused']);
  });

  test('of two processes that want the same names one has all of them, in whatever order they ask', async () => {
    for (let round = 0; round < 10; round += 1) {
      const jobs = many(50, (n) => document(`raced ${round} ${n}`, { schedule: { every: '5s' } }));
      const answers = await Promise.all([post({ jobs }), post({ jobs: jobs.toReversed() }, {}, other)]);
      assert.deepEqual(answers.map(({ status }) => status).sort(), [201, 409], answers.map(({ text }) => text.slice(0, 300)).join('\n'));
      const loser = answers.find(({ status }) => status === 409)!;
      assert.equal(pathsIn(loser).length, 50);
    }
  });

  test('of two processes that want one name at the same time one gets it; single ones and batches alike', async () => {
    for (let round = 0; round < 20; round += 1) {
      const wanted = document(`one ${round}`, { schedule: { every: '5s' } });
      const single = (to: RunningApi) => to.call('POST', '/api/v1/jobs', wanted);
      const beside = (n: number) => api.call('POST', '/api/v1/jobs', document(`beside ${round} ${n}`));
      const [a, b, c, ...others] = await Promise.all([
        single(api),
        single(other),
        post({ jobs: [wanted] }, {}, other),
        beside(1),
        beside(2),
      ]);
      assert.deepEqual([a!.status, b!.status, c!.status].sort(), [201, 409, 409]);
      assert.deepEqual(
        others.map(({ status }) => status),
        [201, 201],
      );
    }
  });

  test('leaves a job of its own name within reach', async () => {
    const made = await api.call('PUT', BATCH, document('batch'));
    assert.equal(made.status, 201, made.text);
    assert.equal((await api.call('GET', BATCH)).body.id, made.body.id);
    assert.equal((await api.call('DELETE', BATCH)).status, 200);
  });
});
