/** Where places are few: who goes first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import type { Scene } from './scene.ts';

/** One call at a time, however it is dispatched. */
const ONE_PLACE = { WORKER_QUEUES: 'narrow', WORKER_SLOTS: '1', POOL_CALLS: '1', POOL_CALLS_PER_TARGET: '1' };

export function narrowFacts(scene: () => Scene): void {
  test('when places are few the urgent go first, whoever came first', async () => {
    const { kind, almanac, endpoint, job, trigger, ended } = scene();
    let letGo = () => {};
    const hears = endpoint((call, response) => {
      if (call.body === '"first"') letGo = () => response.end();
      else setTimeout(() => response.end(), 20);
    });
    const jobs = await Promise.all([5, 3, 1].map((priority) => job(hears, { category: 'narrow', overlap: 'allow_all', priority })));
    const worker = await almanac.start('worker', ONE_PLACE);
    // one has the only place while the others come, the least urgent first
    const first = await trigger(jobs[0], { input: 'first' });
    await hears.received(1);
    const asked: [Body, Body][] = await Promise.all(
      jobs.flatMap((made) => [1, 2, 3, 4].map(async (): Promise<[Body, Body]> => [made, await trigger(made)])),
    );
    if (kind === 'pooled')
      await until('all wait for the place', async () => {
        const { rows } = await almanac.pool.query(
          `SELECT count(*)::int AS count FROM job_executions WHERE queue = 'narrow' AND run_id IS NOT NULL`,
        );
        return rows[0].count === 13;
      });
    letGo();
    const rows: Body[] = [];
    for (const [made, execution] of [[jobs[0], first] as const, ...asked]) rows.push(await ended(made, execution));
    await worker.stop();
    assert.deepEqual([...new Set(rows.map((row) => row.status))], ['succeeded']);
    assert.equal(hears.calls.length, 13);
    // executions with a workflow of their own are handed out by Temporal, of which servers before 1.31 know no priority: so are whole groups
    if (kind === 'dedicated') return;
    const mixed = [...Map.groupBy(rows.slice(1), (row) => row.workflowId).values()].filter(
      (group) => new Set(group.map((row) => row.priority)).size > 1,
    );
    assert.ok(mixed.length > 0, 'triggers of several priorities came together');
    for (const group of mixed) {
      const order = group
        .map((row) => ({ priority: row.priority, nth: hears.calls.findIndex((call) => call.execution === row.id) }))
        .sort((one, other) => one.nth - other.nth)
        .map(({ priority }) => priority);
      const places = Map.groupBy(order.entries(), ([, priority]) => priority);
      const mean = (priority: number) => places.get(priority)!.reduce((sum, [nth]) => sum + nth, 0) / places.get(priority)!.length;
      const urgency = [...places.keys()].sort();
      assert.deepEqual(
        urgency.toSorted((one, other) => mean(one) - mean(other)),
        urgency,
        `priorities as they were called: ${order.join(' ')}`,
      );
    }
  });
}
