/** Entry of `npm start`: the whole of Almanac in one terminal, with a Postgres and a Temporal of its own unless others are given. */
import { fileURLToPath } from 'node:url';
import { ConfigError, inheritedEnvironment, readConfig } from './config.ts';
import { runAllInOne } from './embedded/run-all-in-one.ts';
import { createTerminal } from './embedded/terminal.ts';
import { createLog } from './log.ts';
import { exitWithParent } from './process-lifetime.ts';

exitWithParent();
// A terminal that is closed must not end us before everything has stopped.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

try {
  const config = readConfig();
  const code = await runAllInOne({
    config,
    environment: inheritedEnvironment(),
    directory: fileURLToPath(new URL('..', import.meta.url)),
    terminal: createTerminal({
      pretty: process.stdout.isTTY === true,
      log: createLog('start', config.LOG_LEVEL),
      write: (text) => process.stdout.write(text),
    }),
  });
  process.exit(code);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  console.error(error.message);
  process.exit(1);
}
