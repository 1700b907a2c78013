/** What `npm start` tells: lines for people on a terminal, JSON through the log otherwise. */
import picocolors from 'picocolors';
import type { Log } from '../log.ts';

export type Terminal = {
  info: (sentence: string, fields?: object) => void;
  warn: (sentence: string, fields?: object) => void;
  error: (sentence: string, fields?: object) => void;
  /** A line that one of our processes has logged. */
  line: (process: string, line: string) => void;
  /** Several lines as they are; on a terminal alone. */
  block: (lines: string[]) => void;
  isPretty: boolean;
};

/** At most so many executions are shown per second; the rest is counted. The log files have them all. */
const EXECUTIONS_PER_SECOND = 50;
const FINISHED = '"msg":"execution finished"';
const LOUD = /"level":"(warn|error|fatal)"/;

type Line = { level?: string; msg?: string; jobName?: string; status?: string; durationMs?: number; error?: unknown };

export function createTerminal(options: { pretty: boolean; log: Log; write: (text: string) => void; now?: () => number }): Terminal {
  const { pretty, log, write, now = Date.now } = options;
  const { bold, cyan, dim, green, red, yellow } = picocolors.createColors(pretty && picocolors.isColorSupported);
  const clock = () => dim(new Date(now()).toTimeString().slice(0, 8));
  const print = (mark: string, sentence: string) => write(`${clock()} ${mark} ${sentence}\n`);
  const say =
    (level: 'info' | 'warn' | 'error', mark: string) =>
    (sentence: string, fields: object = {}) => {
      if (pretty) print(mark, sentence);
      else log[level](fields, sentence);
    };

  let second = 0;
  let shown = 0;
  let left = 0;
  const execution = (line: string, parsed: Line) => {
    const current = Math.floor(now() / 1_000);
    if (current !== second) {
      if (left > 0) say('info', dim('·'))(`${left} more executions in that second`);
      [second, shown, left] = [current, 0, 0];
    }
    shown += 1;
    if (shown > EXECUTIONS_PER_SECOND) {
      left += 1;
    } else if (pretty) {
      const good = parsed.status === 'succeeded';
      const took = parsed.durationMs === undefined ? '' : dim(` ${parsed.durationMs} ms`);
      print(good ? green('✓') : red('✗'), `${bold(parsed.jobName ?? '?')} ${good ? parsed.status : red(parsed.status ?? '?')}${took}`);
    } else {
      write(`${line}\n`);
    }
  };

  return {
    isPretty: pretty,
    info: say('info', cyan('·')),
    warn: say('warn', yellow('!')),
    error: say('error', red('✗')),
    block: (lines) => {
      if (pretty) write(`${lines.join('\n')}\n`);
    },
    line: (name, line) => {
      const finished = line.includes(FINISHED);
      if (!finished && line.startsWith('{') && !LOUD.test(line)) return;
      const parsed = parse(line);
      // What is no log line of ours came from below it, so it is worth seeing.
      if (parsed === null) return void say('warn', yellow('!'))(`${name}: ${line}`);
      if (finished) return execution(line, parsed);
      if (!pretty) return void write(`${line}\n`);
      const why =
        parsed.error === undefined ? '' : dim(` (${typeof parsed.error === 'string' ? parsed.error : JSON.stringify(parsed.error)})`);
      print(parsed.level === 'warn' ? yellow('!') : red('✗'), `${name}: ${parsed.msg}${why}`);
    },
  };
}

function parse(line: string): Line | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Line) : null;
  } catch {
    return null;
  }
}
