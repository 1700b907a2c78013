/** The life of `npm start` as a process: start, run until told to stop, stop, and an exit code that says how it went. */
import { type AllInOne, type AllInOneOptions, startAllInOne } from './all-in-one.ts';

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Resolves when everything has stopped: 0 after a signal, 1 when the start failed (said in a sentence, without a stack, unless it is a fault of ours).
 * A second signal changes nothing: whoever is impatient has kill -9, and the next start puts that in order.
 */
export async function runAllInOne(options: Omit<AllInOneOptions, 'signal'>): Promise<number> {
  const { terminal } = options;
  const stopping = new AbortController();
  let onStop = () => {};
  const told = new Promise<void>((resolve) => {
    onStop = () => {
      if (!stopping.signal.aborted) terminal.info('Stopping');
      stopping.abort();
      resolve();
    };
  });
  for (const signal of STOP_SIGNALS) process.on(signal, onStop);
  try {
    const running: AllInOne = await startAllInOne({ ...options, signal: stopping.signal });
    await told;
    await running.stop();
    terminal.info('Everything has stopped; the data is kept');
    return 0;
  } catch (error) {
    if (stopping.signal.aborted) return 0;
    const fault = !(error instanceof Error) || error instanceof TypeError || error instanceof ReferenceError;
    terminal.error(fault ? String((error as { stack?: string }).stack ?? error) : error.message);
    return 1;
  }
}
