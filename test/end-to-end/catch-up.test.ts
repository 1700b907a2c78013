/** Worker, controller and Temporal stop for over half a minute: each slot of that time ends as its job's catch-up policy says, and no slot is lost or doubled. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type OwnServer, ownTemporal } from '../support/own-servers.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { createTestDatabase, type TestDatabase } from '../support/stack.ts';

const EVERY_MS = 3_000;
const AWAY_MS = 35_000;
const LATE_MS = 15_000;
const POLICIES = ['none', 'last', 'all'] as const;

let temporal: OwnServer;
let database: TestDatabase;
let almanac: Almanac;
let receiver: Receiver;
before(async () => {
  receiver = await startReceiver();
  [temporal, database] = await Promise.all([ownTemporal(), createTestDatabase()]);
  await temporal.start();
  almanac = await startAlmanac({ servers: { databaseUrl: database.url, temporalAddress: temporal.address } });
});
after(async () => {
  await almanac?.close();
  await temporal?.close();
  await database?.drop();
  await receiver?.close();
});

const slotsOf = async (name: string): Promise<Body[]> =>
  (await almanac.api.get(`/executions/${name}?trigger=schedule&limit=200`)).body.items.toReversed();

test('after an outage late slots are missed, the last runs, or all run in order, as each job says', async (t) => {
  for (const policy of POLICIES) {
    const document = {
      name: policy,
      schedule: { every: '3s' },
      catchUp: { policy },
      target: { type: 'http', url: `${receiver.url}/${policy}` },
    };
    assert.equal((await almanac.api.post('/jobs', document)).status, 201);
  }
  const short = {
    name: 'short',
    schedule: { every: '3s' },
    catchUp: { policy: 'all', window: '18s' },
    target: { type: 'http', url: `${receiver.url}/short` },
  };
  assert.equal((await almanac.api.post('/jobs', short)).status, 201);
  for (const policy of POLICIES) await until(`${policy} fires`, async () => (await slotsOf(policy)).length > 0);

  const left = Date.now();
  const { worker, controller } = almanac.processes;
  await Promise.all([worker[0]!.stop(), controller[0]!.stop(), temporal.stop()]);
  const stopped = Date.now();
  await sleep(AWAY_MS - (stopped - left));
  await temporal.start();
  const back = Date.now();
  await Promise.all([almanac.start('worker'), almanac.start('controller')]);

  const settledUntil = Math.ceil(Date.now() / EVERY_MS) * EVERY_MS + EVERY_MS;
  const rows: Record<string, Body[]> = {};
  for (const name of [...POLICIES, 'short']) {
    rows[name] = await until(
      `every slot of ${name} has ended`,
      async () => {
        const through = (await slotsOf(name)).filter(({ slot }) => Date.parse(slot) <= settledUntil);
        const whole = through.every((row, n) => n === 0 || Date.parse(row.slot) - Date.parse(through[n - 1].slot) === EVERY_MS);
        return whole && Date.parse(through.at(-1)?.slot) === settledUntil && through.every((row) => row.finishedAt) ? through : undefined;
      },
      60_000,
    );
  }
  const settledMs = Date.now() - back;
  /** Late whoever looks, and when: nobody could admit before Temporal or the controller was back. */
  const late = (name: string) => rows[name]!.filter(({ slot }) => Date.parse(slot) > stopped && Date.parse(slot) < back - LATE_MS);
  const ends = (name: string) => late(name).map((row) => row.reason ?? row.status);
  assert.ok(late('all').length >= 3);
  assert.deepEqual(new Set(ends('none')), new Set(['missed']));
  assert.deepEqual(new Set(ends('last')), new Set(['missed']), 'their successors were due already');
  assert.deepEqual(new Set(ends('all')), new Set(['succeeded']));
  const calls = receiver.calls.filter(({ path }) => path === '/all').map(({ execution }) => execution);
  const order = late('all').map(({ id }) => calls.indexOf(id));
  assert.deepEqual(
    order,
    order.toSorted((a, b) => a - b),
    'in slot order',
  );
  for (const row of late('short')) {
    if (Date.parse(row.slot) < back - 18_000) assert.equal(row.reason, 'missed', `${row.slot} is older than the window`);
  }
  for (const name of [...POLICIES, 'short']) {
    const executions = receiver.calls.filter(({ path }) => path === `/${name}`).map(({ execution }) => execution);
    assert.equal(new Set(executions).size, executions.length, `${name}: no slot is called twice`);
  }
  assert.equal(rows.last!.filter(({ slot, status }) => status === 'succeeded' && Date.parse(slot) > stopped).length > 0, true);
  t.diagnostic(
    `${AWAY_MS} ms away, settled after ${settledMs} ms; late slots: ${[...POLICIES, 'short'].map((name) => `${name} ${ends(name)}`).join(' · ')}`,
  );
});
