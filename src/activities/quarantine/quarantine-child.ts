/**
 * Entry: the process of a quarantine. Makes one call at a time for its parent, as a worker with the same settings would, and ends with its parent.
 * Its only argument is the parent's process id.
 */
import { writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { createLog, type Log } from '../../log.ts';
import { openTargets, type Targets } from '../open-targets.ts';
import { HandlerLoadError } from '../targets/handler-load-error.ts';
import type { FromQuarantine, QuarantinedCall, QuarantineSettings, ToQuarantine } from './quarantine-messages.ts';

const nothing = () => {};
const tell = (message: FromQuarantine): void => void process.send?.(message, nothing);

new Worker(new URL('./parent-watch.ts', import.meta.url), { workerData: Number(process.argv[2]) }).unref();
const endAtOnce = () => process.exit(0);
process.once('disconnect', endAtOnce);
// Signals for the whole service are the parent's to answer: a call that ended by one would look as if it had killed us.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, nothing);
preferredByOutOfMemoryKiller();

let log: Log;
let targets: Targets;
let underWay: AbortController | null = null;

process.on('message', (message: ToQuarantine) => {
  if (message.kind === 'open') void open(message.settings);
  else if (message.kind === 'call') void made(message.call);
  else if (message.kind === 'cancel') underWay?.abort(new DOMException(message.reason, 'AbortError'));
  else void end();
});

async function open(settings: QuarantineSettings): Promise<void> {
  log = createLog('quarantine', settings.LOG_LEVEL);
  targets = await openTargets(settings).catch((error: unknown) => {
    if (!(error instanceof HandlerLoadError)) throw error;
    console.error(error.message);
    process.exit(1);
  });
  tell({ kind: 'ready' });
}

async function made(call: QuarantinedCall): Promise<void> {
  const controller = new AbortController();
  underWay = controller;
  const outcome = await targets.callTarget({
    ...call,
    signal: controller.signal,
    // The parent reports for the call: it knows that this process lives.
    heartbeat: nothing,
    log: log.child({ execution: call.executionId, jobName: call.job.name, attempt: call.attempt }),
  });
  underWay = null;
  tell({ kind: 'outcome', outcome });
}

/** Without a channel this process goes when nothing is left to do: what a cancelled function still does may come to its end. */
async function end(): Promise<void> {
  process.off('disconnect', endAtOnce);
  process.disconnect?.();
  await targets.close();
}

/** When memory is short, Linux ends the process with the highest score (proc(5)); raising one's own needs no right. */
function preferredByOutOfMemoryKiller(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '1000');
  } catch {
    // Another system, or one that does not let us: then it chooses by itself.
  }
}
