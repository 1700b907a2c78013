/** What people do to a job while it lives, from the outside: pause and resume, disable, delete, upsert, guarded edits, lists under change, ends and failures. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
/** Answers that a test holds back: /hold is answered when it says so. */
let release = () => {};
before(async () => {
  receiver = await startReceiver((call, response) => {
    if (call.path === '/hold') release = () => response.end('at last');
    else if (call.path === '/fails') response.writeHead(400).end('no');
    else response.end('ok');
  });
  almanac = await startAlmanac();
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const job = (name: string, more: object = {}, path = '/ok') => ({ name, target: { type: 'http', url: `${receiver.url}${path}` }, ...more });
const ok = async (status: number, what: ReturnType<typeof almanac.api.get>): Promise<Body> => {
  const answer = await what;
  assert.equal(answer.status, status, answer.text);
  return answer.body;
};
const create = (document: object) => ok(201, almanac.api.post('/jobs', document));
const slotsOf = async (id: string): Promise<Body[]> => (await almanac.api.get(`/executions/${id}?trigger=schedule&limit=200`)).body.items;
const fires = (id: string, than = 0) => until(`${id} fires`, async () => (await slotsOf(id)).length > than);

test('Temporal shows a paused job as paused, and as running again when it is resumed', async () => {
  const { id } = await create(job('paused', { schedule: { every: '1s' }, dispatch: 'dedicated' }));
  await fires(id);
  const isPaused = async () => (await almanac.temporal.schedule.getHandle(id).describe()).state.paused;
  await ok(200, almanac.api.post('/schedule/paused/pause', { reason: 'upgrade' }));
  await until('Temporal shows it', isPaused);
  await ok(200, almanac.api.post('/schedule/paused/resume'));
  await until('Temporal shows it', async () => !(await isPaused()));
  await ok(200, almanac.api.call('DELETE', `/jobs/${id}`));
});

test('a deleted job frees its name at once; what runs may finish, or is cancelled; its executions stay readable', async () => {
  for (const running of ['', '?running=cancel']) {
    const { id } = await create(job('deleted', { timeout: '1m' }, '/hold'));
    const calls = receiver.calls.length;
    const { id: execution } = await ok(202, almanac.api.post('/schedule/deleted/trigger'));
    await receiver.received(calls + 1);
    await ok(200, almanac.api.call('DELETE', `/jobs/deleted${running}`));
    assert.equal((await ok(404, almanac.api.get('/jobs/deleted'))).code, 'job_not_found');
    const again = await create(job('deleted'));
    assert.notEqual(again.id, id);
    if (running === '') release();
    const ended = await almanac.finished(id, execution);
    assert.equal(ended.status, running === '' ? 'succeeded' : 'cancelled');
    assert.equal((await ok(200, almanac.api.get(`/executions/${id}`))).items.length, 1);
    await ok(200, almanac.api.call('DELETE', `/jobs/${again.id}`));
    await until('its row is purged', async () => (await almanac.pool.query('SELECT 1 FROM jobs WHERE id = $1', [id])).rowCount === 0);
    assert.equal((await ok(200, almanac.api.get(`/executions/${id}/${execution}`))).status, ended.status);
  }
});

test('PUT by name is idempotent, If-Match guards an edit, PATCH merges, and every version stays readable', async () => {
  const document = job('upserted', { schedule: { cron: '0 3 * * *' }, tags: { a: '1' } });
  const first = await almanac.api.call('PUT', '/jobs/upserted', document);
  const second = await almanac.api.call('PUT', '/jobs/upserted', document);
  assert.deepEqual([first.status, second.status], [201, 200]);
  assert.deepEqual([second.body.id, second.body.generation], [first.body.id, 1], 'nothing has changed');
  const tag = second.headers.get('etag')!;
  const edits = await Promise.all(
    [1, 2, 3, 4, 5].map((priority) =>
      almanac.api.call('PATCH', '/jobs/upserted', { priority, tags: { b: '2' } }, { headers: { 'if-match': tag } }),
    ),
  );
  const priorities = edits.filter(({ status }) => status === 200);
  // An edit that changes nothing (priority 3 is there already) still adds the tag, so exactly one wins.
  assert.deepEqual([priorities.length, edits.filter(({ status }) => status === 412).length], [1, 4]);
  const now = await ok(200, almanac.api.get('/jobs/upserted'));
  assert.deepEqual([now.generation, now.tags, now.priority], [2, { a: '1', b: '2' }, priorities[0]!.body.priority]);
  const revisions = await ok(200, almanac.api.get('/jobs/upserted/revisions'));
  assert.deepEqual(
    revisions.items.map((each: Body) => each.generation),
    [2, 1],
  );
  assert.deepEqual((await ok(200, almanac.api.get('/jobs/upserted/revisions/1'))).document.tags, { a: '1' });
  await ok(200, almanac.api.call('PATCH', '/jobs/upserted', { tags: { a: null }, schedule: null }));
  const merged = await ok(200, almanac.api.get('/jobs/upserted'));
  assert.deepEqual([merged.tags, merged.schedule, merged.state], [{ b: '2' }, undefined, 'on_demand']);
});

test('a list is paged without doubles or gaps while jobs come and go', async () => {
  const stay = await Promise.all(
    Array.from({ length: 30 }, (_, n) => create(job(`page ${String(n).padStart(2, '0')}`, { category: 'pages' }))),
  );
  for (const sort of ['name', '-name', 'createdAt', '-createdAt']) {
    const seen: string[] = [];
    let cursor = '';
    for (let page = 0; ; page += 1) {
      const passing = await create(job(`page ${sort} ${page}`, { category: 'pages' }));
      const { items, nextCursor } = await ok(200, almanac.api.get(`/jobs?category=pages&limit=7&sort=${sort}${cursor}`));
      seen.push(...items.map((item: Body) => item.id));
      await ok(200, almanac.api.call('DELETE', `/jobs/${passing.id}`));
      if (nextCursor === null) break;
      cursor = `&cursor=${nextCursor}`;
    }
    assert.equal(new Set(seen).size, seen.length, `${sort}: no doubles`);
    for (const { id } of stay) assert.ok(seen.includes(id), `${sort}: no gaps`);
  }
});
