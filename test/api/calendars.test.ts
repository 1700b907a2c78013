import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
before(async () => {
  stack = await createApiStack();
  api = await stack.start();
});
after(() => stack.close());

const CALENDARS = '/api/v1/calendars';
const ICS = 'BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20270106\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n';
const AS_FILE = { 'Content-Type': 'text/calendar; charset=utf-8' };

test('a calendar has an address, an entity tag and versions, and is changed by those who know it', async () => {
  const made = await api.call('POST', CALENDARS, { name: 'one', holidays: [{ country: 'DE', region: 'BY' }] });
  assert.deepEqual(
    [made.status, made.headers.get('location')?.endsWith('/api/v1/calendars/one'), made.headers.get('etag')],
    [201, true, '"1"'],
  );
  assert.equal((await api.call('POST', CALENDARS, { name: 'one', dates: ['12-24'] })).status, 409);
  assert.equal((await api.call('GET', `${CALENDARS}/one`, undefined, { 'If-None-Match': '"1"' })).status, 304);
  assert.equal((await api.call('PATCH', `${CALENDARS}/one`, { dates: ['12-24'] }, { 'If-Match': '"7"' })).status, 412);
  const patched = await api.call('PATCH', `${CALENDARS}/one`, { dates: ['12-24'] }, { 'If-Match': '"1"' });
  assert.deepEqual([patched.status, patched.headers.get('etag'), patched.body.dates], [200, '"2"', ['12-24']]);
  assert.equal((await api.call('PUT', `${CALENDARS}/two`, { dates: ['12-24'] })).status, 201);
  assert.equal((await api.call('PUT', `${CALENDARS}/two`, { name: 'three', dates: ['12-24'] })).status, 422);
  const first = await api.call('GET', `${CALENDARS}?limit=1`);
  assert.deepEqual(
    first.body.items.map(({ name, version, jobs }) => [name, version, jobs]),
    [['one', 2, 0]],
  );
  const second = await api.call('GET', `${CALENDARS}?limit=1&cursor=${first.body.nextCursor}`);
  assert.deepEqual([second.body.items.map(({ name }) => name), second.body.nextCursor], [['two'], null]);
  const versions = await api.call('GET', `${CALENDARS}/one/versions?limit=1`);
  assert.deepEqual(
    versions.body.items.map(({ version }) => version),
    [2],
  );
  assert.deepEqual(
    (await api.call('GET', `${CALENDARS}/one/versions?limit=1&cursor=${versions.body.nextCursor}`)).body.items[0]!.version,
    1,
  );
  assert.equal((await api.call('GET', `${CALENDARS}/one/versions/1`)).status, 200);
  for (const version of ['3', '0', 'x', '99999999999999999999'])
    assert.equal((await api.call('GET', `${CALENDARS}/one/versions/${version}`)).status, 404);
  assert.equal((await api.call('DELETE', `${CALENDARS}/two`)).status, 204);
  assert.equal((await api.call('GET', `${CALENDARS}/two`)).status, 404);
});

test('what a calendar means in a zone can be asked for, two years at a time', async () => {
  await api.call('PUT', `${CALENDARS}/days`, { dates: ['12-24'] });
  const days = await api.call('GET', `${CALENDARS}/days/days?timezone=Asia/Tokyo&from=2026-12-01T00:00:00Z&to=2027-01-01T00:00:00Z`);
  assert.deepEqual(days.body.items, [{ from: '2026-12-23T15:00:00Z', to: '2026-12-24T15:00:00Z' }]);
  for (const query of ['timezone=Berlin', 'from=yesterday', 'to=2020-01-01T00:00:00Z', 'from=2026-01-01T00:00:00Z&to=2126-01-01T00:00:00Z'])
    assert.equal((await api.call('GET', `${CALENDARS}/days/days?${query}`)).status, 422, query);
});

test('an iCalendar file is sent as it is, once per key, and looked at beforehand', async () => {
  const dry = await api.call('POST', `${CALENDARS}/file/ics?dryRun=true`, ICS, AS_FILE);
  assert.deepEqual([dry.status, dry.body.dryRun], [200, true]);
  assert.equal((await api.call('GET', `${CALENDARS}/file`)).status, 404);
  const key = { ...AS_FILE, 'Idempotency-Key': 'a-file' };
  assert.equal((await api.call('POST', `${CALENDARS}/file/ics`, ICS, key)).status, 201);
  const again = await api.call('POST', `${CALENDARS}/file/ics`, ICS, key);
  assert.deepEqual([again.status, again.headers.get('idempotency-replayed'), again.body.version], [201, 'true', 1]);
  assert.equal((await api.call('POST', `${CALENDARS}/file/ics`, ICS)).status, 415, 'it is no JSON');
  assert.equal((await api.call('POST', CALENDARS, ICS, AS_FILE)).status, 415, 'and JSON is no file');
});

test('nonsense is answered soon, by a 4xx that says the cure, and nothing is kept of it', async () => {
  const refusals: [string, string, unknown, Record<string, string>?][] = [
    ['POST', `${CALENDARS}/x/ics`, 'x'.repeat(5_000_000), AS_FILE],
    ['POST', `${CALENDARS}/x/ics`, `BEGIN:VCALENDAR\r\n${'X-A:1\r\n'.repeat(200_000)}`, AS_FILE],
    ['POST', `${CALENDARS}/x/ics`, `${ICS}\0`, AS_FILE],
    ['POST', `${CALENDARS}/x/ics`, '', AS_FILE],
    ['POST', `${CALENDARS}/x/ics`, ICS.replace('UID:1', 'UID:1\r\nSUMMARY:\0'), AS_FILE],
    ['POST', CALENDARS, { name: 'x', ics: 'y'.repeat(5_000_000) }],
    ['POST', CALENDARS, { name: 'x', dates: Array.from({ length: 100_000 }, () => '2026-02-31') }],
    ['POST', CALENDARS, { name: 'x', dates: '12-24' }],
    ['POST', CALENDARS, { name: 'x', weekly: [{ days: [1] }] }],
    ['POST', CALENDARS, { name: 'x', ranges: [{ from: '0000-01-01', to: '9999-12-31' }] }],
    ['POST', CALENDARS, { name: 'x', holidays: [{ country: '__proto__' }, { country: 'DE', region: 'constructor' }] }],
    ['POST', CALENDARS, { name: 'x\u0000', dates: ['12-24'] }],
    ['POST', CALENDARS, [1, 2]],
    ['PUT', `${CALENDARS}/${'x'.repeat(300)}`, { dates: ['12-24'] }],
    ['PUT', `${CALENDARS}/x%2Fy`, { dates: ['12-24'] }],
    ['PATCH', `${CALENDARS}/none`, { dates: ['12-24'] }],
    ['PATCH', `${CALENDARS}/one`, null],
    ['PUT', `${CALENDARS}/x?dryRun=perhaps`, { dates: ['12-24'] }],
    ['DELETE', `${CALENDARS}/none`, undefined],
    ['GET', `${CALENDARS}?cursor=abc`, undefined],
  ];
  for (const [method, path, body, headers] of refusals) {
    const begun = performance.now();
    const answer = await api.call(method, path, body, headers);
    const said = `${method} ${path.slice(0, 60)} ${JSON.stringify(body)?.slice(0, 60)}: ${answer.status} ${answer.text.slice(0, 200)}`;
    assert.ok(answer.status >= 400 && answer.status < 500, said);
    assert.ok(String(answer.body.detail).length < 700, said);
    assert.ok(performance.now() - begun < 5_000, `not soon: ${said}`);
  }
  assert.equal((await api.call('GET', `${CALENDARS}/x`)).status, 404);
});

test('a job that names a calendar shows it on both sides', async () => {
  const job = { name: 'a', schedule: { cron: '0 12 * * *', exclude: ['everyday'] }, target: { type: 'http', url: 'https://example.com/' } };
  const refused = await api.call('POST', '/api/v1/jobs', job);
  assert.deepEqual([refused.status, (refused.body.errors as { path: string }[])[0]!.path], [422, '/schedule/exclude/0']);
  await api.call('PUT', `${CALENDARS}/everyday`, { dates: ['12-24'] });
  assert.equal((await api.call('POST', '/api/v1/jobs', job)).status, 201);
  const inUse = await api.call('DELETE', `${CALENDARS}/everyday`);
  assert.deepEqual([inUse.status, inUse.body.code, inUse.body.jobs], [409, 'calendar_in_use', 1]);
  const dry = await api.call('PATCH', `${CALENDARS}/everyday?dryRun=true`, { dates: null, weekly: [{ days: ['mon'] }] });
  assert.deepEqual([dry.status, (dry.body.replan as { affectedJobs: number }).affectedJobs], [200, 1]);
});
