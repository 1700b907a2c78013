/** Quiet hours and mutes: what is held, what is not told, and what passes all the same. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { quietHoursSchema, quietUntil } from '../../../src/jobs/notifications/quiet-hours.ts';
import { takeEvents } from '../../../src/jobs/notifications/take-events.ts';
import { type Receiver, startReceiver } from '../../support/receiver.ts';
import { actionsOf, CALLER, refused } from '../jobs-under-test.ts';
import { type Notifications, notificationsUnderTest, seedJobs, silent } from './notifications-under-test.ts';

let it: Notifications;
let receiver: Receiver;
before(async () => {
  receiver = await startReceiver();
  it = await notificationsUnderTest();
});
after(async () => {
  await it.close();
  await receiver.close();
});

const webhook = (name: string, more: object = {}) =>
  it.channels.create(CALLER, { type: 'webhook', name, url: `${receiver.url}/${name}`, ...more });
const callsOf = (name: string) => receiver.calls.filter(({ path }) => path === `/${name}`);
const rule = (channel: string, ...on: string[]) => ({ notify: [{ on, channel }] });
const lastOf = async (channel: string) => (await it.deliveries.list(CALLER, { channel, limit: 1 })).items[0]!;
/** Quiet now, and until some hours from now. */
const NOW_QUIET = {
  periods: [
    { from: '00:00', to: '24:00', days: [dayName(0)] },
    { from: '00:00', to: '24:00', days: [dayName(1)] },
  ],
};
function dayName(ahead: number): string {
  return ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'][(new Date().getUTCDay() + ahead) % 7]!;
}

describe('quiet hours', () => {
  const parse = (quiet: object) => quietHoursSchema.parse(quiet);
  const until = (quiet: object, at: string) => quietUntil(parse(quiet), new Date(at))?.toISOString() ?? null;

  test('end when their period does, over midnight too, in their own zone and on days when clocks change', () => {
    const nights = { timezone: 'Europe/Berlin', periods: [{ from: '22:00', to: '07:00' }] };
    assert.equal(until(nights, '2026-06-01T19:59:59Z'), null);
    assert.equal(until(nights, '2026-06-01T20:00:00Z'), '2026-06-02T05:00:00.000Z');
    assert.equal(until(nights, '2026-06-02T04:59:59Z'), '2026-06-02T05:00:00.000Z');
    assert.equal(until(nights, '2026-06-02T05:00:00Z'), null);
    assert.equal(until(nights, '2026-10-24T21:00:00Z'), '2026-10-25T06:00:00.000Z', 'the night with 25 hours');
  });

  test('begin on the days that are named, and those that meet are one', () => {
    const weekend = {
      periods: [
        { days: ['sat', 'sun'], from: '00:00', to: '24:00' },
        { days: ['fri'], from: '18:00', to: '00:00' },
      ],
    };
    assert.equal(until(weekend, '2026-06-05T18:00:00Z'), '2026-06-08T00:00:00.000Z');
    assert.equal(until(weekend, '2026-06-05T17:59:59Z'), null);
    assert.equal(until(weekend, '2026-06-08T00:00:00Z'), null);
  });

  test('are refused when they leave no time, or name no zone and no time that there is', () => {
    const wrong = (quiet: object) => quietHoursSchema.safeParse(quiet).error?.issues.map(({ path }) => path.join('/'));
    assert.deepEqual(wrong({ periods: [{ from: '00:00', to: '24:00' }] }), ['periods']);
    assert.deepEqual(wrong({ timezone: 'Mars/Base', periods: [{ from: '01:00', to: '02:00' }] }), ['timezone']);
    assert.deepEqual(wrong({ periods: [{ from: '25:00', to: '02:00' }] }), ['periods/0/from']);
    assert.deepEqual(wrong({ periods: [{ from: '02:00', to: '02:00' }] }), ['periods/0/to']);
    assert.deepEqual(wrong({ periods: [] }), ['periods']);
  });

  test('hold messages and send them together at their end; what may not wait passes', async () => {
    await webhook('quiet', { quietHours: { ...NOW_QUIET, except: ['failed_to_start'] } });
    for (const id of await seedJobs(it.pool, 'quiet', 3, rule('quiet', 'failed', 'failed_to_start'))) {
      await it.raise(id, 'failed');
      await takeEvents(it.pool, silent);
    }
    const [urgent] = await seedJobs(it.pool, 'urgent', 1, rule('quiet', 'failed_to_start'));
    await it.raise(urgent!, 'failed_to_start');
    await it.step();
    assert.deepEqual(
      callsOf('quiet').map(({ body }) => JSON.parse(body).type),
      ['job.failed_to_start'],
    );
    const held = (await it.deliveries.list(CALLER, { channel: 'quiet', state: ['gathering'], limit: 9 })).items;
    assert.deepEqual(
      held.map(({ events, reason }) => [events, reason]),
      [[3, 'quiet_hours']],
    );
    assert.ok(Date.parse(held[0]!.nextAttemptAt!) > Date.now() + 3_600_000);
    await it.channels.patch(CALLER, 'quiet', { quietHours: null });
    await it.step();
    assert.deepEqual(JSON.parse(callsOf('quiet')[1]!.body).data.jobCount, 3);
  });

  test('that begin while something is tried again hold it as well', async () => {
    await webhook('late-quiet');
    const [id] = await seedJobs(it.pool, 'late-quiet', 1, rule('late-quiet', 'failed'));
    await it.raise(id!, 'failed');
    await takeEvents(it.pool, silent);
    await it.channels.patch(CALLER, 'late-quiet', { quietHours: NOW_QUIET });
    assert.deepEqual(await it.step(), ['held']);
    const { state, reason, attempts } = await lastOf('late-quiet');
    assert.deepEqual([state, reason, attempts], ['waiting', 'quiet_hours', 0]);
    await it.channels.patch(CALLER, 'late-quiet', { quietHours: null });
    assert.deepEqual(await it.step(), ['delivered']);
  });
});

describe('a mute', () => {
  const soon = () => new Date(Date.now() + 3_600_000).toISOString();

  test('of a channel tells nobody, also what was under way, and the log says so', async () => {
    await webhook('muted', { mutedUntil: soon() });
    await webhook('muted-late');
    const [id] = await seedJobs(it.pool, 'muted', 1, {
      notify: [
        { on: ['failed'], channel: 'muted' },
        { on: ['failed'], channel: 'muted-late' },
      ],
    });
    await it.raise(id!, 'failed');
    await takeEvents(it.pool, silent);
    await it.channels.patch(CALLER, 'muted-late', { mutedUntil: soon() });
    await it.step();
    for (const name of ['muted', 'muted-late']) {
      const { state, reason } = await lastOf(name);
      assert.deepEqual([state, reason, callsOf(name).length], ['suppressed', 'channel_muted', 0]);
    }
    await it.deliveries.redeliver(CALLER, (await lastOf('muted')).id);
    assert.deepEqual(await it.step(), ['delivered'], 'whoever asks for it gets it');
    await it.channels.patch(CALLER, 'muted', { mutedUntil: '2020-01-01T00:00:00Z' });
    await it.raise(id!, 'failed');
    assert.deepEqual((await it.step()).toSorted(), ['delivered', 'suppressed']);
  });

  test('of a job holds for that job only, until its time, and is audited', async () => {
    await webhook('job-mutes');
    const [one, other] = [await it.job('muted-job', rule('job-mutes', 'failed')), await it.job('loud-job', rule('job-mutes', 'failed'))];
    const mute = await it.jobMutes.mute(CALLER, 'muted-job', { until: soon(), reason: 'maintenance' });
    assert.deepEqual([mute.mutedBy, mute.reason], ['tests', 'maintenance']);
    for (const id of [one, other]) await it.raise(id, 'failed');
    await it.step();
    assert.deepEqual(
      callsOf('job-mutes').map(({ body }) => JSON.parse(body).data.headline),
      ['loud-job failed'],
    );
    const { items } = await it.deliveries.list(CALLER, { job: 'muted-job', limit: 5 });
    assert.deepEqual(
      items.map(({ state, reason }) => [state, reason]),
      [['suppressed', 'job_muted']],
    );
    assert.equal((await it.jobMutes.unmute(CALLER, one)).mutedUntil, null);
    await it.raise(one, 'failed');
    await it.step();
    assert.equal(callsOf('job-mutes').length, 2);
    assert.deepEqual((await actionsOf(it.pool, one)).slice(-2), ['job.muted', 'job.unmuted']);
    await refused(it.jobMutes.mute(CALLER, one, { until: '2020-01-01T00:00:00Z' }), 'invalid', 'invalid_mute');
    await refused(it.jobMutes.mute(CALLER, 'no-such-job', { until: soon() }), 'not_found', 'job_not_found');
  });
});
