/** The routes over real HTTP, Postgres and Temporal: what each answers, and that nothing a client sends is ever a 500. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Answer, type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
before(async () => {
  stack = await createApiStack();
  api = await stack.start();
});
after(() => stack.close());

let count = 0;
const document = (more: Record<string, unknown> = {}) => ({
  name: `job ${++count}`,
  schedule: { every: '1h' },
  target: { type: 'http', url: 'https://example.com/hook' },
  ...more,
});
const created = async (more: Record<string, unknown> = {}) => {
  const answer = await api.call('POST', '/api/v1/jobs', document(more));
  assert.equal(answer.status, 201, answer.text);
  return answer.body as Answer['body'] & { id: string; name: string };
};
const at = (path: string, name: string) => path.replace(':job', encodeURIComponent(name));

describe('jobs', () => {
  test('a job is created, found by id and by name, under /jobs too, with Location and ETag', async () => {
    const answer = await api.call('POST', '/jobs', document({ name: 'täglich / 1' }));
    assert.equal(answer.status, 201);
    assert.equal(answer.headers.get('location'), `/api/v1/jobs/${answer.body.id}`);
    assert.equal(answer.headers.get('etag'), '"1"');
    assert.equal(answer.body.sync, 'synced');
    for (const path of [`/api/v1/jobs/${answer.body.id}`, at('/api/v1/jobs/:job', 'täglich / 1'), `/jobs/${answer.body.id}`]) {
      const found = await api.call('GET', path);
      assert.deepEqual([found.status, found.body.name, found.headers.get('etag')], [200, 'täglich / 1', '"1"']);
    }
  });
  test('a doubled name is 409 with the id of the job that has it', async () => {
    const job = await created();
    const again = await api.call('POST', '/api/v1/jobs', document({ name: job.name }));
    assert.deepEqual([again.status, again.body.code, again.body.id], [409, 'name_taken', job.id]);
  });
  test('PUT by name creates and then replaces; what was read can be written; If-Match guards it', async () => {
    const put = (body: unknown, headers = {}) => api.call('PUT', '/api/v1/jobs/put-me', body, headers);
    const first = await put(document({ name: 'put-me' }));
    assert.equal(first.status, 201, first.text);
    const read = (await api.call('GET', '/api/v1/jobs/put-me')).body;
    const second = await put({ ...read, priority: 1 }, { 'If-Match': '"1"' });
    assert.deepEqual([second.status, second.body.generation, second.body.id], [200, 2, read.id]);
    assert.equal((await put({ ...read, priority: 2 }, { 'If-Match': '"1"' })).status, 412);
    assert.equal((await put({ ...read, priority: 2 }, { 'If-Match': 'W/"2"' })).status, 412);
    assert.equal((await put(read, { 'If-None-Match': '*' })).status, 400);
  });
  test('PATCH merges, DELETE frees the name, revisions stay', async () => {
    const job = await created();
    const patched = await api.call(
      'PATCH',
      `/api/v1/jobs/${job.id}`,
      { description: 'now', category: null },
      { 'Content-Type': 'application/merge-patch+json' },
    );
    assert.deepEqual([patched.status, patched.body.description, patched.headers.get('etag')], [200, 'now', '"2"']);
    const gone = await api.call('DELETE', `/api/v1/jobs/${job.id}`);
    assert.deepEqual([gone.status, gone.body.state], [200, 'deleting']);
    assert.equal((await api.call('GET', `/api/v1/jobs/${job.id}`)).status, 404);
    assert.equal((await api.call('POST', '/api/v1/jobs', document({ name: job.name }))).status, 201);
    const revisions = await api.call('GET', `/api/v1/jobs/${job.id}/revisions?limit=1`);
    assert.deepEqual([revisions.body.items.length, typeof revisions.body.nextCursor], [1, 'string'], revisions.text);
    const rest = await api.call('GET', `/api/v1/jobs/${job.id}/revisions?limit=5&cursor=${revisions.body.nextCursor}`);
    assert.deepEqual(rest.body.items.at(-1)?.generation, 1);
    const one = await api.call('GET', `/api/v1/jobs/${job.id}/revisions/1`);
    assert.deepEqual([one.status, one.headers.get('etag')], [200, '"1"']);
    assert.equal((await api.call('GET', `/api/v1/jobs/${job.id}/revisions/1`, undefined, { 'If-None-Match': 'W/"1"' })).status, 304);
    for (const wrong of ['0', '-1', '99', 'x', '1e9', '99999999999999999999']) {
      assert.equal((await api.call('GET', `/api/v1/jobs/${job.id}/revisions/${wrong}`)).status, 404, wrong);
    }
  });
  test('the list is paged without double and gap, in every order, and a cursor fits its own list only', async () => {
    const names = [];
    for (let index = 0; index < 7; index++)
      names.push((await created({ category: 'paged', ...(index % 2 ? { schedule: undefined } : {}) })).name);
    for (const sort of ['name', '-name', 'createdAt', '-createdAt', 'nextRunAt', '-nextRunAt']) {
      const seen: unknown[] = [];
      let cursor = '';
      do {
        const page: Answer = await api.call('GET', `/api/v1/jobs?category=paged&limit=2&sort=${sort}${cursor && `&cursor=${cursor}`}`);
        assert.equal(page.status, 200, page.text);
        seen.push(...page.body.items.map((item) => item.name));
        cursor = (page.body.nextCursor as string | null) ?? '';
      } while (cursor);
      assert.deepEqual(seen.toSorted(), names.toSorted(), sort);
    }
    const { nextCursor } = (await api.call('GET', '/api/v1/jobs?category=paged&limit=2')).body;
    for (const query of [
      `category=other&cursor=${nextCursor}`,
      `category=paged&sort=name&cursor=${nextCursor}`,
      'category=paged&cursor=e30',
      'category=paged&cursor=%21',
    ]) {
      const refused = await api.call('GET', `/api/v1/jobs?${query}`);
      assert.deepEqual([refused.status, refused.body.code], [400, 'bad_cursor'], query);
    }
    assert.equal((await api.call('GET', `/api/v1/jobs?category=paged&limit=3&cursor=${nextCursor}`)).body.items.length, 3);
  });
  test('respond-async is applied: committed, and pending', async () => {
    const answer = await api.call('POST', '/api/v1/jobs', document(), { Prefer: 'respond-async' });
    assert.deepEqual([answer.status, answer.body.sync, answer.headers.get('preference-applied')], [201, 'pending', 'respond-async']);
  });
});

describe('services', () => {
  test('a service is registered, changed, listed and removed; one that jobs name stays', async () => {
    const post = await api.call('POST', '/api/v1/services', { name: 'billing', baseUrl: 'https://billing.example.com' });
    assert.deepEqual([post.status, post.headers.get('location')], [201, `/api/v1/services/${post.body.id}`], post.text);
    const patched = await api.call('PATCH', '/api/v1/services/billing', { description: 'Bills' }, { 'If-Match': '"1"' });
    assert.deepEqual([patched.status, patched.headers.get('etag')], [200, '"2"']);
    assert.equal((await api.call('GET', '/api/v1/services/billing', undefined, { 'If-None-Match': '"2"' })).status, 304);
    const job = await created({ target: { type: 'http', service: 'billing', path: '/close' } });
    assert.equal((await api.call('DELETE', '/api/v1/services/billing')).status, 409);
    await api.call('DELETE', `/api/v1/jobs/${job.id}`);
    assert.equal((await api.call('PUT', '/api/v1/services/other', { baseUrl: 'https://other.example.com' })).status, 201);
    const page = await api.call('GET', '/api/v1/services?limit=1');
    const next = await api.call('GET', `/api/v1/services?limit=1&cursor=${page.body.nextCursor}`);
    assert.deepEqual([page.body.items[0]?.name, next.body.items[0]?.name, next.body.nextCursor], ['billing', 'other', null]);
    assert.equal((await api.call('DELETE', '/api/v1/services/other')).status, 204);
  });
});

describe('schedules', () => {
  test('a schedule is read, replaced, paused, resumed and taken away', async () => {
    const job = await created();
    const path = at('/api/v1/schedule/:job', job.name);
    assert.equal((await api.call('GET', path)).body.jobId, job.id);
    const replaced = await api.call('POST', path, { cron: '0 2 * * *', timezone: 'Europe/Berlin' });
    assert.deepEqual(
      [replaced.status, (replaced.body.nextRuns as unknown[]).length, replaced.headers.get('etag')],
      [200, 5, '"2"'],
      replaced.text,
    );
    const paused = await api.call('POST', `${path}/pause`, { reason: 'upgrade', blockManual: true });
    assert.deepEqual([paused.status, paused.body.state], [200, 'paused']);
    assert.equal((await api.call('POST', `${path}/trigger`)).status, 409);
    assert.equal((await api.call('POST', `${path}/resume`)).body.state, 'active');
    assert.equal((await api.call('DELETE', path)).body.state, 'on_demand');
    assert.equal((await api.call('POST', `${path}/pause`, { raeson: 'x' })).status, 422);
  });
  test('a preview shows the next times and takes no more than it knows', async () => {
    const preview = await api.call('POST', '/api/v1/schedule/preview', { schedule: { cron: '0 2 * * *' }, count: 3 });
    assert.deepEqual([preview.status, (preview.body.runs as unknown[]).length], [200, 3]);
    assert.equal((await api.call('POST', '/api/v1/schedule/preview', { schedule: { cron: '0 2 31 2 *' } })).status, 422);
    assert.equal((await api.call('POST', '/api/v1/schedule/preview')).status, 422);
    const link = (schedule: string, more = '') =>
      api.call('GET', `/api/v1/schedule/preview?schedule=${encodeURIComponent(schedule)}${more}`);
    const shown = await link('{"cron":"0 2 * * *"}', '&count=3&from=2026-11-21T00:00:00Z');
    assert.deepEqual(
      [shown.status, (shown.body.runs as { slot: string }[]).map((run) => run.slot.slice(8, 10))],
      [200, ['21', '22', '23']],
    );
    for (const wrong of [
      await link('{'),
      await link('{"cron":"0 2 31 2 *"}'),
      await link('{"every":"1m"}', '&count=1001'),
      await link('null'),
    ])
      assert.ok([400, 422].includes(wrong.status), wrong.text);
  });
  test('the status counts jobs and queues', async () => {
    const status = await api.call('GET', '/api/v1/schedule/status');
    assert.equal(status.status, 200, status.text);
    assert.ok((status.body.jobs as { total: number }).total > 0);
  });
});

describe('executions', () => {
  test('a trigger is 202 with Location and the execution; it is found, cancelled, terminated and retried', async () => {
    const job = await created({ overlap: 'allow_all' });
    const trigger = () => api.call('POST', at('/api/v1/schedule/:job/trigger', job.name), { input: { a: 1 } });
    const first = await trigger();
    assert.equal(first.status, 202, first.text);
    const location = first.headers.get('location') ?? '';
    assert.equal(location, `/api/v1/executions/${job.id}/${first.body.id}`);
    const found = await api.call('GET', location);
    assert.deepEqual([found.status, found.body.status, found.body.input], [200, 'queued', { a: 1 }]);
    assert.equal((await api.call('POST', `${location}/retry`)).status, 409);
    assert.equal((await api.call('POST', `${location}/cancel`)).status, 202);
    const second = await trigger();
    const ended = await api.call('POST', `${second.headers.get('location')}/terminate`);
    assert.deepEqual([ended.status, ended.body.status], [200, 'terminated'], ended.text);
    assert.equal((await api.call('POST', `${second.headers.get('location')}/terminate`)).status, 409);
    const retried = await api.call('POST', `/api/v1/executions/${job.id}/retry`);
    assert.deepEqual([retried.status, retried.body.retryOf], [202, second.body.id], retried.text);
    const named = await api.call('POST', `/api/v1/executions/${job.id}/retry`, { executionIds: [second.body.id], definition: 'original' });
    assert.deepEqual([named.status, named.body.items[0]?.retryOf], [202, second.body.id], named.text);
    const listed = await api.call('GET', `/api/v1/executions/${job.id}?status=terminated&status=queued&trigger=manual&trigger=retry`);
    assert.ok(listed.body.items.length >= 3, listed.text);
    const searched = await api.call('GET', `/api/v1/executions?jobId=${job.id}&limit=1&from=2020-01-01T00:00:00Z`);
    assert.deepEqual([searched.body.items.length, typeof searched.body.nextCursor], [1, 'string']);
    const next = await api.call(
      'GET',
      `/api/v1/executions?jobId=${job.id}&limit=1&from=2020-01-01T00:00:00Z&cursor=${searched.body.nextCursor}`,
    );
    assert.notEqual(next.body.items[0]?.id, searched.body.items[0]?.id);
  });
  test('wait answers 202 with the execution when it has not ended in time', async () => {
    const job = await created();
    const answer = await api.call('POST', `/api/v1/schedule/${job.id}/trigger?wait=50ms`);
    assert.deepEqual([answer.status, answer.body.finishedAt], [202, null]);
    assert.equal((await api.call('POST', `/api/v1/schedule/${job.id}/trigger?wait=61s`)).status, 422);
  });
});

describe('what a client may send', () => {
  const hostileNames = [
    '%00',
    '..%2f..',
    "'; DROP TABLE jobs; --",
    '"',
    '%25',
    '__proto__',
    'constructor',
    'x'.repeat(5_000),
    '%F0%9F%98%80',
    '%E2%80%AE',
    '*',
    'job_',
    'job_00000000-0000-7000-8000-000000000000',
    'svc_x',
    'null',
    '0',
    '-1',
    '1e400',
    '%20',
    '%0a',
    'job_00000000-0000-7000-8000-000000000000-9999-99-99T99:99:99Z',
    'job_00000000-0000-7000-8000-000000000000-2026-02-31T00:00:00Z',
  ];
  const hostileBodies = [
    'null',
    '0',
    '"x"',
    '[]',
    '{}',
    '[[[[]]]]',
    'true',
    '{"name":null}',
    '{"name":"x"}',
    '{"name":{"a":1},"target":5}',
    '{"target":{"type":"http"}}',
    '{"name":"\\u0000"}',
    '{"name":"\\ud800"}',
    '{"schedule":null}',
    '{"schedule":{"cron":["* * * * *",5]}}',
    '{"cron":"* * * * *","every":{}}',
    '{"every":"1e999h"}',
    '{"every":"0.0000001s"}',
    '{"at":"+275761-01-01T00:00:00Z"}',
    '{"at":"9999-12-31T23:59:59Z"}',
    '{"delay":"3653d"}',
    '{"every":"-1s"}',
    '{"endAt":"0000-01-01T00:00:00Z","every":"1s"}',
    '{"timezone":"../../etc/passwd","every":"1s"}',
    '{"executionIds":[]}',
    '{"executionIds":["x","\'"]}',
    '{"executionIds":[null]}',
    '{"definition":"else"}',
    '{"input":1e308}',
    '{"timeout":"0s"}',
    '{"timeout":"1000000d"}',
    '{"reason":5}',
    '{"blockManual":"yes"}',
    '{"count":1e9,"schedule":{"every":"1s"}}',
    '{"count":0.5,"schedule":{"every":"1s"}}',
    '{"from":"0001-01-01T00:00:00Z","schedule":{"every":"1s"}}',
    '{"from":"9999-12-31T23:59:59Z","schedule":{"cron":"* * * * *"}}',
    '{"name":"ok","target":{"type":"http","url":"http://127.0.0.1"},"schedule":{"every":"1s"}}',
    '{"name":"ok2","target":{"type":"http","url":"https://example.com"},"priority":1e20}',
    '{"name":"ok3","target":{"type":"handler","name":"x"},"retry":{"maxAttempts":1e9}}',
    '{"name":"ok4","baseUrl":"https://x.example","headers":{"a":"b\\r\\nc: d"}}',
    '{"name":"ok5","baseUrl":"https://x.example","headers":{"":""}}',
    `{"name":"ok6","target":{"type":"http","url":"https://example.com"},"tags":{"a":"${'x'.repeat(300)}"}}`,
    `{"name":"${'é'.repeat(201)}","target":{"type":"http","url":"https://example.com"}}`,
    '{"name":"e\\u0301","target":{"type":"http","url":"https://example.com"},"input":{"a":[1,{"b":null}]}}',
  ];
  const hostileQueries = [
    'limit=NaN',
    'limit=',
    'cursor=',
    'cursor=AAAA',
    'q=%',
    'q=%25_%5C',
    'tag=%00',
    'tag=:',
    'tag=:::',
    'priority=99999999999',
    'from=x',
    'from=9999-12-31T23:59:59Z',
    'to=0001-01-01T00:00:00Z',
    'from=-271821-04-20T00:00:00Z',
    'sort=%27',
    'wait=-1s',
    'wait=1y',
    'running=all',
    'jobId=%27',
    'a[b]=c',
    '&&&=&',
  ];

  test('is answered below 500 on every route, with every hostile name, body and query', async () => {
    const openapi = JSON.parse((await api.call('GET', '/openapi.json')).text) as {
      paths: Record<string, Record<string, { parameters?: { name: string }[] }>>;
    };
    const job = await created({ schedule: undefined });
    const failures: string[] = [];
    let asked = 0;
    const ask = async (method: string, path: string, body?: string, type = 'application/json') => {
      const headers = body === undefined ? {} : { 'Content-Type': type };
      const answer = await api.call(method.toUpperCase(), path, body, headers);
      asked++;
      const problem = answer.status >= 400 && !answer.headers.get('content-type')?.startsWith('application/problem+json');
      if (answer.status >= 500 || problem)
        failures.push(`${method} ${path.slice(0, 120)} ${body?.slice(0, 120)}: ${answer.status} ${answer.text.slice(0, 200)}`);
    };
    for (const [pattern, methods] of Object.entries(openapi.paths)) {
      const fill = (name: string) =>
        pattern
          .replace(/\{(job|service)\}/, name)
          .replace('{generation}', '1')
          .replace('{execution}', name);
      for (const method of Object.keys(methods)) {
        const names = pattern.includes('{') ? hostileNames : [];
        await Promise.all(names.map((name) => ask(method, fill(name), method === 'get' || method === 'delete' ? undefined : '{}')));
        if (method === 'get' || method === 'delete') {
          if (method === 'get') await Promise.all(hostileQueries.map((query) => ask(method, `${fill(job.id)}?${query}`)));
          continue;
        }
        const type = method === 'patch' ? 'application/merge-patch+json' : 'application/json';
        await Promise.all(hostileBodies.map((body) => ask(method, fill(job.id), body, type)));
        await Promise.all(hostileBodies.slice(0, 8).map((body) => ask(method, fill('new name'), body, type)));
      }
    }
    assert.deepEqual(failures, []);
    assert.ok(asked > 900, `only ${asked} requests`);
  });

  test('hostile headers are refused or ignored', async () => {
    const cases: [Record<string, string>, number][] = [
      [{ 'Idempotency-Key': 'x'.repeat(256) }, 400],
      [{ 'Idempotency-Key': 'has blank' }, 400],
      [{ 'If-Match': '' }, 400],
      [{ Prefer: ',,;=,wait=x' }, 201],
      [{ 'X-Request-Id': "'; DROP TABLE jobs" }, 201],
      [{ 'Content-Type': 'application/json; charset=utf-16' }, 415],
    ];
    for (const [headers, status] of cases) {
      const answer = await api.call('POST', '/api/v1/jobs', document(), headers);
      assert.equal(answer.status, status === 400 && 'If-Match' in headers ? 400 : status, `${JSON.stringify(headers)}: ${answer.text}`);
    }
  });
});
