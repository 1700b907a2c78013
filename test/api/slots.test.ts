/** The slot routes over real HTTP and Postgres: timelines, what did not run, interval health, the load map; and that nothing a client sends is a 500 or a long loop. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { minutesAgo, slotRow } from '../jobs/ledger/ledger-rows.ts';
import { type Answer, type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
let pool: Pool;
before(async () => {
  stack = await createApiStack();
  api = await stack.start();
  pool = createPool(
    { DATABASE_URL: stack.databaseUrl, DATABASE_POOL: 2, DATABASE_CONNECT_TIMEOUT_MS: 5_000 },
    createLog('test', 'silent'),
    'test',
  );
});
after(async () => {
  await pool.end();
  await stack.close();
});

let count = 0;
async function created(more: Record<string, unknown> = {}): Promise<{ id: string; name: string }> {
  const document = {
    name: `job ${++count}`,
    schedule: { every: '1m' },
    target: { type: 'http', url: 'https://example.com/hook' },
    ...more,
  };
  const answer = await api.call('POST', '/api/v1/jobs', document, { Prefer: 'respond-async' });
  assert.equal(answer.status, 201, answer.text);
  return answer.body as unknown as { id: string; name: string };
}
const get = (path: string) => api.call('GET', `/api/v1${path}`);
const instant = (at: Date) => at.toISOString();

/** Every page of a list. */
async function pages(path: string, limit: number): Promise<Record<string, unknown>[]> {
  const items: Record<string, unknown>[] = [];
  for (let cursor: unknown = ''; cursor !== null; ) {
    const answer = await get(`${path}&limit=${limit}${cursor === '' ? '' : `&cursor=${cursor}`}`);
    assert.equal(answer.status, 200, answer.text);
    items.push(...answer.body.items);
    cursor = answer.body.nextCursor;
  }
  return items;
}

describe('GET /schedule/{job}/slots', () => {
  test('shows a day in both directions by default, by id and by name, page by page', async () => {
    const job = await created();
    const first = await get(`/schedule/${encodeURIComponent(job.name)}/slots?limit=3`);
    assert.equal(first.status, 200, first.text);
    assert.deepEqual([first.body.items.length, first.body.items.every(({ outcome }) => outcome === 'expected')], [3, true]);
    const all = await pages(`/schedule/${job.id}/slots?outcome=expected`, 200);
    assert.ok(all.length >= 1_439 && all.length <= 1_441, `${all.length}`);
    assert.equal(new Set(all.map(({ slot }) => slot)).size, all.length);
  });

  test('refuses what is not a range, a filter or a cursor of its own, and says the cure', async () => {
    const { id } = await created();
    const refusals: [string, number, RegExp][] = [
      ['from=1970-01-01T00:00:00Z&to=2070-01-01T00:00:00Z', 422, /at most 400 days/],
      ['from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z', 422, /must be after/],
      ['from=yesterday', 422, /RFC 3339/],
      ['outcome=lost', 422, /outcome/],
      ['cursor=abc', 400, /cursor/],
      ['cursor=W10', 400, /cursor/],
      ['limit=0', 422, /limit/],
      ['page=2', 400, /page/],
      ['from=2026-01-02T00:00:00Z%00', 400, /NUL|character/i],
    ];
    for (const [query, status, says] of refusals) {
      const answer = await get(`/schedule/${id}/slots?${query}`);
      assert.equal(answer.status, status, `${query}: ${answer.text}`);
      assert.match(answer.text, says, query);
    }
    assert.equal((await get('/schedule/nobody/slots')).status, 404);
    assert.equal((await api.call('POST', `/api/v1/schedule/${id}/slots`, {})).status, 405);
    const first = await get(`/schedule/${id}/slots?limit=2`);
    assert.equal((await get(`/schedule/${id}/slots?limit=2&outcome=missed&cursor=${first.body.nextCursor}`)).status, 400);
  });
});

describe('GET /slots', () => {
  test('lists single slots and stretches of all jobs, newest first, every page once', async () => {
    const [a, b] = [await created({ category: 'ledger', tags: { env: 'prod' } }), await created({ category: 'ledger' })];
    for (const minutes of [10, 9, 8]) await slotRow(pool, a.id, minutesAgo(minutes), { status: 'skipped', reason: 'missed' });
    await slotRow(pool, b.id, minutesAgo(9), { status: 'skipped', reason: 'skipped_overlap' });
    await slotRow(pool, b.id, minutesAgo(7));
    await pool.query(
      `INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at, count) VALUES
         ('default', $1, 'missed', $2::timestamptz + interval '123 microseconds', $3, 5), ('default', $1, 'paused', $4, NULL, NULL), ('default', $1, 'frozen', $5, $6, 3),
         ('default', $1, 'paused', $2, $3, 0)`,
      [b.id, minutesAgo(9), minutesAgo(4), minutesAgo(300), minutesAgo(3_000), minutesAgo(2_990)],
    );
    const path = `/slots?category=ledger&from=${instant(minutesAgo(60))}&to=${instant(minutesAgo(0))}`;
    const whole = (await get(path)).body.items.map(({ kind, outcome, jobId, count: slots }) => [
      kind,
      outcome,
      jobId === a.id ? 'a' : 'b',
      slots,
    ]);
    assert.deepEqual(whole.toSorted(), [
      ['range', 'missed', 'b', 5],
      ['range', 'paused', 'b', null],
      ['slot', 'missed', 'a', 1],
      ['slot', 'missed', 'a', 1],
      ['slot', 'missed', 'a', 1],
      ['slot', 'skipped_overlap', 'b', 1],
    ]);
    for (const limit of [1, 2, 5]) {
      const paged = await pages(path, limit);
      assert.deepEqual(
        paged.map(({ kind, outcome, jobId, count: slots }) => [kind, outcome, jobId === a.id ? 'a' : 'b', slots]),
        whole,
      );
    }
    const outcomesOf = async (query: string) =>
      (await get(`${path}&${query}`)).body.items.map(({ kind, outcome }) => `${kind} ${outcome}`).toSorted();
    assert.deepEqual(await outcomesOf('outcome=missed'), ['range missed', 'slot missed', 'slot missed', 'slot missed']);
    assert.deepEqual(await outcomesOf('outcome=skipped_overlap&outcome=paused'), ['range paused', 'slot skipped_overlap']);
    assert.deepEqual(await outcomesOf('tag=env:prod'), ['slot missed', 'slot missed', 'slot missed']);
    assert.deepEqual(await outcomesOf(`jobId=${b.id}&outcome=missed`), ['range missed']);
    assert.deepEqual(await outcomesOf('queue=elsewhere'), []);
    assert.deepEqual(await outcomesOf(`q=${encodeURIComponent(a.name.toUpperCase())}`), ['slot missed', 'slot missed', 'slot missed']);
  });

  test('refuses a range of more than a month', async () => {
    const answer = await get('/slots?from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z');
    assert.deepEqual([answer.status, answer.body.code], [422, 'invalid_query']);
    assert.match(answer.text, /at most 31 days/);
  });
});

test('GET /schedule/health lists the worst jobs first and stands before a job of that name', async () => {
  const names = ['slow', 'quick', 'slower'];
  const jobs = await Promise.all(names.map((name) => created({ name: `health of ${name}`, category: 'health' })));
  for (const [n, share] of [0.9, 0.1, 1.7].entries()) {
    await pool.query(
      `INSERT INTO job_health (job_id, team, at, executions, interval_ms, p50_ms, p95_ms, wait_p50_ms, wait_p95_ms, share, slots_per_day, skips_per_day)
       VALUES ($1, 'default', now(), 50, 60000, 1, 2, 3, 4, $2, 1440, 7)`,
      [jobs[n]!.id, share],
    );
  }
  await created({ name: 'health' });
  const order = (items: Record<string, unknown>[]) => items.map(({ jobName }) => jobName);
  const worst = ['health of slower', 'health of slow', 'health of quick'];
  assert.deepEqual(order((await get('/schedule/health?category=health')).body.items), worst);
  assert.deepEqual(order(await pages('/schedule/health?category=health', 1)), worst);
  assert.deepEqual(order((await get('/schedule/health?category=health&atLeast=0.8')).body.items), worst.slice(0, 2));
  assert.equal((await get('/schedule/health?atLeast=much')).status, 422);
});

test('GET /schedule/load shows the next hours by queue and whom to spread', async () => {
  for (let n = 0; n < 6; n += 1) await created({ name: `herd ${n}`, schedule: { cron: '30 4 * * *' } });
  const answer = await get('/schedule/load?window=24h');
  assert.equal(answer.status, 200, answer.text);
  const map = answer.body as unknown as Answer['body'] & {
    queues: { queue: string; starts: number[] }[];
    worst: { minute: string; starts: number }[];
    suggestions: { jobs: number; spread: string; some: { jobName: string }[] }[];
  };
  assert.equal(map.queues[0]?.starts.length, 1_440);
  assert.match(map.worst[0]!.minute, /T04:30:00/);
  const herd = map.suggestions.find(({ some }) => some[0]?.jobName.startsWith('herd'));
  assert.deepEqual([herd?.jobs, herd?.some.length], [6, 6]);
  for (const [window, status] of [
    ['8d', 422],
    ['30s', 422],
    ['1h', 200],
    ['forever', 422],
    ['999999999999d', 422],
  ] as const)
    assert.equal((await get(`/schedule/load?window=${window}`)).status, status, window);
});

test('the status says since when nobody has watched', async () => {
  await pool.query(`INSERT INTO watchdog_heartbeats (process, at, looked, overdue) VALUES ('host:1', now() - interval '2 minutes', 1, 0)`);
  const { body } = await get('/schedule/status');
  const watchdog = body.watchdog as { silentSince: string | null; lastLookAt: string };
  assert.equal(watchdog.silentSince, watchdog.lastLookAt);
  const ready = await api.call('GET', '/health/ready');
  assert.deepEqual([ready.status, /warning: silent since 2/.test(ready.text)], [200, true], ready.text);
  await pool.query('UPDATE watchdog_heartbeats SET at = now()');
  assert.equal(((await get('/schedule/status')).body.watchdog as { silentSince: string | null }).silentSince, null);
});
