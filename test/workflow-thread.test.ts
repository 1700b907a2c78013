/** The SDK's workflow threads: started with less around them, and nobody else's threads changed. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import vm from 'node:vm';
import { dropTimeLimits, threadOptions } from '../src/workflow-thread.ts';

const sdk = dirname(createRequire(import.meta.url).resolve('@temporalio/worker'));

test('the thread for workflow code is started with this file in it, and its other options kept', () => {
  const options = threadOptions(join(sdk, 'workflow', 'workflow-worker-thread.js'), { name: 'kept' });
  assert.match(options!.execArgv!.join(' '), /^--import file:.*workflow-thread\.ts$/);
  assert.equal(options!.name, 'kept');
});

test('any other thread is started as asked for', () => {
  const asked = { name: 'log' };
  assert.equal(threadOptions('/somewhere/thread-stream/lib/worker.js', asked), asked);
  assert.equal(threadOptions('/somewhere/workflow-worker-thread.js', undefined), undefined);
});

test('scripts run without a time limit, with their other options and their own this', () => {
  const seen: unknown[] = [];
  const script = {
    runInContext(this: unknown, context: vm.Context, options: object) {
      seen.push(this, context, options);
      return 'ran';
    },
  } as unknown as vm.Script;
  dropTimeLimits(script);
  const context = vm.createContext({});
  assert.equal(script.runInContext(context, { timeout: 5_000, displayErrors: true }), 'ran');
  assert.deepEqual(seen, [script, context, { displayErrors: true }]);
});

test('this SDK starts its threads and enters its sandbox the way that is changed here', () => {
  assert.match(
    readFileSync(join(sdk, 'workflow', 'threaded-vm.js'), 'utf8'),
    /new node_worker_threads_1\.Worker\(require\.resolve\('\.\/workflow-worker-thread'\)\)/,
  );
  assert.match(readFileSync(join(sdk, 'workflow', 'reusable-vm.js'), 'utf8'), /callIntoVmScript\.runInContext\(context, \{\s*timeout:/);
  assert.match(readFileSync(join(sdk, 'workflow', 'vm-shared.js'), 'utf8'), /node_v8_1\.default\.promiseHooks\.createHook\(/);
});
