/** Entry: brings the database up to date, then ends. Waits for a Postgres that is still starting. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfigOrExit } from './config.ts';
import { createLog } from './log.ts';
import { migrate } from './migrate.ts';
import { isPostgresAway } from './postgres.ts';

const config = readConfigOrExit();
const log = createLog('migrate', config.LOG_LEVEL);
// As the first process of a container it would otherwise ignore the signal; a migration is one transaction, so leaving is safe.
process.once('SIGTERM', () => process.exit(143));
const patienceMs = 60_000;
const startedAt = Date.now();

for (;;) {
  try {
    const ran = await migrate(config.DATABASE_URL, log);
    log.info({ ran }, ran.length > 0 ? 'the database is up to date now' : 'the database was up to date');
    break;
  } catch (error) {
    if (!isPostgresAway(error) || Date.now() - startedAt > patienceMs) {
      log.error({ error: error instanceof Error ? error.message : String(error) }, 'the migration failed');
      process.exitCode = 1;
      break;
    }
    await sleep(250);
  }
}
