/** Postgres is stopped: the API says so and lives on, slots wait, and after its return they follow their job's catch-up policy by their nominal times. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type OwnServer, ownPostgres } from '../support/own-servers.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { createTestNamespace } from '../support/stack.ts';

const EVERY_MS = 2_000;
/** Longer than a slot may wait before it is late (15 s). */
const AWAY_MS = 24_000;
const LATE_MS = 15_000;

let postgres: OwnServer;
let almanac: Almanac;
let receiver: Receiver;
const pids = () => Object.values(almanac.processes).flatMap((processes) => processes.map(({ pid }) => pid));

before(async () => {
  receiver = await startReceiver();
  postgres = await ownPostgres();
  const [namespace] = await Promise.all([createTestNamespace(), postgres.start()]);
  almanac = await startAlmanac({
    servers: { databaseUrl: postgres.address, temporalAddress: namespace.address },
    settings: { TEMPORAL_NAMESPACE: namespace.name },
  });
});
after(async () => {
  await almanac?.close();
  await postgres?.close();
  await receiver?.close();
});

const POLICIES = ['none', 'last', 'all'] as const;
const slotsOf = async (name: string): Promise<Body[]> => {
  const { body } = await almanac.api.get(`/executions/${name}?trigger=schedule&limit=200`);
  return body.items.toReversed();
};

test('while Postgres is away requests are refused with 503, and each slot ends as its catch-up policy says once it is back', async (t) => {
  const { api } = almanac;
  for (const policy of POLICIES) {
    const target = { type: 'http', url: `${receiver.url}/${policy}` };
    const { status, text } = await api.post('/jobs', { name: policy, schedule: { every: '2s' }, catchUp: { policy }, target });
    assert.equal(status, 201, text);
  }
  for (const policy of POLICIES) await until(`${policy} fires`, async () => (await slotsOf(policy)).length >= 1);
  const before = pids();

  await postgres.stop();
  const left = Date.now();
  for (const [method, path, body] of [
    ['GET', '/jobs', undefined],
    ['GET', '/jobs/none', undefined],
    ['POST', '/jobs', { name: 'new', target: { type: 'handler', name: 'heartbeat-report' } }],
    ['POST', '/schedule/all/trigger', { input: 1 }],
    ['GET', '/executions/all', undefined],
    ['DELETE', '/jobs/all', undefined],
  ] as const) {
    const started = Date.now();
    const answer = await api.call(method, path, body);
    assert.equal(answer.status, 503, `${method} ${path}: ${answer.text}`);
    assert.equal(answer.headers.get('content-type'), 'application/problem+json; charset=utf-8');
    assert.ok(Number(answer.headers.get('retry-after')) > 0);
    assert.ok(Date.now() - started < 5_000);
  }
  const ready = await api.get('//health/ready');
  assert.equal(ready.status, 503);
  assert.equal((await api.get('//health')).status, 200);
  await sleep(AWAY_MS - (Date.now() - left));
  await postgres.start();
  const back = Date.now();

  await until('the API is ready', async () => (await api.get('//health/ready')).status === 200);
  assert.equal((await api.get('/jobs')).body.items.length, 3);
  const firstAfter = Math.ceil(back / EVERY_MS) * EVERY_MS + EVERY_MS;
  const settledUntil = firstAfter + 2 * EVERY_MS;
  const rows: Record<string, Body[]> = {};
  for (const policy of POLICIES) {
    rows[policy] = await until(
      `every slot of ${policy} has ended`,
      async () => {
        const all = await slotsOf(policy);
        const through = all.filter(({ slot }) => Date.parse(slot) <= settledUntil);
        const contiguous = through.every((row, n) => n === 0 || Date.parse(row.slot) - Date.parse(through[n - 1].slot) === EVERY_MS);
        return contiguous && Date.parse(through.at(-1)?.slot) === settledUntil && through.every((row) => row.finishedAt !== null)
          ? through
          : undefined;
      },
      60_000,
    );
  }
  const settledAfter = Date.now() - back;
  assert.deepEqual(pids(), before);
  for (const { worker } of [almanac.processes]) assert.ok(worker.every((each) => !each.lines.some((line) => line.level === 'error')));

  const during = (policy: string) => rows[policy]!.filter(({ slot }) => Date.parse(slot) > left && Date.parse(slot) < back);
  const old = (row: Body) => Date.parse(row.slot) < back - LATE_MS;
  const counts = (policy: string) => Object.groupBy(during(policy), (row) => row.reason ?? row.status);
  for (const row of during('none')) {
    if (old(row)) assert.deepEqual([row.status, row.reason], ['skipped', 'missed'], row.slot);
  }
  assert.ok(during('none').some(old) && during('all').some(old));
  // `last`: of the late ones at most the newest runs. `all`: every one does.
  assert.ok(
    during('last')
      .filter(old)
      .every((row) => row.reason === 'missed'),
  );
  for (const row of during('all').filter(old)) assert.equal(row.status, 'succeeded', row.slot);
  // What was not yet late when it could start follows the overlap policy (skip) like any other slot.
  assert.ok(
    during('all').every((row) => row.status === 'succeeded' || row.reason === 'skipped_overlap'),
    JSON.stringify(counts('all')),
  );
  const calls = receiver.calls.filter(({ path }) => path === '/all').map(({ execution }) => execution);
  assert.equal(new Set(calls).size, calls.length, 'no slot was called twice');
  const late = during('all')
    .filter(old)
    .map(({ id }) => calls.indexOf(id));
  assert.deepEqual(
    late,
    late.toSorted((a, b) => a - b),
    'late slots run in slot order',
  );
  const figures = POLICIES.map(
    (policy) =>
      `${policy} ${Object.entries(counts(policy))
        .map(([how, some]) => `${some!.length} ${how}`)
        .join(', ')}`,
  );
  t.diagnostic(`${AWAY_MS} ms away, settled ${settledAfter} ms after its return: ${figures.join(' · ')}`);
});
