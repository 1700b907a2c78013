/** The one log: JSON lines on stdout through pino, with secrets redacted. */
import { type Logger, type LoggerOptions, pino } from 'pino';

export type Log = Logger;

const GATHERED_BYTES = 8 * 1024;

const SECRET_FIELDS = ['authorization', 'cookie', 'password', 'secret', 'token', 'apiKey', 'api_key', '["x-api-key"]', '["set-cookie"]'];
const REDACTED_PATHS = SECRET_FIELDS.flatMap((field) => {
  const at = (prefix: string) => (field.startsWith('[') ? `${prefix}${field}` : `${prefix}.${field}`);
  return [field, at('*'), at('headers'), at('req.headers'), at('res.headers')];
});

/**
 * Creates the process's log. ERROR means that a person must act.
 * @param process name of the process: `api`, `worker`, `controller`, `migrate`, `start`.
 * @param gatherMs lines are written together, at most so many milliseconds late: for lines by the thousand, the last of which may be lost to a kill -9. 0: each at once.
 */
export function createLog(process: string, level = 'info', gatherMs = 0): Log {
  const options: LoggerOptions = {
    level,
    base: { process },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    formatters: { level: (label) => ({ level: label }) },
  };
  const destination = pino.destination(
    gatherMs === 0 ? { dest: 1, sync: true } : { dest: 1, sync: false, minLength: GATHERED_BYTES, periodicFlush: gatherMs },
  );
  // Nobody reads any more. What is kept would be tried again and again at the exit, which then never comes (pino sees to EPIPE alone).
  destination.on('error', () => Object.assign(destination, { write: nothing, flushSync: nothing, end: nothing }));
  return pino(options, destination);
}

const nothing = (): void => {};

/**
 * A child that is made when it is first used: most calls never log, and a child costs more than a short call.
 * @param bindings as pino's `child` takes them.
 */
export function lazyChild(log: Log, bindings: object): Log {
  let child: Log | undefined;
  return new Proxy(log, {
    get(_parent, name) {
      child ??= log.child(bindings);
      const member = child[name as keyof Log];
      return typeof member === 'function' ? member.bind(child) : member;
    },
  });
}

/** A child without the search for secrets, for lines whose every member is named where they are written: it costs more than writing them. */
export const plainChild = (log: Log): Log => log.child({}, { redact: [] });
