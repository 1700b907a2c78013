/** Entry: the controller. Any number of copies may run. */
import { createWaysOut } from './activities/targets/ways-out.ts';
import { readConfigOrExit } from './config.ts';
import { startController } from './controller/process.ts';
import { createLog } from './log.ts';
import { exitWithParent } from './process-lifetime.ts';

exitWithParent();
const config = readConfigOrExit();
const waysOut = createWaysOut({ allow: config.ALMANAC_TARGET_ALLOW, deny: config.ALMANAC_TARGET_DENY });
await startController(config, createLog('controller', config.LOG_LEVEL), waysOut);
