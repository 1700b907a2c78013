import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import { test } from 'node:test';
import { heartbeatReport } from '../../handlers/heartbeat-report.ts';
import { createHandlerTarget } from '../../src/activities/targets/handler-target.ts';
import { aCall, errorOf } from '../activities/targets/calls.ts';

const target = createHandlerTarget({ get: () => heartbeatReport, names: () => [heartbeatReport.name] });
const report = (input: unknown) => target.call('heartbeat-report', aCall({ input }));

test('without limits it reports the machine', async () => {
  const outcome = await report(null);
  assert.equal(outcome.status, 'succeeded', JSON.stringify(outcome));
  const { host, memoryPercent, diskFreePercent, loadPerCpu } = outcome.result as Record<string, number | string>;
  assert.equal(host, hostname());
  assert.ok(Number(memoryPercent) > 0 && Number(memoryPercent) < 100);
  assert.ok(Number(diskFreePercent) >= 0 && Number(diskFreePercent) <= 100);
  assert.ok(Number(loadPerCpu) >= 0);
});

test('a limit that is crossed fails the execution for good and says by how much', async () => {
  const error = errorOf(await report({ maxMemoryPercent: 0 }));
  assert.equal(error.retryable, false);
  assert.match(error.message, /memory in use \(%\) is [\d.]+, above 0/);
  assert.equal((await report({ maxMemoryPercent: 100, minDiskFreePercent: 0, maxLoadPerCpu: 1e6 })).status, 'succeeded');
});

test('a limit that is no limit is refused', async () => {
  assert.equal(errorOf(await report({ maxMemoryPercent: 101 })).type, 'invalid_input');
  assert.equal(errorOf(await report({ maxMemory: 5 })).type, 'invalid_input');
});
