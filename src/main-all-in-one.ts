/** Entry of `npm start`: the whole of Almanac in one terminal, with a Postgres and a Temporal of its own unless others are given. */
import { fileURLToPath } from 'node:url';
import { ConfigError, inheritedEnvironment, readConfig } from './config.ts';
import { type AllInOne, startAllInOne } from './embedded/all-in-one.ts';
import { createTerminal } from './embedded/terminal.ts';
import { createLog } from './log.ts';
import { exitWithParent } from './process-lifetime.ts';

exitWithParent();
// A terminal that was closed must not end us before everything is stopped.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

const stopping = new AbortController();
let running: AllInOne | undefined;

try {
  const config = readConfig();
  const terminal = createTerminal({
    pretty: process.stdout.isTTY === true,
    log: createLog('start', config.LOG_LEVEL),
    write: (text) => process.stdout.write(text),
  });
  const stop = async () => {
    if (stopping.signal.aborted) return;
    stopping.abort();
    terminal.info('Stopping');
    if (!running) return;
    await running.stop();
    terminal.info('Everything has stopped; the data is kept');
    process.exit(0);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void stop());

  try {
    running = await startAllInOne({
      config,
      environment: inheritedEnvironment(),
      directory: fileURLToPath(new URL('..', import.meta.url)),
      terminal,
      signal: stopping.signal,
    });
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
    process.exit(0);
  }
} catch (error) {
  // Whatever stops a start is said in a sentence or two; a stack helps nobody who only wants to start.
  const expected =
    error instanceof ConfigError || (error instanceof Error && error.name !== 'TypeError' && error.name !== 'ReferenceError');
  console.error(expected ? (error as Error).message : error);
  process.exit(1);
}
