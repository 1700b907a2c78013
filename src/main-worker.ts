/** Entry: a worker. Serves the queues in WORKER_QUEUES; any number of copies may run. */
import { readConfig } from './config.ts';
import { createLog } from './log.ts';
import { exitWithParent } from './process-lifetime.ts';
import { startWorker } from './worker.ts';

exitWithParent();
const config = readConfig();
const log = createLog('worker', config.LOG_LEVEL);
await startWorker(config, log);
log.info('stopped');
process.exit(0);
