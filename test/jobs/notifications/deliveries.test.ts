import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { deliveryRecord } from '../../../src/jobs/notifications/delivery-store.ts';
import { NOTIFY_KINDS } from '../../../src/jobs/notifications/notify-rules.ts';
import { takeEvents } from '../../../src/jobs/notifications/take-events.ts';
import { type ReceivedCall, type Receiver, startReceiver } from '../../support/receiver.ts';
import { CALLER, refused, rows } from '../jobs-under-test.ts';
import { type Notifications, notificationsUnderTest, PUBLIC_URL, seedJobs, silent } from './notifications-under-test.ts';

let it: Notifications;
let receiver: Receiver;
/** Statuses that the next calls to a path are answered with; 200 when there are none. */
const answers = new Map<string, { status: number; headers?: Record<string, string> }[]>();
before(async () => {
  receiver = await startReceiver(({ path }, response) => {
    const { status, headers = {} } = answers.get(path)?.shift() ?? { status: 200 };
    response.writeHead(status, headers).end('said');
  });
  it = await notificationsUnderTest();
});
after(async () => {
  await it.close();
  await receiver.close();
});

/** A webhook of its own path, and what came to it. */
async function webhook(name: string, more: object = {}): Promise<{ id: string; secret: string; calls: () => ReceivedCall[] }> {
  const { value } = await it.channels.create(CALLER, { type: 'webhook', name, url: `${receiver.url}/${name}`, ...more });
  assert.ok(value.type === 'webhook');
  return { id: value.id, secret: value.secret ?? '', calls: () => receiver.calls.filter(({ path }) => path === `/${name}`) };
}
const rule = (channel: string, ...on: string[]) => ({ notify: [{ on, channel }] });
type Job = { name: string; reason: string | null };
type Body = { type: string; data: { headline: string; events: number; jobCount: number; url: string; jobs: Job[] } };
const bodyOf = (call: ReceivedCall | undefined) => JSON.parse(call?.body ?? '{}') as Body;
const last = async (channel: string) => (await it.deliveries.list(CALLER, { channel, limit: 1 })).items[0]!;

describe('an event', () => {
  test('of each kind is told to those that asked for it, and to nobody else, signed as Standard Webhooks has it', async () => {
    const all = await webhook('all-kinds');
    const none = await webhook('other-kinds');
    const id = await it.job('of-all-kinds', {
      notify: [
        { on: [...NOTIFY_KINDS], channel: 'all-kinds' },
        { on: ['late'], channel: 'other-kinds' },
      ],
    });
    for (const kind of NOTIFY_KINDS) await it.raise(id, kind, { reason: `because of ${kind}` });
    await it.step();
    assert.deepEqual(
      all
        .calls()
        .map((call) => bodyOf(call).type)
        .sort(),
      NOTIFY_KINDS.map((kind) => `job.${kind}`).sort(),
    );
    assert.deepEqual(
      none.calls().map((call) => bodyOf(call).type),
      ['job.late'],
    );
    const call = all.calls()[0]!;
    const verified = new Webhook(all.secret).verify(call.body, call.headers as Record<string, string>) as {
      data: { jobs: { name: string }[] };
    };
    assert.equal(verified.data.jobs[0]?.name, 'of-all-kinds');
    assert.throws(() => new Webhook(all.secret).verify(`${call.body} `, call.headers as Record<string, string>));
    const failed = all
      .calls()
      .map(bodyOf)
      .find(({ type }) => type === 'job.failed')!;
    assert.equal(failed.data.headline, 'of-all-kinds failed');
    assert.equal(failed.data.jobs[0]?.reason, 'because of failed');
  });

  test('is told once, however many rules of job, service and team name the channel', async () => {
    const hook = await webhook('many-rules');
    await it.services.create(CALLER, { name: 'ruled', baseUrl: 'https://example.com', ...rule('many-rules', 'failed') });
    await it.teamNotify.put(CALLER, {
      rules: [{ on: ['failed'], channel: 'many-rules', filter: { category: ['batch'], tags: { env: 'prod' } } }],
    });
    const both = await it.job('by-all', { service: 'ruled', category: 'batch', tags: { env: 'prod' }, ...rule('many-rules', 'failed') });
    const byService = await it.job('by-service', { service: 'ruled' });
    const byTeam = await it.job('by-team', { category: 'batch', tags: { env: 'prod', x: 'y' } });
    const byNone = await it.job('by-none', { category: 'batch', tags: { env: 'test' } });
    for (const id of [both, byService, byTeam, byNone]) await it.raise(id, 'failed');
    await it.step();
    assert.equal(hook.calls().length, 1);
    assert.deepEqual(
      bodyOf(hook.calls()[0]).data.jobs.map(({ name }) => name),
      ['by-all', 'by-service', 'by-team'],
    );
    assert.equal((await last('many-rules')).events, 3);
    await it.teamNotify.put(CALLER, { rules: [] });
  });

  test('of a job that is gone, and one that can not be read, keep nobody else waiting', async () => {
    const hook = await webhook('poison');
    const [broken, good] = await seedJobs(it.pool, 'poisoned', 2, rule('poison', 'failed'));
    await it.pool.query('ALTER TABLE jobs DISABLE TRIGGER USER');
    await it.pool.query(`UPDATE jobs SET document = '{"notify": {"on": 3}}' WHERE id = $1`, [broken]);
    await it.pool.query('ALTER TABLE jobs ENABLE TRIGGER USER');
    await it.raise('job_that_never_was', 'failed');
    await it.raise(broken!, 'failed');
    await it.raise(good!, 'failed', { error: { message: 7 } });
    await it.step();
    assert.equal(hook.calls().length, 1);
    const left = await rows(it.pool, 'SELECT id FROM job_events WHERE taken_at IS NULL');
    assert.deepEqual(left, []);
    await it.pool.query('DELETE FROM jobs WHERE id = $1', [broken]);
  });
});

test('a Slack-compatible webhook is sent one text in its markup, or the words the channel has', async () => {
  const url = `${receiver.url}/slack`;
  await it.channels.create(CALLER, { type: 'slack', name: 'slack', url });
  await it.channels.create(CALLER, { type: 'slack', name: 'slack-own', url, templates: { body: ':fire: {{headline}} ({{job.reason}})' } });
  const id = await it.job('slacked', {
    notify: [
      { on: ['failed'], channel: 'slack' },
      { on: ['late'], channel: 'slack-own' },
    ],
  });
  await it.raise(id, 'failed', { error: { message: 'a < b' } });
  await it.raise(id, 'late', { reason: 'no <worker>' });
  await it.step();
  const texts = receiver.calls.filter(({ path }) => path === '/slack').map(({ body }) => (JSON.parse(body) as { text: string }).text);
  const link = `${PUBLIC_URL}/api/v1/jobs/${id}`;
  assert.deepEqual(texts.toSorted(), [
    `*slacked failed*\n• <${link}|slacked>: a &lt; b\n<${link}|Show in Almanac>`,
    ':fire: slacked is late (no &lt;worker&gt;)',
  ]);
});

describe('many events', () => {
  test('200 jobs that fail at once are one message with the count, the first names and a link', async () => {
    const hook = await webhook('storm');
    for (const id of await seedJobs(it.pool, 'storm', 200, rule('storm', 'failed'))) await it.raise(id, 'failed');
    await it.step();
    assert.equal(hook.calls().length, 1);
    const { data } = bodyOf(hook.calls()[0]);
    assert.deepEqual([data.events, data.jobCount, data.headline, data.jobs.length], [200, 200, '200 jobs failed', 20]);
    assert.equal(data.jobs[0]?.name, 'storm-00001');
    assert.ok(data.url.startsWith(`${PUBLIC_URL}/api/v1/executions?status=failed&status=timed_out&from=`));
    const detail = await it.deliveries.get(CALLER, (await last('storm')).id);
    assert.deepEqual([detail.state, detail.events, detail.jobs.length], ['delivered', 200, 200]);
  });

  test('are each a message of their own with a groupWindow of 0s, and one window is longer than the next while storms go on', async () => {
    const hook = await webhook('ungrouped', { groupWindow: '0s' });
    for (const id of await seedJobs(it.pool, 'ungrouped', 3, rule('ungrouped', 'failed'))) await it.raise(id, 'failed');
    await it.step();
    assert.equal(hook.calls().length, 3);
    await webhook('stormy', { groupWindow: '10s' });
    const ids = await seedJobs(it.pool, 'stormy', 2, rule('stormy', 'failed'));
    const windows: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      for (const id of ids) await it.raise(id, 'failed');
      await takeEvents(it.pool, silent);
      const { createdAt, nextAttemptAt } = await last('stormy');
      windows.push(Math.round((Date.parse(nextAttemptAt!) - Date.parse(createdAt)) / 1_000));
      await it.step('10 minutes');
    }
    assert.deepEqual(windows, [10, 20, 40]);
  });

  test('are taken once by two processes at once, and every delivery is sent by one of them', async () => {
    const hook = await webhook('two-takers', { groupWindow: '0s' });
    for (const id of await seedJobs(it.pool, 'two-takers', 60, rule('two-takers', 'failed'))) await it.raise(id, 'failed');
    await Promise.all([takeEvents(it.pool, silent, 20), takeEvents(it.pool, silent, 20), takeEvents(it.pool, silent, 20)]);
    await Promise.all([it.step(), it.step(), it.step()]);
    const ids = hook.calls().map(({ headers }) => headers['webhook-id']);
    assert.deepEqual([ids.length, new Set(ids).size], [60, 60]);
    const counted = await rows(
      it.pool,
      `SELECT count(*)::int, count(DISTINCT event_id)::int AS events FROM delivery_events WHERE channel_id = $1`,
      hook.id,
    );
    assert.deepEqual(counted, [{ count: 60, events: 60 }]);
  });
});

describe('a delivery', () => {
  test('that meets 500s is tried again under the same id, later each time, until it is taken', async () => {
    const hook = await webhook('flaky');
    answers.set('/flaky', [{ status: 500 }, { status: 503, headers: { 'retry-after': '120' } }, { status: 429 }]);
    const id = await it.job('flaky', rule('flaky', 'failed'));
    await it.raise(id, 'failed');
    const waits: number[] = [];
    for (let round = 1; round <= 4; round += 1) {
      await it.step('2 hours');
      const { state, nextAttemptAt, lastAttempt } = await last('flaky');
      const { at, durationMs } = lastAttempt as { at: string; durationMs: number };
      if (state === 'waiting') waits.push((Date.parse(nextAttemptAt!) - Date.parse(at) - durationMs) / 1_000);
    }
    assert.ok(waits[0]! >= 9 && waits[0]! <= 11, `first ${waits[0]}`);
    assert.ok(waits[1]! === 120, `as Retry-After says ${waits[1]}`);
    assert.ok(waits[2]! >= 36 && waits[2]! <= 44, `third ${waits[2]}`);
    assert.equal(new Set(hook.calls().map(({ headers }) => headers['webhook-id'])).size, 1);
    assert.deepEqual([(await last('flaky')).state, hook.calls().length], ['delivered', 4]);
    const { attemptLog } = await it.deliveries.get(CALLER, (await last('flaky')).id);
    assert.deepEqual(
      attemptLog.map((entry) => (entry as { outcome: string }).outcome),
      ['failed', 'failed', 'failed', 'delivered'],
    );
    assert.deepEqual(it.told.slice(-4), ['webhook retried', 'webhook retried', 'webhook retried', 'webhook delivered']);
    assert.match(JSON.stringify(attemptLog[1]), /answered 503 Service Unavailable: said/);
  });

  test('is given up a day after its first attempt, and at once where it makes no sense', async () => {
    await webhook('dead');
    answers.set(
      '/dead',
      Array.from({ length: 9 }, () => ({ status: 500 })),
    );
    const id = await it.job('dead', rule('dead', 'failed'));
    await it.raise(id, 'failed');
    await it.step();
    await it.pool.query(`UPDATE deliveries SET give_up_at = now() + interval '1 day' WHERE channel_name = 'dead'`);
    await it.step('1 hour');
    assert.equal((await last('dead')).state, 'waiting');
    await it.pool.query(`UPDATE deliveries SET give_up_at = now() WHERE channel_name = 'dead'`);
    await it.step('1 hour');
    assert.deepEqual([(await last('dead')).state, (await last('dead')).reason, (await last('dead')).attempts], ['failed', 'gave_up', 3]);
    await webhook('gone');
    answers.set('/gone', [{ status: 410 }]);
    await it.raise(await it.job('gone', rule('gone', 'failed')), 'failed');
    await it.step();
    assert.deepEqual([(await last('gone')).state, (await last('gone')).reason], ['failed', 'refused']);
  });

  test('whose sender died is claimed again when its lease has ended, and what the first one writes then is dropped', async () => {
    const hook = await webhook('lease');
    await it.raise(await it.job('lease', rule('lease', 'failed')), 'failed');
    await takeEvents(it.pool, silent);
    await it.pool.query(
      `UPDATE deliveries SET state = 'sending', claim = 1, attempts = 1, due_at = now() + interval '90 seconds' WHERE channel_name = 'lease'`,
    );
    assert.deepEqual(await it.step(), []);
    await it.pool.query(`UPDATE deliveries SET due_at = now() WHERE channel_name = 'lease'`);
    assert.deepEqual(await it.step(), ['delivered']);
    const { id } = await last('lease');
    const late = { at: new Date().toISOString(), outcome: 'failed', detail: 'late', durationMs: 1 } as const;
    assert.equal(await deliveryRecord(it.pool, { id, claim: '1' }, late, { next: null, reason: 'gave_up' }), false);
    assert.deepEqual([(await last('lease')).state, hook.calls().length], ['delivered', 1]);
  });

  test('is sent again when somebody asks, under the same id, and only when it has ended', async () => {
    const hook = await webhook('again');
    answers.set('/again', [{ status: 500 }]);
    await it.raise(await it.job('again', rule('again', 'failed')), 'failed');
    await it.step();
    const { id } = await last('again');
    await refused(it.deliveries.redeliver(CALLER, id), 'refused', 'not_ended');
    await it.step('1 hour');
    await it.deliveries.redeliver(CALLER, id);
    await it.step();
    assert.equal((await last('again')).requestedBy, 'tests');
    assert.deepEqual(
      hook.calls().map(({ headers }) => headers['webhook-id']),
      [id, id, id],
    );
    assert.equal(hook.calls()[1]?.body, hook.calls()[2]?.body);
    await refused(it.deliveries.redeliver(CALLER, 'dlv_x'), 'not_found', 'delivery_not_found');
    await refused(it.deliveries.get({ ...CALLER, team: 'other' }, id), 'not_found', 'delivery_not_found');
  });

  test('to a channel that is removed meanwhile ends without being sent', async () => {
    const hook = await webhook('short-lived');
    const id = await it.job('short-lived', rule('short-lived', 'failed'));
    await it.raise(id, 'failed');
    await takeEvents(it.pool, silent);
    await it.jobs.patch(CALLER, id, { notify: null }, { respondAsync: true });
    await it.channels.remove(CALLER, 'short-lived');
    await it.step();
    assert.deepEqual(
      [(await last('short-lived')).state, (await last('short-lived')).reason, hook.calls().length],
      ['suppressed', 'channel_deleted', 0],
    );
  });
});

describe('the log', () => {
  test('is read page by page, by channel, state, kind and job', async () => {
    await webhook('logged', { groupWindow: '0s' });
    const [one, two] = [
      await it.job('logged-1', rule('logged', 'failed', 'late')),
      await it.job('logged-2', rule('logged', 'failed', 'late')),
    ];
    for (const kind of ['failed', 'late', 'failed']) await it.raise(one, kind);
    await it.raise(two, 'failed');
    await it.step();
    const first = await it.deliveries.list(CALLER, { channel: 'logged', limit: 3 });
    const second = await it.deliveries.list(CALLER, { channel: 'logged', limit: 3, after: first.next! });
    assert.deepEqual([first.items.length, second.items.length, second.next], [3, 1, null]);
    const count = async (query: object) => (await it.deliveries.list(CALLER, { channel: 'logged', limit: 50, ...query })).items.length;
    assert.deepEqual(
      [await count({ job: 'logged-1' }), await count({ job: two }), await count({ kind: ['late'] }), await count({ state: ['failed'] })],
      [3, 1, 1, 0],
    );
    await refused(count({ job: 'no-such-job' }), 'not_found', 'job_not_found');
  });
});

describe('the test button', () => {
  test('sends at once, tells how it went, and is not tried again', async () => {
    const hook = await webhook('tested', { mutedUntil: '2099-01-01T00:00:00Z' });
    const good = await it.deliveries.test(CALLER, 'tested');
    assert.deepEqual([good.state, good.kind, good.attempts], ['delivered', 'test', 1]);
    assert.equal(bodyOf(hook.calls()[0]).type, 'channel.test');
    answers.set('/tested', [{ status: 500 }]);
    const bad = await it.deliveries.test(CALLER, hook.id);
    assert.deepEqual([bad.state, bad.nextAttemptAt], ['failed', null]);
    assert.match(JSON.stringify(bad.lastAttempt), /500 Internal Server Error/);
    await refused(it.deliveries.test(CALLER, 'nowhere'), 'not_found', 'channel_not_found');
  });

  test('reaches no address that targets may not reach', async () => {
    const { value } = await it.channels.create(CALLER, { type: 'webhook', name: 'inside', url: 'https://public.example/' });
    await it.pool.query(
      `UPDATE channels SET settings = json_build_object('type', 'webhook', 'name', 'inside', 'url', 'http://10.1.2.3/', 'headers', '{}'::json, 'groupWindow', '5s') WHERE id = $1`,
      [value.id],
    );
    const refusal = await it.deliveries.test(CALLER, 'inside');
    assert.equal(refusal.state, 'failed');
    assert.match(JSON.stringify(refusal.lastAttempt), /not a public address/);
  });
});
