/** Bulk operations and backfills over HTTP, with an API process alone: what is refused and why, what is answered, and that a pause needs nobody else. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
before(async () => {
  stack = await createApiStack();
  api = await stack.start();
});
after(() => stack.close());

let count = 0;
const created = async (more: Record<string, unknown> = {}): Promise<string> => {
  const document = {
    name: `job ${++count}`,
    schedule: { every: '1h' },
    target: { type: 'http', url: 'https://example.com/hook' },
    ...more,
  };
  const answer = await api.call('POST', '/api/v1/jobs', document);
  assert.equal(answer.status, 201, answer.text);
  return answer.body.id as string;
};
const bulk = (body: unknown, headers?: Record<string, string>) => api.call('POST', '/api/v1/bulk-operations', body, headers);
/** Status, code and the first place that is wrong. */
const refusal = ({ status, body }: Answer) => [status, body.code, (body.errors as { path: string }[] | undefined)?.[0]?.path];
const ended = async (path: string): Promise<Answer['body']> => {
  for (let tries = 0; tries < 600; tries += 1) {
    const { body } = await api.call('GET', path);
    if (body.finishedAt) return body;
    await sleep(100);
  }
  throw new Error(`${path} has not ended`);
};

describe('a bulk operation', () => {
  test('is refused where it could mean something else than its author thinks', async () => {
    const jobs = { filter: { q: 'job' } };
    const id = await created();
    const cases: [unknown, number, string, string | undefined][] = [
      [undefined, 422, 'invalid_operation', '/action'],
      [{ action: 'pauze', jobs }, 422, 'invalid_operation', '/action'],
      [{ action: 'pause', jobs: { filter: {} } }, 422, 'invalid_operation', '/jobs/filter'],
      [{ action: 'pause', jobs: {} }, 422, 'invalid_operation', '/jobs'],
      [{ action: 'pause', jobs: { ids: [id], filter: { q: 'x' } } }, 422, 'invalid_operation', '/jobs'],
      [{ action: 'pause', jobs: { ids: ['a name'] } }, 422, 'invalid_operation', '/jobs/ids/0'],
      [{ action: 'pause', executions: { filter: { status: ['failed'] } } }, 422, 'invalid_operation', '/jobs'],
      [{ action: 'cancel', jobs }, 422, 'invalid_operation', '/executions'],
      [{ action: 'cancel', executions: { ids: [id] } }, 422, 'invalid_operation', '/executions/ids/0'],
      [{ action: 'pause', jobs: { filter: { servise: 'x' } } }, 422, 'invalid_operation', '/jobs/filter/servise'],
      [{ action: 'pause', jobs, until: '2026-01-01T00:00:00Z' }, 422, 'invalid_operation', '/until'],
      [{ action: 'pause', jobs: { filter: { all: true, q: 'x' } } }, 422, 'invalid_operation', '/jobs/filter/all'],
      [{ action: 'change', jobs }, 422, 'invalid_operation', ''],
      [{ action: 'change', jobs, tags: { set: { a: '1' }, remove: ['a'] } }, 422, 'invalid_operation', '/tags/remove'],
      [{ action: 'change', jobs, priority: 9 }, 422, 'invalid_operation', '/priority'],
      [{ action: 'trigger', jobs, queue: 'nowhere' }, 422, 'invalid_trigger', '/queue'],
      [{ action: 'trigger', jobs, inputs: [1] }, 422, 'invalid_operation', '/inputs'],
      [{ action: 'pause', jobs, ratePerMinute: 0 }, 422, 'invalid_operation', '/ratePerMinute'],
      [{ action: 'pause', jobs: { filter: { q: 'nobody has this' } } }, 409, 'nothing_selected', undefined],
      [{ action: 'pause', jobs: { filter: { q: '\u0000' } } }, 400, 'nul_character', '/jobs/filter/q'],
    ];
    for (const [body, status, code, path] of cases) {
      const answer = await bulk(body);
      const [gotStatus, gotCode, gotPath] = refusal(answer);
      assert.equal(gotStatus, status, `${JSON.stringify(body)} ${answer.text}`);
      if (status === 422) assert.deepEqual([gotCode, gotPath], [code, path], `${JSON.stringify(body)} ${answer.text}`);
      if (status === 409) assert.equal(gotCode, code);
    }
    assert.match((await bulk({ action: 'pauze', jobs })).text, /did you mean \\"pause\\"/);
  });

  test('pauses without worker and controller: the process that was asked does it', async () => {
    const ids = [await created({ tags: { api: 'pause' } }), await created({ tags: { api: 'pause' } })];
    const body = { action: 'pause', jobs: { filter: { tag: ['api:pause'] } }, reason: 'now' };
    const dry = await bulk({ ...body, dryRun: true });
    assert.deepEqual([dry.status, dry.body.count, (dry.body.sample as { jobId: string }[]).map((one) => one.jobId)], [200, 2, ids]);
    const accepted = await bulk(body, { 'Idempotency-Key': 'once' });
    assert.equal(accepted.status, 202, accepted.text);
    const again = await bulk(body, { 'Idempotency-Key': 'once' });
    assert.deepEqual([again.body.id, again.headers.get('idempotency-replayed')], [accepted.body.id, 'true']);
    assert.equal(again.headers.get('location'), `/api/v1/bulk-operations/${accepted.body.id}`);
    const operation = await ended(`/api/v1/bulk-operations/${accepted.body.id}`);
    assert.deepEqual([operation.state, operation.progress], ['completed', { total: 2, done: 2, pending: 0, results: { succeeded: 2 } }]);
    const { body: paused } = await api.call('GET', `/api/v1/jobs?state=paused&tag=api:pause`);
    assert.equal(paused.items.length, 2);
  });

  test('tells its items page by page, and is ended once', async () => {
    const ids = [];
    for (let nth = 0; nth < 3; nth += 1) ids.push(await created());
    const { body } = await bulk({ action: 'trigger', jobs: { ids }, ratePerMinute: 1 });
    const path = `/api/v1/bulk-operations/${body.id}`;
    const first = await api.call('GET', `${path}/items?limit=2`);
    assert.deepEqual(
      first.body.items.map((item) => [item.position, item.jobId]),
      [
        [1, ids[0]],
        [2, ids[1]],
      ],
    );
    const second = await api.call('GET', `${path}/items?limit=2&cursor=${first.body.nextCursor}`);
    assert.deepEqual([second.body.items.length, second.body.nextCursor], [1, null]);
    assert.equal((await api.call('GET', `${path}/items?limit=2&result=failed&cursor=${first.body.nextCursor}`)).status, 400);
    const aborted = await api.call('POST', `${path}/abort`);
    assert.deepEqual(
      [aborted.status, aborted.body.state, (aborted.body.progress as { results: unknown }).results],
      [200, 'aborted', { aborted: 3 }],
    );
    assert.deepEqual((await api.call('POST', `${path}/abort`)).body, aborted.body);
    assert.equal((await api.call('GET', '/api/v1/bulk-operations/op_nothing')).status, 404);
    assert.equal((await api.call('GET', `/api/v1/backfills/${body.id}`)).status, 404, 'it is no backfill');
    const listed = await api.call('GET', `/api/v1/bulk-operations?kind=trigger&kind=retry&state=aborted&job=${ids[2]}`);
    assert.deepEqual(
      listed.body.items.map((item) => item.id),
      [body.id],
    );
  });
});

describe('a backfill', () => {
  test('says what it would run, then runs it under its own id', async () => {
    const job = await created();
    const to = new Date(Math.floor(Date.now() / 3_600_000) * 3_600_000);
    const body = { from: new Date(to.getTime() - 20 * 3_600_000).toISOString(), to: to.toISOString(), only: 'all', order: 'newest' };
    const dry = await api.call('POST', `/api/v1/schedule/${job}/backfill`, { ...body, dryRun: true });
    assert.deepEqual(
      [dry.status, dry.body.count, (dry.body.first as string[]).length, (dry.body.last as string[]).at(-1)],
      [200, 20, 5, body.from.replace('.000Z', 'Z')],
    );
    const accepted = await api.call('POST', `/api/v1/schedule/${job}/backfill`, body, { 'Idempotency-Key': 'backfill' });
    assert.deepEqual([accepted.status, accepted.headers.get('location')], [202, `/api/v1/backfills/${accepted.body.id}`]);
    assert.equal(
      (await api.call('POST', `/api/v1/schedule/${job}/backfill`, body, { 'Idempotency-Key': 'backfill' })).body.id,
      accepted.body.id,
    );
    const items = (await api.call('GET', `/api/v1/backfills/${accepted.body.id}/items?limit=1`)).body.items;
    assert.equal(items[0]?.slot, new Date(to.getTime() - 3_600_000).toISOString().replace('.000Z', 'Z'));
    assert.equal((await api.call('POST', `/api/v1/backfills/${accepted.body.id}/abort`)).body.state, 'aborted');
  });

  test('is refused with the place and the cure', async () => {
    const job = await created();
    const path = `/api/v1/schedule/${job}/backfill`;
    const from = new Date(Date.now() - 3_600_000).toISOString();
    assert.deepEqual(refusal(await api.call('POST', path, {})), [422, 'invalid_backfill', '/from']);
    assert.deepEqual(refusal(await api.call('POST', path, { from: '1926-01-01T00:00:00Z' })), [422, 'invalid_backfill', '/from']);
    assert.deepEqual(refusal(await api.call('POST', path, { from, to: '2099-01-01T00:00:00Z' })), [422, 'invalid_backfill', '/to']);
    assert.deepEqual(refusal(await api.call('POST', path, { from: '2016-01-01T00:00:00Z' })), [422, 'invalid_backfill', '/from']);
    assert.deepEqual(refusal(await api.call('POST', path, { from, only: 'some' })), [422, 'invalid_backfill', '/only']);
    assert.deepEqual(refusal(await api.call('POST', path, { from }))[1], 'nothing_to_backfill');
    assert.equal((await api.call('POST', '/api/v1/schedule/nobody/backfill', { from })).status, 404);
  });
});
