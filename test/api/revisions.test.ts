/** Versions of a job over HTTP. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
let job: string;
before(async () => {
  stack = await createApiStack();
  api = await stack.start();
  const document = {
    name: 'versions',
    schedule: { cron: '0 2 * * *' },
    target: { type: 'http', url: 'https://example.com/' },
    priority: 3,
  };
  job = (await api.call('POST', '/api/v1/jobs', document, { Prefer: 'respond-async' })).body.id as string;
  await api.call('PATCH', `/api/v1/jobs/${job}`, { priority: 1 }, { Prefer: 'respond-async' });
});
after(() => stack.close());

const rollback = (generation: number | string, query = '', headers: Record<string, string> = {}, body?: unknown) =>
  api.call('POST', `/api/v1/jobs/${job}/revisions/${generation}/rollback${query}`, body, { Prefer: 'respond-async', ...headers });

test('two versions are compared', async () => {
  const { status, body } = await api.call('GET', '/api/v1/jobs/versions/revisions/2/diff?against=1');
  assert.equal(status, 200);
  assert.deepEqual(body, { from: 1, to: 2, patch: [{ op: 'replace', path: '/priority', value: 1 }], mergePatch: { priority: 1 } });
  assert.deepEqual((await api.call('GET', `/api/v1/jobs/${job}/revisions/2/diff`)).body, body);
});

test('a rollback is tried, then done once per Idempotency-Key, and only on the version that was read', async () => {
  const plan = await rollback(1, '?dryRun=true');
  assert.deepEqual([plan.status, plan.body.dryRun, plan.body.from, plan.body.to, plan.body.mergePatch], [200, true, 2, 1, { priority: 3 }]);
  assert.equal((await api.call('GET', `/api/v1/jobs/${job}`)).body.generation, 2);

  assert.equal((await rollback(1, '', { 'If-Match': '"1"' })).status, 412);
  const done = await rollback(1, '', { 'If-Match': '"2"', 'Idempotency-Key': 'back' });
  assert.deepEqual([done.status, done.headers.get('etag'), done.body.priority, done.body.generation], [200, '"3"', 3, 3]);
  const again = await rollback(1, '', { 'If-Match': '"2"', 'Idempotency-Key': 'back' });
  assert.deepEqual([again.status, again.headers.get('idempotency-replayed'), again.body.generation], [200, 'true', 3]);
});

test('nonsense is refused', async () => {
  for (const [answer, status, code] of [
    [rollback(99), 404, 'revision_not_found'],
    [rollback(0), 404, 'revision_not_found'],
    [rollback('9'.repeat(30)), 404, 'revision_not_found'],
    [rollback('1e3'), 404, 'revision_not_found'],
    [rollback(1, '?dryRun=perhaps'), 422, 'invalid_query'],
    [rollback(1, '', {}, { generation: 2 }), 422, undefined],
    [api.call('GET', `/api/v1/jobs/${job}/revisions/2/diff?against=0`), 422, 'invalid_query'],
    [api.call('GET', `/api/v1/jobs/${job}/revisions/2/diff?against=77`), 404, 'revision_not_found'],
    [api.call('GET', '/api/v1/jobs/none/revisions/2/diff'), 404, 'job_not_found'],
  ] as const) {
    const { status: got, body } = await answer;
    assert.equal(got, status, JSON.stringify(body));
    if (code) assert.equal(body.code, code);
  }
});

test('a deleted job keeps its versions, and is not brought back', async () => {
  await api.call('DELETE', `/api/v1/jobs/${job}`, undefined, { Prefer: 'respond-async' });
  assert.equal((await api.call('GET', `/api/v1/jobs/${job}/revisions/2/diff?against=1`)).status, 200);
  const { status, body } = await rollback(1);
  assert.deepEqual([status, body.code], [410, 'job_deleted']);
});
