/** Every workflow that a worker of Almanac runs; the entry of the bundle. */
export { executeJob } from './execute-job.ts';
export { runOperation } from './run-operation.ts';
export { servePool, serveSlot } from './serve-pool.ts';
