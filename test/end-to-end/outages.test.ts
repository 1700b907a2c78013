/**
 * Temporal alone, or the worker alone, is away for over half a minute while the rest goes on: each slot of that time ends as its job's catch-up policy says. Both outages
 * at the same time, each on an Almanac of its own. (catch-up.test.ts has the third: worker, controller and Temporal together.)
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import { catchUpHolds, POLICIES } from '../support/catch-up.ts';
import type { Body } from '../support/client.ts';
import { type OwnServer, ownTemporal } from '../support/own-servers.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { createTestDatabase, type TestDatabase } from '../support/stack.ts';

const EVERY_MS = 3_000;
const AWAY_MS = 35_000;
/** The only slot of some jobs comes so soon after the beginning of the outage. */
const SLOT_AFTER_MS = 5_000;

let temporal: OwnServer;
let database: TestDatabase;
let withoutTemporal: Almanac;
let withoutWorker: Almanac;
const receivers: Receiver[] = [];
before(async () => {
  receivers.push(await startReceiver(), await startReceiver());
  [temporal, database] = await Promise.all([ownTemporal(), createTestDatabase()]);
  await temporal.start();
  [withoutTemporal, withoutWorker] = await Promise.all([
    startAlmanac({ servers: { databaseUrl: database.url, temporalAddress: temporal.address } }),
    startAlmanac(),
  ]);
});
after(async () => {
  await Promise.all([withoutTemporal?.close(), withoutWorker?.close()]);
  await temporal?.close();
  await database?.drop();
  for (const receiver of receivers) await receiver.close();
});

/** What an outage takes away, and how that comes back. */
type Absence = { almanac: Almanac; receiver: Receiver; leave: () => Promise<unknown>; comeBack: () => Promise<unknown> };

async function outage({
  almanac,
  receiver,
  leave,
  comeBack,
}: Absence): Promise<{ said: string; events: string[]; stopped: number; back: number }> {
  const slotsOf = async (name: string): Promise<Body[]> =>
    (await almanac.api.get(`/executions/${name}?trigger=schedule&limit=200`)).body.items.toReversed();
  const callsOf = (name: string) => receiver.calls.filter(({ path }) => path === `/${name}`);
  const create = async (name: string, policy: string, schedule: object) => {
    const target = { type: 'http', url: `${receiver.url}/${name}` };
    const { status, body } = await almanac.api.post('/jobs', { name, schedule, catchUp: { policy }, target });
    assert.equal(status, 201, JSON.stringify(body));
  };
  for (const policy of POLICIES) await create(policy, policy, { every: '3s' });
  for (const policy of POLICIES) await until(`${policy} fires`, async () => (await slotsOf(policy)).length > 0);

  await leave();
  const stopped = Date.now();
  const only = Math.ceil((stopped + SLOT_AFTER_MS) / 1_000);
  for (const policy of POLICIES) await create(`once-a-day-${policy}`, policy, { every: '1d', offset: `${only % 86_400}s` });
  await sleep(AWAY_MS - (Date.now() - stopped));
  const events = await eventsOf(almanac);
  const back = Date.now();
  await comeBack();

  const said = await catchUpHolds({ slotsOf, callsOf, everyMs: EVERY_MS, stopped, back });
  for (const policy of POLICIES) {
    const name = `once-a-day-${policy}`;
    const [row, ...more] = await until(`${name} is over`, async () => {
      const rows = await slotsOf(name);
      return rows[0]?.finishedAt ? rows : undefined;
    });
    assert.deepEqual([more.length, Date.parse(row.slot)], [0, only * 1_000], name);
    // a late slot without a later one is the last: only `none` leaves it out
    assert.deepEqual(
      [row.status, row.reason, callsOf(name).length],
      policy === 'none' ? ['skipped', 'missed', 0] : ['succeeded', null, 1],
      name,
    );
    if (policy !== 'none') assert.ok(Date.parse(row.startedAt) >= back, `${name} began before its worker or Temporal was back`);
  }
  return { said, events, stopped, back };
}

/** What the watchdog has told so far, as `kind job`. */
async function eventsOf({ pool }: Almanac): Promise<string[]> {
  const { rows } = await pool.query<{ text: string }>(
    `SELECT DISTINCT e.kind || ' ' || j.name AS text FROM job_events e JOIN jobs j ON j.id = e.job_id ORDER BY 1`,
  );
  return rows.map(({ text }) => text);
}

test('while Temporal alone, or the worker alone, is away late slots are missed, the last runs, or all run in order; the watchdog tells it meanwhile', async (t) => {
  const absences: Record<string, Absence> = {
    'without Temporal': {
      almanac: withoutTemporal,
      receiver: receivers[0]!,
      leave: () => temporal.stop(),
      comeBack: () => temporal.start(),
    },
    'without worker': {
      almanac: withoutWorker,
      receiver: receivers[1]!,
      leave: () => withoutWorker.processes.worker[0]!.stop(),
      comeBack: () => withoutWorker.start('worker'),
    },
  };
  // both to their end: nothing of the other may still be under way when one has failed
  const ended = await Promise.allSettled(
    Object.entries(absences).map(async ([name, absence]) => {
      const { said, events } = await outage(absence);
      t.diagnostic(`${name}: ${said}; told meanwhile: ${events.join(', ')}`);
      for (const policy of ['none', 'last', 'once-a-day-none'])
        assert.ok(events.includes(`missed ${policy}`), `${name}: ${policy} in ${events}`);
      const { pool } = absence.almanac;
      await until(`${name}: recovered is told`, async () => (await eventsOf(absence.almanac)).includes('recovered none'));
      const { rows } = await pool.query<{ alarm: string | null }>(`SELECT alarm FROM job_runtime WHERE job_name = 'none'`);
      assert.equal(rows[0]?.alarm, null, name);
    }),
  );
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
});
