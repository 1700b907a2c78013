/** The one log: JSON lines on stdout through pino, with secrets redacted. */
import { type Logger, pino } from 'pino';

export type Log = Logger;

const SECRET_FIELDS = ['authorization', 'cookie', 'password', 'secret', 'token', 'apiKey', 'api_key', '["x-api-key"]', '["set-cookie"]'];
const REDACTED_PATHS = SECRET_FIELDS.flatMap((field) => {
  const at = (prefix: string) => (field.startsWith('[') ? `${prefix}${field}` : `${prefix}.${field}`);
  return [field, at('*'), at('headers'), at('req.headers'), at('res.headers')];
});

/**
 * Creates the process's log. ERROR means that a person must act.
 * @param process name of the process: `api`, `worker`, `controller`, `migrate`, `start`.
 */
export function createLog(process: string, level = 'info'): Log {
  return pino({
    level,
    base: { process },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    formatters: { level: (label) => ({ level: label }) },
  });
}
