/** What can be called: handlers of the worker, and registered services as they are at the moment of the call. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/almanac.ts';
import { quickly, type Scene } from './scene.ts';

const TOLD = { type: 'handler', name: 'told' };

export function targetFacts(scene: () => Scene): void {
  test('a handler gets its parsed input and its ids; what it returns is the result, and its log names the execution', async () => {
    const { almanac, job, run } = scene();
    const row = await run(await job(TOLD), { input: { say: 'hello' } });
    assert.equal(row.status, 'succeeded');
    assert.deepEqual(row.result, { said: 'hello', executionId: row.id, slot: null, attempt: 1 });
    const line = await almanac.processes.worker[0]!.line((one) => one.msg === 'as told' && one.execution === row.id);
    assert.deepEqual([line.said, line.jobName, line.handler], ['hello', row.jobName, 'told']);
  });

  test('a handler that throws is tried again, unless it says never again; what does not fit its schema is not called', async () => {
    const { job, run } = scene();
    const made = await job(TOLD, quickly(3));
    const lucky = await run(made, { input: { failTimes: 2 } });
    assert.deepEqual([lucky.status, lucky.attempt, lucky.result.attempt], ['succeeded', 3, 3]);
    const hopeless = await run(made, { input: { forGood: true } });
    assert.deepEqual([hopeless.status, hopeless.attempt, hopeless.error.message], ['failed', 1, 'never again']);
    const unfit = await run(made, { input: { say: 7 } });
    assert.deepEqual([unfit.status, unfit.attempt, unfit.error.type], ['failed', 1, 'invalid_input']);
  });

  test('a service lends its address and headers to a call as it is registered at that moment; deleted between two tries it is missed', async () => {
    const { almanac, kind, endpoint, job, trigger, run, ended, ok } = scene();
    const { api } = almanac;
    const before = endpoint((_call, response) => response.writeHead(503, { 'retry-after': '2' }).end());
    const now = endpoint();
    const name = `service-${kind}`;
    await ok(201, api.post('/services', { name, baseUrl: before.url, headers: { 'x-from': 'service', 'x-both': 'service' } }));
    const target = { type: 'http', service: name, path: '/path?q=1', headers: { 'x-both': 'job' } };
    const made = await job(target, quickly(3));
    const asked = await trigger(made);
    await before.received(1);
    assert.deepEqual(
      [before.calls[0]!.path, before.calls[0]!.headers['x-from'], before.calls[0]!.headers['x-both']],
      [`${new URL(before.url).pathname}/path?q=1`, 'service', 'job'],
    );
    await ok(200, api.call('PATCH', `/services/${name}`, { baseUrl: `${now.url}/`, headers: { 'x-from': 'moved' } }));
    assert.equal((await ended(made, asked)).attempt, 2);
    assert.deepEqual([now.calls[0]!.execution, now.calls[0]!.headers['x-from']], [asked.id, 'moved']);
    assert.equal((await run(made)).attempt, 1);

    await ok(200, api.call('PATCH', `/services/${name}`, { baseUrl: before.url }));
    const last = await trigger(made);
    await before.received(2);
    await until(
      'its first try is recorded',
      async () => (await ok(200, api.get(`/executions/${made.id}/${last.id}`))).attempts.length === 1,
    );
    assert.equal((await ok(409, api.call('DELETE', `/services/${name}`))).code, 'service_in_use');
    await ok(200, api.call('PATCH', `/jobs/${made.id}`, { target: { type: 'http', url: now.url, service: null, path: null } }));
    await ok(204, api.call('DELETE', `/services/${name}`));
    const missed = await ended(made, last);
    assert.deepEqual([missed.status, missed.error.type], ['failed', 'invalid_input']);
    assert.match(missed.error.message, /not registered any more/);
    assert.equal((await run(made)).status, 'succeeded');
  });
}
