/** Brings what the process of a quarantine writes to its output into our log: its log's lines as they are, anything else as a text. */
import type { Readable } from 'node:stream';
import type { Log } from '../../log.ts';

/** A longer line is cut in pieces, so that endless output without a line's end does not fill our memory; characters. */
const LINE_LIMIT = 64 * 1024;
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
/** Node writes dozens of these when it dies, and they say nothing of the call. */
const NATIVE_FRAME = /^ *\d+: 0x[0-9a-f]+ /;
type Level = (typeof LEVELS)[number];

/** @param onText gets every line that is not one of the log, but for the frames of a native stack. */
export function logOutput(stream: Readable, log: Log, onText: (text: string) => void): void {
  let rest = '';
  const pass = (line: string) => {
    if (line === '') return;
    const logged = logLine(line);
    if (logged) log[logged.level](logged.fields, logged.message);
    else if (NATIVE_FRAME.test(line)) log.debug({ text: line }, 'output of a quarantined call');
    else {
      onText(line);
      log.info({ text: line }, 'output of a quarantined call');
    }
  };
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) pass(line);
    for (; rest.length > LINE_LIMIT; rest = rest.slice(LINE_LIMIT)) pass(rest.slice(0, LINE_LIMIT));
  });
  stream.once('close', () => pass(rest));
  stream.on('error', () => {});
}

/** What our log says by itself (time, process) is left out. */
function logLine(line: string): { level: Level; message: string; fields: Record<string, unknown> } | null {
  if (!line.startsWith('{"level":')) return null;
  try {
    const { level, msg, time: _time, process: _process, ...fields } = JSON.parse(line) as Record<string, unknown>;
    const known = LEVELS.find((each) => each === level);
    return known ? { level: known, message: typeof msg === 'string' ? msg : '', fields } : null;
  } catch {
    return null;
  }
}
