/** What people do to stop things: pause, disable, cancel, terminate. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { countersOf } from '../support/seed.ts';
import { endOf, firing, quickly, type Scene } from './scene.ts';

export function stopFacts(scene: () => Scene): void {
  const cancel = (job: Body, execution: Body) => scene().almanac.api.post(`/executions/${job.id}/${execution.id}/cancel`);

  test('a paused job fires no slot, says how many it skipped, runs triggers unless told to block them, and goes on when resumed', async () => {
    const { almanac, endpoint, job, run, slots, ok } = scene();
    const made = await job(endpoint(), { schedule: { every: '1s' }, overlap: 'allow_all' });
    await until('it fires', async () => (await slots(made)).length > 0);
    const paused = await ok(200, almanac.api.post(`/schedule/${made.id}/pause`, { reason: 'upgrade' }));
    assert.deepEqual([paused.state, paused.pause.reason, paused.nextRunAt], ['paused', 'upgrade', null]);
    assert.equal((await run(made)).status, 'succeeded');
    await ok(200, almanac.api.post(`/schedule/${made.id}/pause`, { reason: 'upgrade', blockManual: true }));
    assert.equal((await ok(409, almanac.api.post(`/schedule/${made.id}/trigger`))).code, 'job_paused');
    const pausedAt = Date.parse(paused.pause.at);
    await until('three slots have passed', () => Date.now() > pausedAt + 3_500);
    const resumed = await ok(200, almanac.api.post(`/schedule/${made.id}/resume`));
    assert.deepEqual([resumed.state, resumed.pause], ['active', null]);
    const { rows } = await almanac.pool.query('SELECT from_at, to_at, count FROM slot_ranges WHERE job_id = $1', [made.id]);
    assert.equal(rows.length, 1);
    const { from_at: from, to_at: to, count } = rows[0];
    assert.equal(count, Math.floor((to.getTime() - 1) / 1_000) - Math.floor((from.getTime() - 1) / 1_000), 'whole seconds in the pause');
    await until('slots start again', async () => (await slots(made)).some(({ slot }) => Date.parse(slot) >= to.getTime()));
    for (const { slot } of await slots(made)) assert.ok(Date.parse(slot) < from.getTime() || Date.parse(slot) >= to.getTime(), slot);
    await ok(200, almanac.api.call('DELETE', `/jobs/${made.id}`));
  });

  test('a pause that comes between a slot’s admission and its call keeps it from being called', async () => {
    const { almanac, endpoint, job, slots, ended, ok } = scene();
    const hears = endpoint();
    // the offset within the jitter is the job's own: some are long enough to step in between
    const { made, first } = await (async () => {
      for (;;) {
        const { schedule, first } = firing(1, 5_000);
        const made = await job(hears, { schedule: { ...schedule, jitter: '8s' } });
        const { rows } = await almanac.pool.query('SELECT offset_s FROM job_runtime WHERE job_id = $1', [made.id]);
        if (Number(rows[0].offset_s) >= 5) return { made, first };
        await ok(200, almanac.api.call('DELETE', `/jobs/${made.id}`));
      }
    })();
    const [row] = await until('the slot is admitted', async () => {
      const admitted = await slots(made);
      return admitted.length > 0 && admitted;
    });
    assert.deepEqual([row.status, row.waiting, Date.parse(row.slot)], ['queued', false, first]);
    await ok(200, almanac.api.post(`/schedule/${made.id}/pause`, { reason: 'just now' }));
    assert.deepEqual(endOf(await ended(made, row)), ['skipped', 'paused']);
    assert.equal(hears.calls.length, 0);
    assert.equal((await countersOf(almanac.pool, made.id)).active, 0);
  });

  test('a disabled job refuses triggers and fires nothing; enabled again it goes on', async () => {
    const { almanac, endpoint, job, slots, ok } = scene();
    const made = await job(endpoint(), { schedule: { every: '1s' }, enabled: false });
    assert.equal((await ok(200, almanac.api.get(`/jobs/${made.id}`))).state, 'disabled');
    assert.equal((await ok(409, almanac.api.post(`/schedule/${made.id}/trigger`))).code, 'job_disabled');
    const enabled = await ok(200, almanac.api.call('PATCH', `/jobs/${made.id}`, { enabled: true }));
    assert.deepEqual([enabled.state, enabled.generation], ['active', 2]);
    await until('it fires', async () => (await slots(made)).length > 0);
    for (const { slot } of await slots(made)) assert.ok(Date.parse(slot) >= Date.parse(enabled.updatedAt));
    await ok(200, almanac.api.call('DELETE', `/jobs/${made.id}`));
  });

  test('cancelled before anybody has begun it, an execution is never called', async () => {
    const { almanac, endpoint, job, trigger, ended } = scene();
    const hears = endpoint();
    const made = await job(hears, { category: 'nobody', overlap: 'allow_all' });
    const asked = await trigger(made);
    await cancel(made, asked);
    const row = await ended(made, asked);
    assert.deepEqual([row.status, row.attempt, row.cancelledBy !== null, row.attempts.length], ['cancelled', 0, true, 0]);
    assert.equal((await cancel(made, asked)).body.code, 'execution_finished');
    const worker = await almanac.start('worker', { WORKER_QUEUES: 'nobody' });
    const next = await trigger(made);
    assert.equal((await ended(made, next)).status, 'succeeded');
    assert.deepEqual(
      hears.calls.map((call) => call.execution),
      [next.id],
    );
    await worker.stop();
  });

  test('cancelling aborts the call in flight within a second, and no other of the job', async () => {
    const { gate, job, trigger, ended } = scene();
    const behind = gate();
    const made = await job(behind, { overlap: 'allow_all' });
    const [spared, asked] = [await trigger(made), await trigger(made)];
    await behind.received(2);
    const cancelledAt = Date.now();
    await cancel(made, asked);
    const row = await ended(made, asked);
    assert.deepEqual([row.status, row.error.type, row.attempts.map((one: Body) => one.status)], ['cancelled', 'cancelled', ['cancelled']]);
    assert.ok(Date.parse(row.finishedAt) - cancelledAt < 1_500, `${Date.parse(row.finishedAt) - cancelledAt} ms`);
    const of = (execution: Body) => behind.calls.find((call) => call.execution === execution.id)!;
    assert.deepEqual([of(asked).aborted, of(spared).aborted], [true, false]);
    behind.release();
    behind.release();
    assert.equal((await ended(made, spared)).status, 'succeeded');
  });

  test('cancelled between two tries, an execution is not tried again', async () => {
    const { almanac, endpoint, job, trigger, ended, ok } = scene();
    const broken = endpoint((_call, response) => response.writeHead(500).end());
    const made = await job(broken, quickly(3, { initialInterval: '3s' }));
    const asked = await trigger(made);
    await until('the first try is recorded', async () => {
      const { attempts } = await ok(200, almanac.api.get(`/executions/${made.id}/${asked.id}`));
      return attempts.length === 1;
    });
    await cancel(made, asked);
    const row = await ended(made, asked);
    assert.deepEqual([row.status, row.attempt, broken.calls.length], ['cancelled', 1, 1]);
    assert.ok(Date.parse(row.finishedAt) - Date.parse(row.startedAt) < 2_500, 'it does not wait for the pause to end');
  });

  test('terminating ends the row at once, and a later success of the call changes nothing', async () => {
    const { almanac, gate, job, trigger, run, ok, ended } = scene();
    const behind = gate();
    const made = await job(behind, { overlap: 'allow_all' });
    const asked = await trigger(made);
    await behind.received(1);
    assert.equal((await ok(200, almanac.api.post(`/executions/${made.id}/${asked.id}/terminate`))).status, 'terminated');
    behind.release();
    assert.equal((await countersOf(almanac.pool, made.id)).active, 0);
    const next = run(made);
    await behind.received(2);
    behind.release();
    assert.equal((await next).status, 'succeeded');
    const row = await ended(made, asked);
    assert.deepEqual([row.status, row.result, row.attempts.map((one: Body) => one.status)], ['terminated', null, ['terminated']]);
  });
}
