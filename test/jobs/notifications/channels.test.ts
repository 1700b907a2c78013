import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ASYNC, actionsOf, CALLER, HTTP_TARGET, refused, rows } from '../jobs-under-test.ts';
import { type Notifications, notificationsUnderTest } from './notifications-under-test.ts';

let it: Notifications;
before(async () => {
  it = await notificationsUnderTest();
});
after(() => it.close());

const url = 'https://hooks.example.com/T0/B0/very-secret';
const slack = (name: string, more: object = {}) => ({ type: 'slack', name, url, ...more });
const KEY = 'abcdef0123456789abcdef0123456789';

describe('a channel', () => {
  test('is made, read, changed and removed, each with an audit event that holds no secret', async () => {
    const { value } = await it.channels.create(CALLER, slack('ops'));
    assert.match(value.id, /^chn_/);
    assert.equal(value.type === 'slack' && value.url, 'https://hooks.example.com/********');
    assert.deepEqual((await it.channels.get(CALLER, 'ops')).value, (await it.channels.get(CALLER, value.id)).value);
    const muted = await it.channels.patch(CALLER, 'ops', { mutedUntil: '2030-01-01T00:00:00Z', groupWindow: '10s' });
    assert.deepEqual([muted.generation, muted.value.mutedUntil, muted.value.groupWindow], [2, '2030-01-01T00:00:00Z', '10s']);
    await it.channels.remove(CALLER, 'ops');
    await refused(it.channels.get(CALLER, value.id), 'not_found', 'channel_not_found');
    assert.deepEqual(await actionsOf(it.pool, value.id), ['channel.created', 'channel.updated', 'channel.deleted']);
    const trail = await rows<{ text: string }>(
      it.pool,
      'SELECT (before::text || after::text) AS text FROM audit_events WHERE subject_id = $1',
      value.id,
    );
    assert.ok(!JSON.stringify(trail).includes('very-secret'));
  });

  test('shows the signing secret that was made once, and no other secret ever', async () => {
    const made = await it.channels.create(CALLER, {
      type: 'webhook',
      name: 'hook',
      url: 'https://example.com/a',
      headers: { 'X-Token': 'abc' },
    });
    assert.ok(made.value.type === 'webhook');
    assert.match(made.value.secret ?? '', /^whsec_[A-Za-z0-9+/=]{40,}$/);
    const seen = (await it.channels.get(CALLER, 'hook')).value;
    assert.deepEqual(seen.type === 'webhook' && [seen.secret, seen.headers], ['********', { 'X-Token': '********' }]);
    const given = await it.channels.create(CALLER, { type: 'pagerduty', name: 'pager', routingKey: KEY });
    assert.equal(given.value.type === 'pagerduty' && given.value.routingKey, '********');
    const mail = {
      type: 'email',
      name: 'mail',
      to: ['a@b.example'],
      from: 'c@d.example',
      smtp: { host: 'mail.example', username: 'u', password: 'p4ss' },
    };
    const mailed = await it.channels.create(CALLER, mail);
    assert.ok(!JSON.stringify(mailed).includes('p4ss'));
    assert.ok(!JSON.stringify(await it.channels.list(CALLER, { limit: 50 })).match(/p4ss|abcdef01|"abc"/));
  });

  test('written back as it was read keeps its secrets and changes nothing', async () => {
    const { value } = await it.channels.get(CALLER, 'hook');
    const same = await it.channels.upsert(CALLER, 'hook', value);
    assert.deepEqual([same.created, same.generation], [false, 1]);
    await it.channels.upsert(CALLER, 'hook', { ...value, description: 'new' });
    const [row] = await rows<{ secrets: Record<string, string> }>(it.pool, 'SELECT secrets FROM channels WHERE id = $1', value.id);
    assert.equal(row?.secrets['/headers/X-Token'], 'abc');
    assert.match(row?.secrets['/secret'] ?? '', /^whsec_/);
  });

  test('does not send its secrets to another place than they were given for', async () => {
    const elsewhere = await refused(it.channels.patch(CALLER, 'hook', { url: 'https://evil.example/a' }), 'invalid', 'invalid_channel');
    assert.deepEqual(
      elsewhere.errors?.map(({ path, code }) => `${path} ${code}`),
      ['/headers/X-Token secret_needed'],
    );
    const host = await refused(it.channels.patch(CALLER, 'mail', { smtp: { host: 'evil.example' } }), 'invalid', 'invalid_channel');
    assert.deepEqual(
      host.errors?.map(({ path }) => path),
      ['/smtp/password'],
    );
    await it.channels.patch(CALLER, 'hook', { url: 'https://other.example/a', headers: { 'X-Token': 'abc' } });
    await it.channels.patch(CALLER, 'hook', { url: 'https://other.example/b' });
  });

  test('is refused with each wrong place: addresses, headers, templates, stars, types', async () => {
    const wrong = async (body: object) =>
      (await refused(it.channels.create(CALLER, body), 'invalid', 'invalid_channel')).errors?.map(({ path, code }) => `${path} ${code}`);
    assert.deepEqual(await wrong(slack('x', { url: 'http://169.254.169.254/' })), ['/url address_refused']);
    assert.deepEqual(await wrong(slack('x', { url: 'http://10.0.0.1/' })), ['/url address_refused']);
    assert.deepEqual(await wrong({ type: 'webhook', name: 'x', url, headers: { 'webhook-id': '1' } }), [
      '/headers/webhook-id header_refused',
    ]);
    assert.deepEqual(await wrong({ type: 'pagerduty', name: 'x', routingKey: '********' }), ['/routingKey invalid_format']);
    assert.deepEqual(await wrong(slack('x', { url: 'https://hooks.example.com/********' })), ['/url masked_secret']);
    assert.deepEqual(await wrong(slack('x', { templates: { body: '{{constructor}}' } })), ['/templates/body invalid']);
    assert.deepEqual(await wrong({ type: 'email', name: 'x', to: ['a@b.example'] }), ['/smtp required', '/from required']);
    assert.deepEqual(await wrong({ type: 'sms', name: 'x' }), ['/type invalid_union']);
    assert.deepEqual(await wrong(slack('chn_x')), ['/name invalid']);
    assert.deepEqual(await wrong(slack('x', { groupWindow: '11m' })), ['/groupWindow invalid']);
    assert.deepEqual(await wrong(slack('x', { colour: 1 })), ['/colour unknown_key']);
    const other = await refused(
      it.channels.patch(CALLER, 'hook', { type: 'slack', headers: null, secret: null }),
      'invalid',
      'invalid_channel',
    );
    assert.deepEqual(
      other.errors?.map(({ path }) => path),
      ['/type'],
    );
  });

  test('has a name of its own, and answers If-Match', async () => {
    const { value } = await it.channels.create(CALLER, slack('taken'));
    assert.deepEqual((await refused(it.channels.create(CALLER, slack('taken')), 'conflict', 'name_taken')).extra, {
      id: value.id,
      name: 'taken',
    });
    await refused(
      it.channels.patch(CALLER, 'taken', { description: 'x' }, { ifMatch: (known) => known === 7 }),
      'precondition',
      'generation_mismatch',
    );
    await refused(it.channels.remove(CALLER, 'taken', { ifMatch: (known) => known === 7 }), 'precondition', 'generation_mismatch');
    await refused(it.channels.get({ ...CALLER, team: 'other' }, 'taken'), 'not_found', 'channel_not_found');
    const put = await it.channels.upsert(CALLER, 'put-by-name', { type: 'slack', url });
    assert.equal(put.created, true);
  });
});

describe('rules', () => {
  const rule = (channel: string, ...on: string[]) => ({ on: on.length > 0 ? on : ['failed'], channel });

  test('of jobs, services and the team name channels that are there, else are refused with the nearest', async () => {
    await it.channels.create(CALLER, slack('ops-slack'));
    const job = { name: 'j', target: HTTP_TARGET, notify: [rule('ops-slak')] };
    const error = await refused(it.jobs.create(CALLER, job, ASYNC), 'invalid', 'invalid_job');
    assert.deepEqual(
      error.errors?.map(({ path, code }) => [path, code]),
      [['/notify/0/channel', 'unknown_channel']],
    );
    assert.match(error.message, /did you mean "ops-slack"/);
    const batch = await it.jobs.createMany(
      CALLER,
      [
        { ...job, name: 'b1' },
        { name: 'b2', target: HTTP_TARGET },
      ],
      'each',
      ASYNC,
    );
    assert.deepEqual([batch.created, batch.refused], [1, 1]);
    const service = { name: 's', baseUrl: 'https://example.com', notify: [rule('nowhere')] };
    await refused(it.services.create(CALLER, service), 'invalid', 'invalid_service');
    await refused(it.teamNotify.put(CALLER, { rules: [rule('nowhere')] }), 'invalid', 'invalid_rules');
    await refused(it.teamNotify.put(CALLER, { rules: [{ ...rule('pager'), on: ['succeeded'] }] }), 'invalid', 'invalid_rules');
    const created = await it.jobs.create(CALLER, { ...job, notify: [rule('ops-slack')] }, ASYNC);
    await refused(it.jobs.patch(CALLER, created.value.id, { notify: [rule('nowhere')] }, ASYNC), 'invalid', 'invalid_job');
  });

  test('keep their channel: it is neither removed nor renamed, and who names it is said', async () => {
    await it.services.create(CALLER, { name: 'svc', baseUrl: 'https://example.com', notify: [rule('ops-slack')] });
    await it.teamNotify.put(CALLER, { rules: [rule('ops-slack')] });
    const error = await refused(it.channels.remove(CALLER, 'ops-slack'), 'conflict', 'channel_in_use');
    assert.deepEqual(error.extra, { jobs: 1, services: ['svc'], team: true });
    assert.match(error.message, /1 job \("j"\), the services "svc", the rules of the team/);
    await refused(it.channels.patch(CALLER, 'ops-slack', { name: 'new-name' }), 'conflict', 'channel_in_use');
    await it.services.patch(CALLER, 'svc', { notify: null });
    await it.teamNotify.put(CALLER, { rules: [] });
    await it.jobs.patch(CALLER, 'j', { notify: null }, ASYNC);
    await it.channels.remove(CALLER, 'ops-slack');
  });

  test('that are written while their channel goes never name one that is gone', async () => {
    for (let round = 0; round < 10; round += 1) {
      const name = `raced-${round}`;
      await it.channels.create(CALLER, slack(name));
      await Promise.allSettled([
        ...Array.from({ length: 4 }, (_, nth) =>
          it.jobs.create(CALLER, { name: `${name}-${nth}`, target: HTTP_TARGET, notify: [rule(name)] }, ASYNC),
        ),
        it.channels.remove(CALLER, name),
      ]);
    }
    const orphans = await rows(
      it.pool,
      `SELECT j.name FROM jobs j, json_array_elements(j.document -> 'notify') AS r (rule)
        WHERE j.name LIKE 'raced-%' AND NOT EXISTS (SELECT 1 FROM channels c WHERE c.name = r.rule ->> 'channel')`,
    );
    assert.deepEqual(orphans, []);
  });

  test('of the team have a generation and an audit event; what does not change is not written', async () => {
    await it.channels.create(CALLER, slack('for-team'));
    const before = await it.teamNotify.get(CALLER);
    const written = await it.teamNotify.put(CALLER, { rules: [rule('for-team')] }, { ifMatch: (known) => known === before.generation });
    assert.equal(written.generation, before.generation + 1);
    assert.equal((await it.teamNotify.put(CALLER, written.value)).generation, written.generation);
    await refused(it.teamNotify.put(CALLER, { rules: [] }, { ifMatch: () => false }), 'precondition', 'generation_mismatch');
    const actions = await actionsOf(it.pool, CALLER.team);
    assert.equal(actions.at(-1), 'notification_rules.updated');
    await it.teamNotify.put(CALLER, { rules: [] });
  });
});
