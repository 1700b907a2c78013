/** Entry: the controller. Any number of copies may run. */
import { readConfigOrExit } from './config.ts';
import { startController } from './controller/process.ts';
import { createLog } from './log.ts';
import { exitWithParent } from './process-lifetime.ts';

exitWithParent();
const config = readConfigOrExit();
await startController(config, createLog('controller', config.LOG_LEVEL));
