/** Slots and one-offs: when their calls come, and which of them there are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/almanac.ts';
import { catchUpHolds, POLICIES } from '../support/catch-up.ts';
import type { Body } from '../support/client.ts';
import { firing, type Scene } from './scene.ts';

export function slotFacts(scene: () => Scene): void {
  test('a job fires within startAt and endAt only and is finished then; its calls tell their slot', async () => {
    const { kind, almanac, endpoint, job, endedSlots, ok } = scene();
    const hears = endpoint();
    const { schedule, first } = firing(4, 6_000);
    const made = await job(hears, { overlap: 'allow_all', schedule });
    const rows = await endedSlots(made, 4);
    assert.deepEqual(
      rows.map(({ slot }) => Date.parse(slot)),
      [0, 1, 2, 3].map((n) => first + n * 1_000),
    );
    for (const row of rows) {
      assert.deepEqual([row.status, row.trigger, row.dispatch, row.attempt], ['succeeded', 'schedule', kind, 1]);
      assert.equal(row.id, `${made.id}-${row.slot.slice(0, 19)}Z`);
      if (kind === 'dedicated') assert.equal(row.workflowId, row.id);
      else assert.match(row.workflowId, /^clock_[0-9a-f]{32}-(late-)?2/);
      assert.ok(row.runId && row.latenessMs >= 0 && row.latenessMs < 15_000);
      const [call] = hears.calls.filter((one) => one.execution === row.id);
      assert.equal(Date.parse(String(call!.headers['x-almanac-slot'])), Date.parse(row.slot));
    }
    assert.equal(hears.calls.length, 4);
    await until('it is finished', async () => (await ok(200, almanac.api.get(`/jobs/${made.id}`))).state === 'finished');
  });

  test('jitter moves the calls of a job by one offset, never its slots; lateness is told against what is due', async () => {
    const { almanac, endpoint, job, endedSlots } = scene();
    const { schedule, first } = firing(3, 6_000);
    const hears = endpoint();
    const several = await Promise.all(
      Array.from({ length: 5 }, () => job(hears, { overlap: 'allow_all', schedule: { ...schedule, jitter: '4s' } })),
    );
    const offsets = new Set<number>();
    for (const made of several) {
      const { rows: known } = await almanac.pool.query('SELECT offset_s FROM job_runtime WHERE job_id = $1', [made.id]);
      const offsetMs = Number(known[0].offset_s) * 1_000;
      offsets.add(offsetMs);
      const rows = await until('all slots have ended', async () => {
        const some = await endedSlots(made, 3);
        return some.length === 3 && some;
      });
      for (const [nth, row] of rows.entries()) {
        assert.equal(Date.parse(row.slot), first + nth * 1_000);
        assert.equal(Date.parse(row.dueAt) - Date.parse(row.slot), offsetMs);
        assert.equal(row.latenessMs, Date.parse(row.startedAt) - Date.parse(row.dueAt));
        const [call] = hears.calls.filter((one) => one.execution === row.id);
        const lateMs = call!.at - Date.parse(row.dueAt);
        assert.ok(lateMs >= 0 && lateMs < 5_000, `${lateMs} ms after it was due`);
      }
    }
    assert.ok(offsets.size > 1, 'not all have the same');
  });

  test('a one-off runs once, when it is due, and its job is finished then; alone or among others of its second', async () => {
    const { kind, almanac, endpoint, job, ok } = scene();
    const hears = endpoint();
    const at = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 5_000).toISOString();
    const several = await Promise.all(Array.from({ length: 4 }, () => job(hears, { schedule: { at } })));
    several.push(await job(hears, { schedule: { delay: '2s' } }));
    for (const made of several) {
      const row = await until('it has ended', async () => {
        const [only, ...more] = (await ok(200, almanac.api.get(`/executions/${made.id}`))).items as Body[];
        assert.deepEqual(more, []);
        return only?.finishedAt ? only : undefined;
      });
      assert.deepEqual([row.status, row.trigger, row.attempt], ['succeeded', 'once', 1]);
      assert.ok(row.latenessMs >= 0 && row.latenessMs < 5_000, `${row.latenessMs} ms`);
      if (kind === 'dedicated') assert.equal(row.workflowId, row.id);
      const shown = await ok(200, almanac.api.get(`/jobs/${made.id}`));
      assert.deepEqual([shown.state, shown.lastOutcome, shown.nextRunAt], ['finished', 'succeeded', null]);
    }
    assert.equal(hears.calls.length, 5);
    assert.equal(new Set(hears.calls.map((call) => call.execution)).size, 5);
  });

  test('while nobody serves a queue its slots go by; afterwards they are missed, the last runs, or all run in order, as each job says', async (t) => {
    const { almanac, endpoint, job, slots, ok } = scene();
    const heard = Object.fromEntries(POLICIES.map((policy) => [policy, endpoint()]));
    const worker = await almanac.start('worker', { WORKER_QUEUES: 'outage' });
    const made: Record<string, Body> = {};
    for (const policy of POLICIES)
      made[policy] = await job(heard[policy]!, { category: 'outage', schedule: { every: '2s' }, catchUp: { policy } });
    for (const policy of POLICIES) await until(`${policy} fires`, async () => (await slots(made[policy]!)).some((row) => row.finishedAt));
    await worker.stop();
    const stopped = Date.now();
    await until('some of its slots are late', () => Date.now() > stopped + 21_000);
    const back = Date.now();
    await almanac.start('worker', { WORKER_QUEUES: 'outage' });
    const said = await catchUpHolds({
      slotsOf: (policy) => slots(made[policy]!),
      callsOf: (policy) => heard[policy]!.calls,
      everyMs: 2_000,
      stopped,
      back,
    });
    for (const policy of POLICIES) await ok(200, almanac.api.call('DELETE', `/jobs/${made[policy]!.id}`));
    t.diagnostic(said);
  });
}
