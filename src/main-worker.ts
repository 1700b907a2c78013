/** Entry: a worker. Serves the queues in WORKER_QUEUES; any number of copies may run. */
import { readConfigOrExit } from './config.ts';
import { createLog } from './log.ts';
import { exitWithParent } from './process-lifetime.ts';
import { startWorker } from './worker.ts';

exitWithParent();
const config = readConfigOrExit();
const log = createLog('worker', config.LOG_LEVEL);
await startWorker(config, log);
log.info('stopped');
process.exit(0);
