/** Entry: the API. Starts while Postgres and Temporal are away, drains on SIGTERM; any number of copies may run. */
import { startApi } from './api-process.ts';
import { readConfigOrExit } from './config.ts';
import { createLog } from './log.ts';
import { exitWithParent } from './process-lifetime.ts';

exitWithParent();
const config = readConfigOrExit();
await startApi(config, createLog('api', config.LOG_LEVEL));
