/**
 * The thread in which the SDK runs workflow code, made cheaper (docs/decisions/0009).
 *
 * The SDK enters its sandbox about nine times per execution, each time with a time limit, for which Node starts and joins a thread of its own: a fifth of all
 * that a worker spends. The limit is there for code that never returns; the only workflow code here is ours, and the SDK's own detection of a stuck
 * workflow task stays. So the limit is left out. So is the stack trace that it takes of every promise, for a query that nothing here asks.
 *
 * This file is imported twice: by the worker, which puts itself between the SDK and `new Worker`, and as the first thing in each of those threads.
 */
import v8 from 'node:v8';
import vm from 'node:vm';
import workerThreads, { isMainThread, type WorkerOptions } from 'node:worker_threads';

const THREAD_OF_THE_SDK = /[\\/]@temporalio[\\/]worker[\\/].*[\\/]workflow-worker-thread\b/;

/** What a thread is started with: the SDK's for workflow code gets this file first, any other what was asked for. */
export function threadOptions(file: string | URL, options: WorkerOptions | undefined): WorkerOptions | undefined {
  if (!THREAD_OF_THE_SDK.test(String(file))) return options;
  return { ...options, execArgv: ['--import', import.meta.url] };
}

/** From now on the SDK's threads for workflow code are lean ones. Before the first `Worker.create`. */
export function useLeanWorkflowThreads(): void {
  const { Worker } = workerThreads;
  workerThreads.Worker = class extends Worker {
    constructor(file: string | URL, options?: WorkerOptions) {
      super(file, threadOptions(file, options));
    }
  };
}

/** Makes scripts run without a time limit, which is what costs a thread each time. */
export function dropTimeLimits(script: Pick<vm.Script, 'runInContext'>): void {
  const { runInContext } = script;
  script.runInContext = function (context, options) {
    const { timeout: _, ...rest } = options ?? {};
    return runInContext.call(this, context, rest);
  };
}

if (!isMainThread) {
  dropTimeLimits(vm.Script.prototype);
  v8.promiseHooks.createHook = () => () => undefined;
}
