/** Entry of `npm run bench`: measures Almanac beside its limits, row by row, and prints one table. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { machineFacts, machineNow, machineText } from './machine.ts';
import { type BenchOptions, BenchUsageError, parseBenchOptions, type RowName, USAGE } from './options.ts';
import { holds, type Report, type RowResult, tableOf, writeReport } from './report.ts';
import { bulk } from './rows/bulk.ts';
import { create } from './rows/create.ts';
import { createAsync } from './rows/create-async.ts';
import { execute } from './rows/execute.ts';
import { freeze } from './rows/freeze.ts';
import { history } from './rows/history.ts';
import { lateness } from './rows/lateness.ts';
import { ledger } from './rows/ledger.ts';
import { list } from './rows/list.ts';
import { memory } from './rows/memory.ts';
import { pooled } from './rows/pooled.ts';
import type { Row } from './rows/row.ts';
import { start } from './rows/start.ts';
import { RAISED_RATE_LIMIT_PER_S } from './stack/almanac.ts';
import { stopAll } from './stack/processes.ts';
import { openServers, type Servers } from './stack/servers.ts';

const ROWS: Record<RowName, Row> = {
  list,
  create,
  'create-async': createAsync,
  execute,
  pooled,
  history,
  lateness,
  ledger,
  freeze,
  bulk,
  start,
  memory,
};
const say = (text: string) => console.log(text);

let options: BenchOptions;
try {
  options = parseBenchOptions(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof BenchUsageError)) throw error;
  console.error(error.message);
  process.exit(2);
}
if (options.help) {
  say(USAGE);
  process.exit();
}

// Readable by the user that the embedded Postgres runs as.
const folder = mkdtempSync(join(tmpdir(), 'almanac-bench-'));
chmodSync(folder, 0o755);
mkdirSync(join(folder, 'logs'), { recursive: true });
const startedAt = new Date().toISOString();
// Each row has servers of its own, so that none pays for what another has left behind.
let opened: Promise<Servers> | undefined;
let openings = 0;
const servers = () => {
  opened ??= openServers(join(folder, `servers-${++openings}`));
  return opened;
};
const closeServers = async () => {
  const closing = opened;
  opened = undefined;
  await (await closing?.catch(() => undefined))?.close();
};
let stopping = false;
const stop = async () => {
  if (stopping) return;
  stopping = true;
  await stopAll();
  await closeServers();
  if (process.env.BENCH_KEEP) say(`kept: ${folder}`);
  else rmSync(folder, { recursive: true, force: true });
};
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    say(`\n${signal}: stopping what the bench has started`);
    void stop().finally(() => process.exit(130));
  });
}

process.once('uncaughtException', (error) => {
  console.error(error);
  void stop().finally(() => process.exit(1));
});

const { postgresVersion, temporalVersion, given } = await servers();
const machine = machineFacts({ postgres: postgresVersion, temporal: temporalVersion });
say(machineText(machine));
say(
  `${options.rounds} rounds by turns; Almanac as shipped, with RATE_LIMIT_PER_SECOND=${RAISED_RATE_LIMIT_PER_S}; servers: ${given ? 'given' : 'embedded'}\n`,
);
const results: RowResult[] = [];
let failed = false;
try {
  for (const row of options.rows) {
    if (stopping) break;
    say(`${row} …`);
    const from = performance.now();
    try {
      const { lines, facts } = await ROWS[row]({
        servers,
        folder: join(folder, 'logs'),
        rounds: options.rounds,
        say: (text) => say(`  ${text}`),
      });
      results.push({
        row,
        seconds: Math.round((performance.now() - from) / 100) / 10,
        lines,
        facts: { ...facts, loadAverage: machineNow().loadAverage[0]! },
      });
    } catch (error) {
      if (stopping) break;
      failed = true;
      say(`  ${row} could not be measured: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    } finally {
      if (!stopping) {
        await stopAll();
        await closeServers();
      }
    }
  }
} finally {
  if (!stopping) {
    const report: Report = {
      startedAt,
      finishedAt: new Date().toISOString(),
      rounds: options.rounds,
      machine,
      machineAtEnd: machineNow(),
      rows: results,
    };
    const file = resolve(process.env.ALMANAC_HOME || '.almanac', 'bench', 'latest.json');
    await writeReport(file, report);
    const missed = results.flatMap(({ row, lines }) => lines.filter((line) => holds(line) === false).map(({ what }) => `${row} ${what}`));
    say(`\n${tableOf(results)}\n`);
    for (const { row, seconds, facts } of results)
      say(
        `${row} (${seconds} s): ${Object.entries(facts)
          .map(([name, value]) => `${name} ${value}`)
          .join(', ')}`,
      );
    say(`\nload at the end ${machineNow().loadAverage.join(' ')}, ${machineNow().freeMiB} MiB free; median (min–max); ${file}`);
    if (missed.length > 0) say(`limits missed: ${missed.join('; ')}`);
    process.exitCode = failed || missed.length > 0 ? 1 : 0;
    await stop();
  }
}
