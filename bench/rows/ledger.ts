/**
 * `ledger`: what it costs to know that every slot of 10,000 jobs at one slot a minute has a row: processor time of the controller's loops and of their connections'
 * backends, per second, in the steady state. Each job with a clock of its own, and all of them sharing sixty.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { createLog } from '../../src/log.ts';
import { migrate } from '../../src/migrate.ts';
import { forkHelper } from '../load/helper-process.ts';
import type { Line } from '../report.ts';
import { cpuTimes } from '../stack/cpu-time.ts';
import { feedSlots, type LedgerKind, storeLedgerJobs } from './ledger-jobs.ts';
import type { Row, RowContext } from './row.ts';

const JOBS = 10_000;
/** Until every job has been checked once, and whatever is planned anew has been. */
const WARM_MS = 75_000;
const MEASURED_MS = 120_000;
const LOOK_EVERY_MS = 2_000;
/** Per cent of one core. */
const WITHIN = 10;

export const ledger: Row = async (context) => {
  const seen = { dedicated: await measure(context, 'dedicated'), pooled: await measure(context, 'pooled') };
  const lines = (['dedicated', 'pooled'] as const).map(
    (kind): Line => ({
      what: `${JOBS.toLocaleString('en-US')} jobs a minute, ${kind}`,
      unit: '% of a core',
      ours: seen[kind].controller + seen[kind].postgres,
      bound: { atMost: WITHIN },
    }),
  );
  const shares = (kind: LedgerKind) => `loops ${seen[kind].controller.toFixed(1)} + Postgres ${seen[kind].postgres.toFixed(1)}`;
  return { lines, facts: { dedicated: shares('dedicated'), pooled: shares('pooled') } };
};

async function measure({ servers, say }: RowContext, kind: LedgerKind): Promise<{ controller: number; postgres: number }> {
  const { databaseUrl } = await (await servers()).place(`ledger-${kind}`);
  await migrate(databaseUrl, createLog('bench', 'warn'));
  const database = new pg.Pool({ connectionString: databaseUrl, max: 3 });
  await storeLedgerJobs(database, kind, JOBS);
  const feeding = feedSlots(database);
  const loops = forkHelper<object, number>('load/ledger-loops.ts', { DATABASE_URL: databaseUrl });
  try {
    say(`${kind}: ${JOBS} jobs; warming up for ${WARM_MS / 1_000} s`);
    await sleep(WARM_MS);
    const used = { controller: 0, postgres: 0 };
    let before = await readings(database, loops.child.pid!);
    const began = performance.now();
    while (performance.now() - began < MEASURED_MS) {
      await sleep(LOOK_EVERY_MS);
      const now = await readings(database, loops.child.pid!);
      used.controller += now.controller! - before.controller!;
      // a backend that has come since began with nothing
      for (const name of Object.keys(now)) if (name !== 'controller') used.postgres += now[name]! - (before[name] ?? 0);
      before = now;
    }
    const seconds = (performance.now() - began) / 1_000;
    const [late, fed] = [await loops.ask({}), await feeding.stop()];
    const { rows } = await database.query<{ behind: number; told: number }>(
      `SELECT (SELECT count(*)::int FROM clocks WHERE next_check_at < now() - interval '10 seconds') AS behind, (SELECT count(*)::int FROM job_events) AS told`,
    );
    if (late + rows[0]!.behind + rows[0]!.told > 0)
      throw new Error(`not a steady state: ${late} slots were late, ${rows[0]!.behind} clocks behind, ${rows[0]!.told} events`);
    const percent = (ms: number) => ms / 10 / seconds;
    say(`${kind}: ${fed} slots; loops ${percent(used.controller).toFixed(2)} %, Postgres ${percent(used.postgres).toFixed(2)} %`);
    return { controller: percent(used.controller), postgres: percent(used.postgres) };
  } finally {
    await feeding.stop();
    await loops.close();
    await database.end();
  }
}

/** Processor time so far of the loops' process, and of each of its backends. */
async function readings(database: pg.Pool, pid: number): Promise<Record<string, number>> {
  const { rows } = await database.query<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE application_name = 'almanac-ledger-bench' AND datname = current_database()`,
  );
  return cpuTimes({ controller: pid, ...Object.fromEntries(rows.map((row) => [`backend ${row.pid}`, row.pid])) });
}
