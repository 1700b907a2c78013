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
    const asked: [Body, Body][] = [];
    for (const made of jobs)
      for (const execution of await Promise.all([1, 2, 3, 4].map(() => trigger(made)))) asked.push([made, execution]);
    if (kind === 'pooled')
      await until('all wait for the place', async () => {
        const { rows } = await almanac.pool.query(
          `SELECT count(*)::int AS count FROM job_executions WHERE queue = 'narrow' AND run_id IS NOT NULL`,
        );
        return rows[0].count === 13;
      });
    letGo();
    for (const [made, execution] of [[jobs[0], first] as const, ...asked]) assert.equal((await ended(made, execution)).status, 'succeeded');
    await worker.stop();
    const order = hears.calls.slice(1).map((call) => [5, 3, 1][jobs.findIndex((made) => made.id === call.headers['x-almanac-job-id'])]!);
    assert.equal(order.length, 12);
    // executions with a workflow of their own are handed out by Temporal, of which servers before 1.31 know no priority
    if (kind === 'dedicated') return;
    const place = (priority: number) => order.reduce((sum, one, nth) => sum + (one === priority ? nth : 0), 0) / 4;
    assert.ok(place(1) < place(3) && place(3) < place(5), `priorities as they were called: ${order.join(' ')}`);
  });
}
