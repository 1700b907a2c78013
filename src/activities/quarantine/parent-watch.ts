/**
 * A thread beside the one that makes the call, with the one task to end the process when its parent is gone. The channel tells that too, but only to
 * a thread that is not in an endless loop.
 */
import { workerData } from 'node:worker_threads';

const EVERY_MS = 500;
const parent: unknown = workerData;

setInterval(() => {
  // The process leads its group: what the call has started goes with it.
  if (process.ppid !== parent) process.kill(-process.pid, 'SIGKILL');
}, EVERY_MS);
