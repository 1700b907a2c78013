/** Jobs that fire every second are switched between their own clock and a shared one all the time, as fast as the API answers: each slot is served once, or says why not. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
before(async () => {
  receiver = await startReceiver();
  almanac = await startAlmanac({ controllers: 2 });
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const SECONDS = 6;

test('no slot is lost or served twice', async () => {
  const target = { type: 'http', url: `${receiver.url}/ok` };
  const create = async (name: string, dispatch: string): Promise<string> => {
    const answer = await almanac.api.post('/jobs', { name, dispatch, target, overlap: 'allow_all', schedule: { every: '1s' } });
    assert.equal(answer.status, 201, answer.text);
    return (answer.body as Body).id;
  };
  const stays = await create('stays', 'pooled');
  const ids = [await create('one', 'dedicated'), await create('other', 'pooled')];
  const stopAt = Date.now() + SECONDS * 1_000;
  let switches = 0;
  await Promise.all(
    ids.map(async (id, n) => {
      for (let turn = n; Date.now() < stopAt; turn += 1) {
        const answer = await almanac.api.call('PATCH', `/jobs/${id}`, { dispatch: turn % 2 === 0 ? 'pooled' : 'dedicated' });
        assert.equal(answer.status, 200, answer.text);
        switches += 1;
      }
    }),
  );
  assert.ok(switches > SECONDS, `${switches} switches`);

  for (const id of [...ids, stays]) {
    const began = await almanac.pool.query<{ from: Date }>('SELECT min(valid_from) AS from FROM clock_members WHERE job_id = $1', [id]);
    const first = Math.ceil(began.rows[0]!.from.getTime() / 1_000) * 1_000;
    const expected = Array.from({ length: Math.floor((stopAt - first) / 1_000) + 1 }, (_, n) => first + n * 1_000);
    const ofSlots = async () =>
      (
        await almanac.pool.query<{ slot: Date; status: string; reason: string | null; attempt: number }>(
          `SELECT slot, status, reason, attempt FROM job_executions WHERE job_id = $1 AND trigger = 'schedule' AND slot BETWEEN $2 AND $3 ORDER BY slot`,
          [id, new Date(first), new Date(expected.at(-1)!)],
        )
      ).rows;
    // the last slots of a clock that was left are looked for when they are late
    const rows = await until(
      `${id}: a row that has ended for each slot`,
      async () => {
        const found = await ofSlots();
        return found.length === expected.length && found.every((row) => !['queued', 'running'].includes(row.status)) && found;
      },
      60_000,
    );
    assert.deepEqual(
      rows.map((row) => row.slot.getTime()),
      expected,
    );
    for (const { slot, status, reason, attempt } of rows)
      assert.ok((status === 'succeeded' && attempt === 1) || reason === 'missed', `${slot.toISOString()} ${status} ${reason} ${attempt}`);
    const calls = receiver.calls.filter((call) => call.execution.startsWith(id)).map((call) => call.execution);
    assert.equal(new Set(calls).size, calls.length, 'an execution was called twice');
    if (id === stays) assert.ok(rows.slice(3).every((row) => row.status === 'succeeded'));
  }
});
