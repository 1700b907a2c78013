/** Mail through a real SMTP server. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import PostalMime, { type Email } from 'postal-mime';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { CALLER } from '../jobs-under-test.ts';
import { type Notifications, notificationsUnderTest, PUBLIC_URL, seedJobs } from './notifications-under-test.ts';

type Arrived = { from: string; to: string[]; user: unknown; mail: Email };
type MailServer = { port: number; arrived: Arrived[]; refusals: { responseCode: number; message: string }[]; close: () => Promise<void> };

async function startMailServer(options: SMTPServerOptions = {}): Promise<MailServer> {
  const arrived: Arrived[] = [];
  const refusals: MailServer['refusals'] = [];
  const server = new SMTPServer({
    logger: false,
    disabledCommands: ['STARTTLS'],
    authOptional: true,
    allowInsecureAuth: true,
    onAuth: ({ username, password }, _session, done) =>
      password === 'right' ? done(null, { user: username }) : done(new Error('wrong password')),
    onData: (stream, session, done) => {
      const parts: Buffer[] = [];
      stream.on('data', (part: Buffer) => parts.push(part));
      stream.on('end', async () => {
        const refusal = refusals.shift();
        if (refusal) return done(Object.assign(new Error(refusal.message), refusal));
        const { mailFrom, rcptTo } = session.envelope;
        const mail = await PostalMime.parse(Buffer.concat(parts));
        arrived.push({ from: mailFrom ? mailFrom.address : '', to: rcptTo.map(({ address }) => address), user: session.user, mail });
        done();
      });
    },
    ...options,
  });
  server.on('error', () => {});
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  const { port } = server.server.address() as AddressInfo;
  return { port, arrived, refusals, close: () => new Promise((resolve) => server.close(() => resolve())) };
}

let server: MailServer;
let it: Notifications;
before(async () => {
  server = await startMailServer();
  it = await notificationsUnderTest({ smtpUrl: `smtp://127.0.0.1:${server.port}`, from: 'almanac@example.org' });
});
after(async () => {
  await it.close();
  await server.close();
});

const rule = (channel: string, ...on: string[]) => ({ notify: [{ on: on.length > 0 ? on : ['failed'], channel }] });
const lastOf = async (channel: string) => (await it.deliveries.list(CALLER, { channel, limit: 1 })).items[0]!;

describe('mail', () => {
  test('says what happened in text and HTML, in which names are only names, under a stable id', async () => {
    await it.channels.create(CALLER, { type: 'email', name: 'mail', to: ['ops@example.org', 'dev@example.org'] });
    const id = await it.job('<b>näme</b> & co', rule('mail'));
    await it.raise(id, 'failed', { error: { message: '<script>alert(1)</script>' } }, undefined);
    await it.step();
    const [{ from, to, mail }] = server.arrived as [Arrived];
    assert.deepEqual([from, to], ['almanac@example.org', ['ops@example.org', 'dev@example.org']]);
    assert.equal(mail.subject, '[Almanac] <b>näme</b> & co failed');
    assert.match(mail.text ?? '', /<script>alert\(1\)<\/script>/);
    assert.ok(mail.text?.includes(`${PUBLIC_URL}/api/v1/jobs/${id}`));
    assert.ok(!mail.html?.includes('<script>') && mail.html?.includes('&lt;script&gt;'));
    assert.equal(mail.messageId, `<${(await lastOf('mail')).id}@example.org>`);
    assert.equal(mail.headers.find(({ key }) => key === 'auto-submitted')?.value, 'auto-generated');
  });

  test('of many jobs names the first 20, and counts the rest', async () => {
    await it.channels.create(CALLER, { type: 'email', name: 'many', to: ['ops@example.org'] });
    for (const id of await seedJobs(it.pool, 'many', 25, rule('many'))) await it.raise(id, 'failed');
    await it.step();
    const { mail } = server.arrived.at(-1)!;
    assert.equal(mail.subject, '[Almanac] 25 jobs failed');
    assert.match(mail.text ?? '', /\* many-00020\n[\s\S]*… and 5 more\./);
    assert.ok(!mail.text?.includes('many-00021'));
  });

  test('has the words that the channel gives it, on one line where it is a subject', async () => {
    const templates = { subject: '{{kind}}:\n{{#jobs}}{{name}} {{/jobs}}', body: 'See {{url}} & {{#more}}{{more}} more{{/more}}' };
    await it.channels.create(CALLER, { type: 'email', name: 'own-words', to: ['ops@example.org'], templates });
    for (const id of await seedJobs(it.pool, 'own', 2, rule('own-words', 'late'))) await it.raise(id, 'late');
    await it.step();
    const { mail } = server.arrived.at(-1)!;
    assert.equal(mail.subject, 'late: own-00001 own-00002');
    assert.match(mail.text ?? '', /^See https:\/\/almanac\.example\/api\/v1\/deliveries\/dlv_\S+ & /);
    assert.match(mail.html ?? '', /See .* &amp; /);
  });

  test('is tried again after 4yz and a server that is away, and not after 5yz', async () => {
    await it.channels.create(CALLER, { type: 'email', name: 'grey', to: ['ops@example.org'] });
    const id = await it.job('grey', rule('grey'));
    server.refusals.push({ responseCode: 451, message: 'come back later' });
    await it.raise(id, 'failed');
    assert.deepEqual(await it.step(), ['retried']);
    assert.deepEqual(await it.step('1 hour'), ['delivered']);
    server.refusals.push({ responseCode: 554, message: 'no, never' });
    await it.raise(id, 'failed');
    assert.deepEqual(await it.step(), ['failed']);
    assert.match(JSON.stringify((await lastOf('grey')).lastAttempt), /554 no, never/);
    const away = { host: '127.0.0.1', port: 9, tls: 'optional' };
    await it.channels.create(CALLER, { type: 'email', name: 'away', to: ['ops@example.org'], smtp: away });
    await it.raise(await it.job('away', rule('away')), 'failed');
    assert.deepEqual(await it.step(), ['retried']);
  });

  test("goes through the channel's own server with its password, where targets may go, and not without TLS unless that is said", async () => {
    const own = await startMailServer();
    const smtp = { host: '127.0.0.1', port: own.port, tls: 'optional', username: 'me', password: 'right' };
    const channel = { type: 'email', name: 'own-server', to: ['ops@example.org'], from: 'me@own.example', smtp };
    await it.channels.create(CALLER, channel);
    assert.equal((await it.deliveries.test(CALLER, 'own-server')).state, 'delivered');
    assert.deepEqual([own.arrived[0]?.user, own.arrived[0]?.from], ['me', 'me@own.example']);
    const detailOf = async (change: object) => {
      await it.channels.patch(CALLER, 'own-server', { smtp: { ...smtp, ...change } });
      const { state, lastAttempt } = await it.deliveries.test(CALLER, 'own-server');
      assert.equal(state, 'failed');
      return JSON.stringify(lastAttempt);
    };
    assert.match(await detailOf({ password: 'wrong' }), /535/);
    assert.match(await detailOf({ tls: 'required' }), /STARTTLS/i);
    assert.match(await detailOf({ host: '10.9.8.7' }), /not a public address/);
    assert.match(await detailOf({ port: 1 }), /own servers/);
    assert.equal(own.arrived.length, 1);
    await own.close();
  });

  test('speaks TLS from the first byte where that is said, and believes no certificate that nobody vouches for', async () => {
    const secure = await startMailServer({ secure: true });
    const smtp = { host: '127.0.0.1', port: secure.port, tls: 'implicit' };
    await it.channels.create(CALLER, { type: 'email', name: 'secure', to: ['ops@example.org'], smtp });
    const { state, lastAttempt } = await it.deliveries.test(CALLER, 'secure');
    assert.equal(state, 'failed');
    assert.match(JSON.stringify(lastAttempt), /certificate/i);
    assert.equal(secure.arrived.length, 0);
    await secure.close();
  });
});
