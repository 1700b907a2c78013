/** PagerDuty: trouble opens an alert, recovery closes it, whatever overtakes what. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { takeEvents } from '../../../src/jobs/notifications/take-events.ts';
import { type Receiver, startReceiver } from '../../support/receiver.ts';
import { CALLER, rows } from '../jobs-under-test.ts';
import { type Notifications, notificationsUnderTest, seedJobs, silent } from './notifications-under-test.ts';

let it: Notifications;
let receiver: Receiver;
const failures = new Map<string, number>();
before(async () => {
  receiver = await startReceiver(({ path }, response) => {
    const left = failures.get(path) ?? 0;
    failures.set(path, left - 1);
    response.writeHead(left > 0 ? 500 : 202).end('{"status":"success"}');
  });
  it = await notificationsUnderTest();
});
after(async () => {
  await it.close();
  await receiver.close();
});

type Sent = {
  event_action: string;
  dedup_key: string;
  routing_key: string;
  payload?: { summary: string; severity: string; source: string };
};
async function pager(name: string, more: object = {}): Promise<() => Sent[]> {
  await it.channels.create(CALLER, { type: 'pagerduty', name, routingKey: 'R'.repeat(32), url: `${receiver.url}/${name}`, ...more });
  return () => receiver.calls.filter(({ path }) => path === `/${name}`).map(({ body }) => JSON.parse(body) as Sent);
}
const jobsOf = (channel: string, count: number, ...on: string[]) =>
  seedJobs(it.pool, channel, count, { notify: [{ on: on.length > 0 ? on : ['failed'], channel }] });
const said = (sent: Sent[]) => sent.map(({ event_action, dedup_key }) => [event_action, dedup_key]);
const lastOf = async (channel: string) => (await it.deliveries.list(CALLER, { channel, limit: 1 })).items[0]!;

describe('PagerDuty', () => {
  test('is sent a trigger, and a resolve under its key when the job has recovered, though no rule asks for that', async () => {
    const sent = await pager('pager');
    const [id] = await jobsOf('pager', 1);
    await it.raise(id!, 'failed', { error: { message: 'no such table' } });
    await it.step();
    await it.raise(id!, 'failed');
    await it.step();
    await it.raise(id!, 'recovered');
    await it.step();
    const key = sent()[0]!.dedup_key;
    assert.deepEqual(said(sent()), [
      ['trigger', key],
      ['trigger', key],
      ['resolve', key],
    ]);
    assert.deepEqual(
      [sent()[0]?.payload?.summary, sent()[0]?.payload?.severity, sent()[0]?.payload?.source, sent()[0]?.routing_key],
      ['pager-00001 failed: no such table', 'error', 'pager-00001', 'R'.repeat(32)],
    );
    await it.raise(id!, 'recovered');
    await it.step();
    assert.deepEqual([(await lastOf('pager')).state, (await lastOf('pager')).reason], ['suppressed', 'nothing_to_resolve']);
  });

  test('is sent one alert for jobs that fail together, which is closed with the last of them', async () => {
    const sent = await pager('pager-group');
    const ids = await jobsOf('pager-group', 3);
    for (const id of ids) await it.raise(id, 'failed');
    await it.step();
    for (const id of ids) {
      await it.raise(id, 'recovered');
      await it.step();
    }
    const key = sent()[0]!.dedup_key;
    assert.deepEqual(said(sent()), [
      ['trigger', key],
      ['resolve', key],
    ]);
    assert.equal(sent()[0]?.payload?.summary, '3 jobs failed');
    assert.deepEqual(await rows(it.pool, 'SELECT job_id FROM open_alerts WHERE job_id = ANY ($1)', ids), []);
  });

  test('is not sent trouble that was over before the message went', async () => {
    const sent = await pager('pager-short');
    const [short, back] = await jobsOf('pager-short', 2);
    await it.raise(short!, 'failed');
    await it.raise(back!, 'failed');
    await it.raise(short!, 'recovered');
    await it.raise(back!, 'recovered');
    await it.raise(back!, 'failed');
    await it.step();
    await it.step();
    assert.deepEqual(
      sent().map(({ event_action, payload }) => [event_action, payload?.summary]),
      [['trigger', 'pager-short-00002 failed']],
    );
    const [row] = await rows<{ jobs: string[] }>(it.pool, 'SELECT array_agg(job_id) AS jobs FROM open_alerts WHERE job_id = ANY ($1)', [
      short,
      back,
    ]);
    assert.deepEqual(row?.jobs, [back]);
  });

  test('is never sent a resolve before its trigger, however often that is tried', async () => {
    const sent = await pager('pager-down');
    failures.set('/pager-down', 2);
    const [id] = await jobsOf('pager-down', 1);
    await it.raise(id!, 'failed');
    await it.step();
    await it.raise(id!, 'recovered');
    await takeEvents(it.pool, silent);
    await it.pool.query(`UPDATE deliveries SET due_at = now() + interval '1 hour' WHERE channel_name = 'pager-down' AND kind = 'failed'`);
    assert.deepEqual(await it.step('1 minute'), ['held']);
    await it.step('2 hours');
    await it.step('2 hours');
    await it.step('2 hours');
    assert.deepEqual(
      sent().map(({ event_action }) => event_action),
      ['trigger', 'trigger', 'trigger', 'resolve'],
    );
  });

  test('is resolved while muted and in quiet hours, and leaves nothing behind of a test', async () => {
    const sent = await pager('pager-muted');
    const [id] = await jobsOf('pager-muted', 1, 'failed', 'missed');
    await it.raise(id!, 'missed');
    await it.step();
    await it.channels.patch(CALLER, 'pager-muted', { mutedUntil: '2099-01-01T00:00:00Z' });
    await it.raise(id!, 'failed');
    await it.raise(id!, 'recovered');
    await it.step();
    await it.step();
    assert.deepEqual(
      sent().map(({ event_action }) => event_action),
      ['trigger', 'resolve'],
    );
    assert.equal((await it.deliveries.test(CALLER, 'pager-muted')).state, 'delivered');
    assert.deepEqual(
      sent()
        .slice(2)
        .map(({ event_action, payload }) => [event_action, payload?.severity]),
      [
        ['trigger', 'info'],
        ['resolve', undefined],
      ],
    );
  });
});
