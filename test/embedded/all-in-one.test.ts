/** The supervisor of `npm start` with a real Postgres and a real Temporal, killed and stopped in every way. */
import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, beforeEach, test } from 'node:test';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { isAlive } from '../../src/embedded/process-identity.ts';
import { CHILDREN, type Home, type Supervised, supervise, temporaryHome, until } from './supervised.ts';

let home: Home;
let started: Supervised[];
beforeEach(() => {
  home = temporaryHome();
  started = [];
});
afterEach(async () => {
  for (const each of started) each.signal('SIGKILL');
  await Promise.all(started.map((each) => each.ended));
  await home.remove();
});
const start = (...options: [settings?: Record<string, string>, worker?: string]): Supervised => {
  const supervised = supervise(home, ...options);
  started.push(supervised);
  return supervised;
};
async function ready(...options: Parameters<typeof start>): Promise<Supervised> {
  const supervised = start(...options);
  await supervised.line(/^ready$/);
  return supervised;
}
async function statement(sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: home.settingsOf('api').DATABASE_URL! });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
async function temporal<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = Connection.lazy({ address: home.settingsOf('api').TEMPORAL_ADDRESS! });
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}

test('a stop ends everything that was started, and the next start finds all data and the same key', { timeout: 180_000 }, async () => {
  const first = await ready();
  assert.deepEqual(home.alive(), [...CHILDREN]);
  await statement('CREATE TABLE kept AS SELECT 42 AS answer');
  await temporal((connection) =>
    connection.workflowService.registerNamespace({ namespace: 'kept', workflowExecutionRetentionPeriod: { seconds: 86_400 as never } }),
  );
  const key = readFileSync(`${home.folder}/admin-key`, 'utf8').trim();
  assert.ok(key.length >= 32);
  assert.equal(statSync(`${home.folder}/admin-key`).mode & 0o777, 0o600);
  assert.equal(home.settingsOf('api').ALMANAC_BOOTSTRAP_KEY, key);
  const before = CHILDREN.map((name) => home.identity(name)!);

  first.signal('SIGINT');
  first.signal('SIGTERM');
  assert.equal(await first.ended, 0);
  assert.deepEqual(home.alive(), []);
  for (const { pid } of before) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });

  const second = await ready();
  assert.deepEqual(await statement('SELECT answer FROM kept'), [{ answer: 42 }]);
  const { config } = await temporal((connection) => connection.workflowService.describeNamespace({ namespace: 'kept' }));
  assert.ok(config);
  const own = await temporal((connection) => connection.workflowService.describeNamespace({ namespace: 'default' }));
  assert.equal(Number(own.config?.workflowExecutionRetentionTtl?.seconds), 7 * 86_400);
  assert.equal(home.settingsOf('api').ALMANAC_BOOTSTRAP_KEY, key);
  second.signal('SIGTERM');
  assert.equal(await second.ended, 0);
  assert.deepEqual(home.alive(), []);
});

test('whatever dies is brought back, and a line says so', { timeout: 180_000 }, async () => {
  const supervised = await ready();
  for (const [name, title] of [
    ['temporal', 'Temporal'],
    ['postgres', 'Postgres'],
    ['api', 'The api'],
    ['worker', 'The worker'],
    ['controller', 'The controller'],
  ] as const) {
    const { pid } = home.identity(name)!;
    process.kill(pid, 'SIGKILL');
    await supervised.line(new RegExp(`^${title} has ended \\(signal SIGKILL\\)`));
    await supervised.line(new RegExp(`^${title} is back`));
    assert.notEqual(home.identity(name)!.pid, pid);
  }
  assert.deepEqual(home.alive(), [...CHILDREN]);
  assert.deepEqual(await statement('SELECT 1 AS one'), [{ one: 1 }]);
  supervised.signal('SIGTERM');
  assert.equal(await supervised.ended, 0);
  assert.deepEqual(home.alive(), []);
});

test('after a kill -9 of the supervisor its processes drain, and the next start recognises its servers', { timeout: 180_000 }, async () => {
  const first = await ready();
  await statement('CREATE TABLE kept AS SELECT 42 AS answer');
  first.signal('SIGKILL');
  await first.ended;
  await until(() => home.alive().length === 2);
  assert.deepEqual(home.alive(), ['postgres', 'temporal']);
  const orphans = [home.identity('postgres')!, home.identity('temporal')!];

  const second = await ready();
  for (const name of ['postgres', 'temporal']) await second.line(new RegExp(`left ${name} running`));
  assert.ok(!orphans.some(isAlive));
  assert.deepEqual(await statement('SELECT answer FROM kept'), [{ answer: 42 }]);
});

test('after a kill -9 of everything the next start just starts', { timeout: 180_000 }, async () => {
  const first = await ready();
  await statement('CREATE TABLE kept AS SELECT 42 AS answer');
  const all = CHILDREN.map((name) => home.identity(name)!.pid);
  first.signal('SIGKILL');
  for (const pid of all) process.kill(pid, 'SIGKILL');
  await first.ended;
  await ready();
  assert.deepEqual(await statement('SELECT answer FROM kept'), [{ answer: 42 }]);
});

test('a second instance on the same home is refused by process id, and harms nothing', { timeout: 120_000 }, async () => {
  const first = await ready();
  const second = start();
  assert.equal(await second.ended, 1);
  const line = await second.line(/already/);
  assert.match(line.msg!, new RegExp(`process ${first.pid}\\b.*ALMANAC_HOME`));
  assert.deepEqual(home.alive(), [...CHILDREN]);
});

test('a start that comes while the last one is stopping waits for it', { timeout: 180_000 }, async () => {
  const first = await ready();
  first.signal('SIGTERM');
  await first.line(/^Stopping/);
  await ready();
  assert.equal(await first.ended, 0);
});

test('ports in use are named with the settings that change them', { timeout: 60_000 }, async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const port = String((server.address() as { port: number }).port);
  try {
    const supervised = start({ PORT: port, ALMANAC_TEMPORAL_PORT: port, ALMANAC_TEMPORAL_UI_PORT: port, ALMANAC_POSTGRES_PORT: port });
    assert.equal(await supervised.ended, 1);
    const { msg } = await supervised.line(/in use/);
    for (const setting of ['PORT', 'ALMANAC_TEMPORAL_PORT', 'ALMANAC_TEMPORAL_UI_PORT', 'ALMANAC_POSTGRES_PORT']) {
      assert.match(msg!, new RegExp(`set ${setting} to`));
    }
  } finally {
    server.close();
  }
  assert.deepEqual(home.alive(), []);
});

test('a process that does not start ends the start with its last words, and leaves nothing running', { timeout: 120_000 }, async () => {
  const supervised = start({}, 'test/embedded/fixtures/failing.ts');
  assert.equal(await supervised.ended, 1);
  await supervised.line(/worker did not start[\s\S]*handlers\/broken\.ts:3/);
  assert.deepEqual(home.alive(), []);
});

test('a stop during the start leaves nothing running', { timeout: 120_000 }, async () => {
  const supervised = start();
  await until(() => home.identity('temporal') !== null);
  supervised.signal('SIGINT');
  assert.equal(await supervised.ended, 0);
  assert.deepEqual(home.alive(), []);
});

test('its own ports are denied to targets, loopback is allowed, and categories get their queues', { timeout: 120_000 }, async () => {
  await ready({ CATEGORY_QUEUES: 'batch=slow,night=slow' });
  const settings = home.settingsOf('worker');
  assert.equal(settings.ALMANAC_TARGET_ALLOW, '127.0.0.0/8,::1/128');
  assert.equal(settings.WORKER_QUEUES, 'default,slow');
  const denied = settings.ALMANAC_TARGET_DENY!.split(',');
  for (const own of [new URL(settings.DATABASE_URL!).host, settings.TEMPORAL_ADDRESS!, new URL(settings.TEMPORAL_UI_URL!).host]) {
    assert.ok(denied.includes(own), own);
  }
});
