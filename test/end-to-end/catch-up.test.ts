/** Worker, controller and Temporal stop for over half a minute: each slot of that time ends as its job's catch-up policy says, and no slot is lost or doubled. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import { catchUpHolds, POLICIES, slotsThrough } from '../support/catch-up.ts';
import type { Body } from '../support/client.ts';
import { type OwnServer, ownTemporal } from '../support/own-servers.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { createTestDatabase, type TestDatabase } from '../support/stack.ts';

const EVERY_MS = 3_000;
const AWAY_MS = 35_000;

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

  const callsTo = (name: string) => receiver.calls.filter(({ path }) => path === `/${name}`);
  const outage = { slotsOf, callsOf: callsTo, everyMs: EVERY_MS, stopped, back };
  const said = await catchUpHolds(outage);
  for (const row of await slotsThrough(outage, 'short')) {
    const at = Date.parse(row.slot);
    if (at > stopped && at < back - 18_000) assert.equal(row.reason, 'missed', `${row.slot} is older than the window`);
  }
  const executions = callsTo('short').map(({ execution }) => execution);
  assert.equal(new Set(executions).size, executions.length, 'no slot is called twice');
  t.diagnostic(`${AWAY_MS} ms away; late slots: ${said}`);
});
