/** What a person wants to know when everything runs: addresses, the key, and one command to paste. */
import picocolors from 'picocolors';
import type { Terminal } from './terminal.ts';

export type Summary = {
  apiUrl: string;
  /** Empty when Temporal is not ours. */
  temporalUiUrl: string;
  keyFile: string;
  key: string;
  logs: string;
  home: string;
  allow: string;
  startedInMs: number;
};

const EXAMPLE = 'heartbeat-report';

/** The command that makes the example job; the key is read from its file, so it is not left in the shell's history. */
export function exampleCommand({ apiUrl, keyFile }: Pick<Summary, 'apiUrl' | 'keyFile'>): string {
  const job = { name: EXAMPLE, schedule: { every: '10s' }, target: { type: 'handler', name: EXAMPLE } };
  return [
    `curl -sS -X POST ${apiUrl}/api/v1/jobs`,
    `-H "Authorization: Bearer $(cat ${quoted(keyFile)})"`,
    `-H 'Content-Type: application/json'`,
    `-d '${JSON.stringify(job)}'`,
  ].join(' ');
}

const quoted = (file: string): string => (/^[\w./-]+$/.test(file) ? file : `'${file.replaceAll("'", `'\\''`)}'`);

export function showSummary(terminal: Terminal, summary: Summary): void {
  const { apiUrl, temporalUiUrl, keyFile, key, logs, home, allow, startedInMs } = summary;
  const curl = exampleCommand(summary);
  const executions = `${apiUrl}/api/v1/executions/${EXAMPLE}`;
  if (!terminal.isPretty) {
    // The key itself is not for a log that others may read: the file is named instead.
    terminal.info('ready', {
      api: apiUrl,
      docs: `${apiUrl}/docs`,
      temporalUi: temporalUiUrl || null,
      adminKeyFile: keyFile,
      logs,
      home,
      curl,
      executions,
      startedInMs,
    });
    return;
  }
  const { bold, cyan, dim, green } = picocolors.createColors();
  const row = (name: string, value: string, note = '') => `  ${name.padEnd(13)} ${cyan(value)}${note ? dim(`  ${note}`) : ''}`;
  terminal.block([
    '',
    `${green('✓')} ${bold('Almanac runs.')} ${dim(`Started in ${(startedInMs / 1_000).toFixed(1)} s; Ctrl-C stops it, everything is kept.`)}`,
    '',
    row('API', apiUrl),
    row('Docs', `${apiUrl}/docs`),
    ...(temporalUiUrl ? [row('Temporal UI', temporalUiUrl)] : []),
    row('Admin key', key, `kept in ${keyFile}`),
    row('Data', home),
    row('Logs', logs),
    row(
      'Targets',
      allow || 'public addresses',
      allow ? "besides public addresses, without Almanac's own ports (ALMANAC_TARGET_ALLOW)" : '',
    ),
    '',
    '  A job that runs every 10 s:',
    '',
    curl,
    '',
    `  Its first execution shows here within 10 s, ${temporalUiUrl ? `in the Temporal UI, ` : ''}and in`,
    `  ${executions}`,
    '',
  ]);
}
