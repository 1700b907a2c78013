/** Almanac's own API process, with the rig's addresses in front of it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { startApi } from '../../src/api-process.ts';
import { readConfigOrExit } from '../../src/config.ts';
import { createLog } from '../../src/log.ts';
import { createFront } from './front.ts';
import { createSetting } from './setting.ts';

const { PEER_DATA, DISPATCH } = process.env as Record<string, string>;
const config = readConfigOrExit();
const setting = createSetting({
  origin: `http://127.0.0.1:${config.PORT}`,
  authorization: `Bearer ${config.ALMANAC_BOOTSTRAP_KEY}`,
  // Some measures start none.
  hasTemporal: existsSync(join(PEER_DATA!, 'temporal.started')),
  dispatch: DISPATCH ? { triggers: DISPATCH, schedules: DISPATCH } : { triggers: 'auto', schedules: 'pooled' },
});
await startApi(config, createLog('api', config.LOG_LEVEL), (app) => createFront(app, setting));
