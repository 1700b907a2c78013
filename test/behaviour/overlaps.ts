/** Two executions of a job at the same time: what each overlap policy makes of them, whether slots or triggers meet. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { countersOf } from '../support/seed.ts';
import { endOf, firing, type Gate, type Scene } from './scene.ts';

type Way = 'slot' | 'trigger';
const MEETINGS: [Way, Way][] = [
  ['trigger', 'trigger'],
  ['slot', 'slot'],
  ['slot', 'trigger'],
  ['trigger', 'slot'],
];
const POLICIES = ['skip', 'buffer_one', 'buffer_all', 'cancel_other', 'terminate_other', 'allow_all'] as const;

type Met = { job: Body; gate: Gate; first: Body; second: Body };

/** The first is in its call when the second comes. */
async function meet(scene: Scene, overlap: string, [one, other]: [Way, Way]): Promise<Met> {
  const gate = scene.gate();
  const slots = [one, other].filter((way) => way === 'slot').length;
  const { schedule, first: due } = firing(slots, one === 'slot' ? 3_000 : 8_000, 2);
  const job = await scene.job(gate, { overlap, timeout: '10s', ...(slots > 0 && { schedule }) });
  // a trigger that a slot shall meet comes shortly before it, and its call is not over by its timeout when the slot is late
  if (one === 'trigger' && other === 'slot') await sleep(due - 2_500 - Date.now());
  const asked = one === 'trigger' ? await scene.trigger(job) : null;
  await gate.received(1);
  const first = asked ?? (await scene.slots(job))[0];
  const nth = one === 'slot' ? 1 : 0;
  const second =
    other === 'trigger'
      ? await scene.trigger(job)
      : await until('the slot has a row', async () => (await scene.slots(job))[nth] ?? undefined);
  return { job, gate, first, second };
}

export function overlapFacts(scene: () => Scene): void {
  for (const overlap of POLICIES)
    for (const ways of MEETINGS)
      test(`${overlap}: a ${ways[0]} is under way and a ${ways[1]} comes`, async () => {
        const met = await meet(scene(), overlap, ways);
        await OUTCOMES[overlap](scene(), met);
        const { active, waiting } = await countersOf(scene().almanac.pool, met.job.id);
        assert.deepEqual([active, waiting], [0, 0]);
      });

  test('buffer_one keeps the one that waits, and skips whoever comes then', async () => {
    const { gate, job, trigger, ended } = scene();
    const behind = gate();
    const made = await job(behind, { overlap: 'buffer_one' });
    const [first, second, third] = [await trigger(made), await trigger(made), await trigger(made)];
    assert.deepEqual([...endOf(await ended(made, third)), third.refusedFor], ['skipped', 'skipped_overlap', first.id]);
    for (const execution of [first, second]) {
      await until('it is called', () => behind.calls.some((call) => call.execution === execution.id));
      behind.release();
      assert.equal((await ended(made, execution)).status, 'succeeded');
    }
  });

  test('buffer_all runs what waits one after another in the order of acceptance, slots and triggers alike', async () => {
    const { gate, job, trigger, ended, slots } = scene();
    const behind = gate();
    const { schedule, first: due } = firing(2, 5_000);
    const made = await job(behind, { overlap: 'buffer_all', schedule });
    await sleep(due - 2_000 - Date.now());
    const asked = [await trigger(made), await trigger(made)];
    await until('both slots have a row', async () => (await slots(made)).length === 2);
    asked.push(...(await slots(made)), await trigger(made), await trigger(made));
    for (const [nth, { id }] of asked.entries()) {
      await behind.received(nth + 1);
      assert.equal(behind.calls[nth]!.execution, id);
      behind.release();
    }
    for (const execution of asked) assert.equal((await ended(made, execution)).status, 'succeeded');
  });

  test('inputs of one request follow the policy in their order', async () => {
    const { endpoint, almanac, job, ok, ended } = scene();
    const inputs = [0, 1, 2, 3, 4];
    for (const [overlap, ends, order] of [
      ['skip', ['succeeded', 'skipped', 'skipped', 'skipped', 'skipped'], [0]],
      ['buffer_one', ['succeeded', 'succeeded', 'skipped', 'skipped', 'skipped'], [0, 1]],
      ['buffer_all', ['succeeded', 'succeeded', 'succeeded', 'succeeded', 'succeeded'], [0, 1, 2, 3, 4]],
      ['cancel_other', ['cancelled', 'cancelled', 'cancelled', 'cancelled', 'succeeded'], [4]],
      ['terminate_other', ['terminated', 'terminated', 'terminated', 'terminated', 'succeeded'], [4]],
    ] as const) {
      const hears = endpoint();
      const made = await job(hears, { overlap });
      const { items } = await ok(202, almanac.api.post(`/schedule/${made.id}/trigger`, { inputs }));
      const rows = await Promise.all(items.map((item: Body) => ended(made, item)));
      assert.deepEqual(
        rows.map((row) => row.status),
        ends,
        overlap,
      );
      assert.deepEqual(
        hears.calls.map((call) => JSON.parse(call.body)),
        order,
        overlap,
      );
    }
  });
}

async function waits(scene: Scene, { job, gate, first, second }: Met): Promise<void> {
  const shown = (await scene.ok(200, scene.almanac.api.get(`/executions/${job.id}/${second.id}`))) as Body;
  assert.deepEqual([shown.status, shown.waiting, shown.startedAt], ['queued', true, null]);
  assert.equal(gate.calls.length, 1);
  gate.release();
  assert.equal((await scene.ended(job, first)).status, 'succeeded');
  await gate.received(2);
  gate.release();
  const row = await scene.ended(job, second);
  assert.deepEqual([row.status, row.waiting, row.attempt, row.workflowId], ['succeeded', false, 1, row.id]);
}

async function makesRoom(scene: Scene, { job, gate, first, second }: Met, status: string): Promise<void> {
  const row = await scene.ended(job, first);
  assert.equal(row.status, status, row.reason);
  assert.match(`${row.reason} ${row.cancelledBy}`, new RegExp(status === 'cancelled' ? 'cancel_other' : 'terminate_other'));
  await gate.received(2);
  assert.equal(gate.calls[1]!.execution, second.id);
  await until('its call was broken off', () => gate.calls[0]!.aborted, 3_000);
  // the answer to the first goes to nobody
  gate.release();
  gate.release();
  assert.equal((await scene.ended(job, second)).status, 'succeeded');
  assert.equal((await scene.ended(job, first)).status, status);
}

const OUTCOMES: Record<(typeof POLICIES)[number], (scene: Scene, met: Met) => Promise<void>> = {
  async skip(scene, { job, gate, first, second }) {
    const row = await scene.ended(job, second);
    assert.deepEqual([...endOf(row), row.startedAt, row.attempt], ['skipped', 'skipped_overlap', null, 0]);
    assert.equal(second.refusedFor, row.trigger === 'manual' ? first.id : undefined);
    gate.release();
    assert.equal((await scene.ended(job, first)).status, 'succeeded');
    assert.equal(gate.calls.length, 1);
  },
  buffer_one: waits,
  buffer_all: waits,
  cancel_other: (scene, met) => makesRoom(scene, met, 'cancelled'),
  terminate_other: (scene, met) => makesRoom(scene, met, 'terminated'),
  async allow_all(scene, { job, gate, first, second }) {
    await gate.received(2);
    gate.release();
    gate.release();
    for (const execution of [first, second]) assert.equal((await scene.ended(job, execution)).status, 'succeeded');
  },
};
