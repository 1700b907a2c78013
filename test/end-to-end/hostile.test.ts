/** A hostile stranger at every endpoint of a real API: never a 500, never a hang, and each refusal names the place and the cure. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac } from '../support/almanac.ts';
import type { Answer } from '../support/client.ts';
import { FULL_JOB, NONSENSE, QUERIES, random, STRANGE_IDS, spoiled } from './nonsense.ts';
import { BODIES_OF_SLOTS, LISTS_OF_SLOTS, requestsWith } from './nonsense-places.ts';

const ROUNDS = Number(process.env.HOSTILE_ROUNDS ?? 420);
const SEED = Number(process.env.HOSTILE_SEED ?? 1);
const WITHIN_MS = 10_000;

let almanac: Almanac;
let job: string;
before(async () => {
  almanac = await startAlmanac({ workers: 0, controllers: 0, settings: { ALMANAC_TARGET_ALLOW: '' } });
  job = (await almanac.api.post('/jobs', { name: 'victim', target: { type: 'http', url: 'https://example.com' } })).body.id;
  await almanac.api.post('/services', { name: 'victim', baseUrl: 'https://example.com' });
  await almanac.api.post('/calendars', { name: 'victim', dates: ['12-24'] });
  await almanac.api.post('/channels', { type: 'slack', name: 'victim', url: 'https://example.com/s' });
});
after(() => almanac?.close());

/** Every refusal is a problem that says what is wrong where; nothing is our fault. */
function judge(what: string, { status, headers, body, text }: Answer): void {
  const about = () => `${what} → ${status} ${text.slice(0, 400)}`;
  assert.ok(status < 500, about());
  assert.doesNotMatch(text, /postgres|pg_|node_modules|SELECT |\.ts:\d/i, about());
  if (status < 400) return;
  assert.equal(headers.get('content-type'), 'application/problem+json; charset=utf-8', about());
  assert.equal(body.status, status, about());
  assert.ok(body.code && body.detail && body.requestId, about());
  if (status !== 422) return;
  assert.ok(body.errors?.length > 0, about());
  for (const error of body.errors) {
    assert.ok(typeof error.path === 'string' && error.code && error.message.length > 3 && error.message.length < 700, about());
    assert.doesNotMatch(error.message, /^Invalid |^Unrecognized |expected .* received/, about());
  }
}
const send = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> => {
  const what = `${method} ${path.slice(0, 120)} ${(typeof body === 'string' ? body : (JSON.stringify(body) ?? '')).slice(0, 300)}`;
  const answer = await almanac.api.call(method, path, body, { headers, signal: AbortSignal.timeout(WITHIN_MS) }).catch((error: Error) => {
    throw new Error(`${what}: ${error.message} ${error.cause ?? ''}`);
  });
  judge(what, answer);
  return answer;
};

const BODIES: [string, string, unknown][] = [
  ...BODIES_OF_SLOTS,
  ['POST', '/jobs', FULL_JOB],
  ['PUT', '/jobs/victim', { ...FULL_JOB, name: 'victim' }],
  ['PATCH', '/jobs/victim', { schedule: { every: '1h', offset: '5m' }, tags: { a: null }, input: { deep: { er: 1 } } }],
  ['POST', '/jobs', { ...FULL_JOB, schedule: { every: '15m', offset: '5m' }, target: { type: 'handler', name: 'h' } }],
  ['POST', '/jobs', { ...FULL_JOB, schedule: { at: '2030-01-01T00:00:00Z' }, target: { type: 'http', service: 'victim', path: '/x' } }],
  ['POST', '/schedule/victim', FULL_JOB.schedule],
  ['POST', '/schedule/victim/pause', { reason: 'r', blockManual: false, until: '2030-01-01T00:00:00Z' }],
  ['POST', '/schedule/victim/resume', { catchUp: 'last', order: 'oldest', ratePerMinute: 60, dryRun: true }],
  [
    'POST',
    '/schedule/victim/backfill',
    {
      from: '2026-01-01T00:00:00Z',
      to: '2026-01-02T00:00:00Z',
      only: 'missed',
      reasons: ['missed'],
      order: 'newest',
      ratePerMinute: 60,
      reason: 'r',
    },
  ],
  [
    'POST',
    '/bulk-operations',
    {
      action: 'pause',
      jobs: { filter: { tag: ['a:b'], q: 'nobody', priority: 1, state: 'active' } },
      until: '2030-01-01T00:00:00Z',
      reason: 'r',
      dryRun: true,
    },
  ],
  [
    'POST',
    '/bulk-operations',
    { action: 'change', jobs: { filter: { q: 'nobody' } }, tags: { set: { a: 'b' }, remove: ['c'] }, category: null },
  ],
  [
    'POST',
    '/bulk-operations',
    {
      action: 'retry',
      executions: { filter: { status: ['failed'], from: '2026-01-01T00:00:00Z', q: 'nobody' } },
      definition: 'original',
      ratePerMinute: 5,
    },
  ],
  ['POST', '/schedule/victim/trigger', { input: { a: 1 }, timeout: '5s' }],
  [
    'POST',
    '/schedule/preview',
    { schedule: { cron: ['0 3 * * *', '*/5 * * * *'], timezone: 'UTC' }, count: 5, from: '2026-01-01T00:00:00Z' },
  ],
  ['POST', '/services', { name: 'svc', baseUrl: 'https://example.com/base', headers: { a: 'b' }, description: 'd' }],
  ['PUT', '/services/victim', { name: 'victim', baseUrl: 'https://example.com', headers: { a: 'b' } }],
  ['PATCH', '/services/victim', { headers: { a: null } }],
  ['POST', '/executions/victim/retry', { executionIds: ['x'], definition: 'current' }],
  [
    'POST',
    '/channels',
    {
      type: 'webhook',
      name: 'c',
      url: 'https://example.com/c',
      headers: { a: 'b' },
      groupWindow: '5s',
      mutedUntil: '2030-01-01T00:00:00Z',
    },
  ],
  [
    'PUT',
    '/channels/victim',
    { type: 'slack', name: 'victim', url: 'https://example.com/s', templates: { body: '{{#jobs}}{{name}}{{/jobs}}' } },
  ],
  [
    'PATCH',
    '/channels/victim',
    { quietHours: { timezone: 'UTC', periods: [{ days: ['sat'], from: '22:00', to: '07:00' }], except: ['failed'] } },
  ],
  [
    'POST',
    '/channels',
    {
      type: 'email',
      name: 'm',
      to: ['a@example.com'],
      from: 'b@example.com',
      smtp: { host: 'm.example.com', port: 25, tls: 'optional', username: 'u', password: 'p' },
    },
  ],
  [
    'POST',
    '/channels',
    { type: 'pagerduty', name: 'p', routingKey: 'a'.repeat(32), severity: 'error', templates: { subject: '{{headline}}' } },
  ],
  [
    'PUT',
    '/notification-rules',
    { rules: [{ on: ['failed'], channel: 'victim', filter: { category: ['a'], service: ['b'], tags: { c: 'd' } } }] },
  ],
  ['PUT', '/jobs/victim/mute', { until: '2030-01-01T00:00:00Z', reason: 'r' }],
  ['PATCH', '/services/victim', { notify: [{ on: ['failed'], channel: 'victim' }] }],
  ['PATCH', '/jobs/victim', { notify: [{ on: ['failed', 'missed'], channel: 'victim' }] }],
];

test(`${ROUNDS} documents with one place of nonsense each are taken or refused with the place and the cure`, async (t) => {
  const next = random(SEED);
  const statuses: Record<number, number> = {};
  for (let round = 0; round < ROUNDS; round += 1) {
    const [method, path, document] = BODIES[round % BODIES.length]!;
    const { status } = await send(method, path, spoiled(document, next));
    statuses[status] = (statuses[status] ?? 0) + 1;
  }
  t.diagnostic(JSON.stringify(statuses));
  assert.ok((statuses[422] ?? 0) > ROUNDS / 3);
});

test('every value of nonsense as a whole body of every endpoint', async () => {
  for (const [method, path] of BODIES) await Promise.all(NONSENSE.map((value) => send(method, path, JSON.stringify(value) ?? 'undefined')));
});

test('strange ids and names in every place of a path', async () => {
  for (const id of STRANGE_IDS) {
    await Promise.all(
      [
        ['GET', `/jobs/${id}`],
        ['PUT', `/jobs/${id}`, { target: { type: 'http', url: 'https://example.com' } }],
        ['PATCH', `/jobs/${id}`, { priority: 1 }],
        ['DELETE', `/jobs/${id}`],
        ['GET', `/jobs/${id}/revisions`],
        ['GET', `/jobs/victim/revisions/${id}`],
        ['GET', `/services/${id}`],
        ['DELETE', `/services/${id}`],
        ['GET', `/channels/${id}`],
        ['PUT', `/channels/${id}`, { type: 'slack', url: 'https://example.com' }],
        ['DELETE', `/channels/${id}`],
        ['POST', `/channels/${id}/test`],
        ['GET', `/deliveries/${id}`],
        ['POST', `/deliveries/${id}/redeliver`],
        ['PUT', `/jobs/${id}/mute`, { until: '2030-01-01T00:00:00Z' }],
        ['DELETE', `/jobs/${id}/mute`],
        ['GET', `/schedule/${id}`],
        ['POST', `/schedule/${id}`, { every: '1h' }],
        ['POST', `/schedule/${id}/trigger`],
        ['POST', `/schedule/${id}/pause`],
        ['GET', `/executions/${id}`],
        ['GET', `/executions/victim/${id}`],
        ['GET', `/executions/${id}/${id}`],
        ['POST', `/executions/victim/${id}/cancel`],
        ['POST', `/executions/victim/${id}/terminate`],
        ['POST', `/executions/victim/${id}/retry`],
        ['POST', `/executions/${id}/retry`],
        ['GET', `//${id}`],
        ...requestsWith(id),
      ].map(([method, path, body]) => send(method as string, path as string, body)),
    );
  }
  assert.equal((await send('GET', `/jobs/${job}`)).status, 200, 'the victim is still there');
});

test('strange queries everywhere', async () => {
  for (const query of QUERIES) {
    await Promise.all(
      [
        '/jobs',
        '/services',
        '/channels',
        '/deliveries',
        '/executions',
        '/executions/victim',
        '/schedule/status',
        '/schedule/victim',
        `/jobs/${job}/revisions`,
        '//jobs',
        ...LISTS_OF_SLOTS,
      ].map((path) => send('GET', `${path}?${query}`)),
    );
    await send('POST', `/schedule/victim/trigger?${query}`);
    if (!query.startsWith('running')) await send('DELETE', `/jobs/nobody?${query}`);
  }
});
