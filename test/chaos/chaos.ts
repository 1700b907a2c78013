/** One run: a load, kills in a seeded order with at least so many executions in flight, quiet, and the checks. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createLog } from '../../src/log.ts';
import { createPool } from '../../src/postgres.ts';
import { createTemporalClient } from '../../src/temporal.ts';
import { createClient } from './client.ts';
import { checkDefinitions, checkRows, checkTemporal, type Kill, recordingLags, UNCOMMITTED_MS } from './invariants.ts';
import { createLoad } from './load.ts';
import { createRandom, type Random } from './random.ts';
import { createRows, type Rows } from './rows.ts';
import type { Stage, What } from './stage.ts';
import { startTruth } from './truth.ts';

export type ChaosOptions = {
  seed: number;
  /** Kills go on, each kind once per round, until this much time has gone; every kind gets its turn at least once. Milliseconds. */
  forMs: number;
  /** Only these; absent: all that the stage knows. */
  only?: readonly What[] | undefined;
  openStage: () => Promise<Stage>;
  inFlight?: number;
  /** Between two things that the background load does, milliseconds. */
  pauseMs?: number;
  /** With a target whose calls take longer than 10 s; default true. */
  long?: boolean;
  /** How long an outcome may take to be committed; more on a machine that does other things too. Milliseconds. */
  uncommittedMs?: number;
  say: (sentence: string) => void;
};
export type Settled = Kill & { inFlight: number; openCalls: number; settledMs: number | null };
export type ChaosReport = {
  violations: string[];
  kills: Settled[];
  counts: Record<string, number>;
  slowestAcknowledgementMs: number;
  quietMs: number | null;
  /** From the receiver's ok to the terminal row. */
  recordedAfterMs: { p50: number; p99: number; max: number };
  /** Log lines of level error and above, of all processes. */
  errors: string[];
};

/** Everything must be over this long after a kill (the promise). */
const SETTLED_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 250;
const ASKED_AT_THE_KILL = 12;
/** What was acknowledged while Temporal was away is true there this long after it is back (design.md). */
const TRUE_IN_TEMPORAL_WITHIN_MS = 30_000;

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seed, say, inFlight = 20, pauseMs = 500 } = options;
  const random = createRandom(seed);
  const truth = await startTruth(createRandom(seed + 1));
  const stage = await options.openStage();
  const only = options.only?.filter((what) => stage.whats.includes(what)) ?? stage.whats;
  const log = createLog('chaos', 'silent');
  const pool = createPool({ DATABASE_URL: stage.databaseUrl, DATABASE_POOL: 4, DATABASE_CONNECT_TIMEOUT_MS: 5_000 }, log, 'chaos');
  const temporal = createTemporalClient({
    TEMPORAL_ADDRESS: stage.temporalAddress,
    TEMPORAL_NAMESPACE: 'default',
    TEMPORAL_API_KEY: '',
    TEMPORAL_TLS: false,
  });
  const rows = createRows(pool);
  const client = createClient(stage.apiUrls);
  const load = createLoad({ client, random: createRandom(seed + 2), targetUrl: truth.url, pauseMs, long: options.long ?? true });
  try {
    await load.setUp();
    load.begin();
    say(`seed ${seed}: ${load.ledger.jobs.size} jobs, logs in ${stage.folder}`);
    await sleep(2_000);
    const kills: Settled[] = [];
    for (const until = Date.now() + options.forMs; kills.length === 0 || Date.now() < until; )
      for (const what of random.shuffled(only)) {
        if (kills.length >= only.length && Date.now() >= until) break;
        const settled = await strike(what, { stage, random, load, rows, inFlight, openCalls: truth.open });
        kills.push(settled);
        say(
          `${settled.what}: ${settled.inFlight} in flight (${settled.openCalls} calls open), away ${settled.backAt - settled.killedAt} ms, all settled ${settled.settledMs === null ? 'NOT' : `${settled.settledMs} ms`} after its return`,
        );
      }

    await load.quiesce();
    const quietAt = new Date();
    // one-offs that are still ahead come due after the load's end, and must have ended too
    const quietMs = await settle(rows, quietAt, new Date(quietAt.getTime() + SETTLED_WITHIN_MS));
    // a last look at what nobody should do any more
    await sleep(1_500);
    const evidence = {
      ledger: load.ledger,
      rows: await rows.all(),
      calls: truth.calls,
      kills,
      uncommittedMs: options.uncommittedMs ?? UNCOMMITTED_MS,
    };
    const violations = [
      ...load.ledger.refused,
      ...kills
        .filter((kill) => kill.settledMs === null)
        .map((kill) => `not settled ${SETTLED_WITHIN_MS / 1000} s after ${kill.what} at ${new Date(kill.killedAt).toISOString()}`),
      ...(quietMs === null ? [`not quiet ${SETTLED_WITHIN_MS / 1000} s after the load ended`] : []),
      ...checkRows(evidence),
      ...(await remaining(async () => [
        ...(await checkDefinitions(load.ledger, rows, quietAt)),
        ...(await checkTemporal(load.ledger, rows, temporal)),
      ])),
    ];
    return {
      violations,
      kills,
      counts: countsOf(evidence),
      slowestAcknowledgementMs: client.slowestMs(),
      quietMs,
      recordedAfterMs: recordingLags(evidence),
      errors: [...new Set(stage.errors())],
    };
  } finally {
    await temporal.connection.close();
    await pool.end();
    await stage.close();
    await truth.close();
  }
}

type Scene = { stage: Stage; random: Random; load: ReturnType<typeof createLoad>; rows: Rows; inFlight: number; openCalls: () => number };

/** Waits for enough executions in flight, kills, brings back after a while, and waits until all that was there has ended. */
async function strike(what: What, { stage, random, load, rows, inFlight, openCalls }: Scene): Promise<Settled> {
  const { name, kinds, slowly, kill, bringBack } = stage.strike(what, random);
  await untilInFlight(load, rows, inFlight);
  await sleep(random.between(0, 300));
  const counted = await untilInFlight(load, rows, inFlight);
  const open = openCalls();
  // and some that are being asked for just now: their answers are lost on the way
  const asked = load.burst(ASKED_AT_THE_KILL);
  await sleep(random.between(5, 80));
  const killedAt = Date.now();
  await kill();
  await sleep(random.between(0, 3_000));
  await bringBack();
  const backAt = Date.now();
  const settledMs = await settle(rows, new Date(backAt));
  await asked;
  return { what: name, kinds, killedAt, diedBy: slowly ? backAt : killedAt, backAt, inFlight: counted, openCalls: open, settledMs };
}

async function untilInFlight(load: Scene['load'], rows: Rows, wanted: number): Promise<number> {
  for (;;) {
    const counted = await rows.inFlight();
    if (counted >= wanted) return counted;
    await load.burst(wanted + 5 - counted);
  }
}

/**
 * Waits until every slot up to then has a row and every row due by `dueUntil` has ended; how long that took, null: too long. Milliseconds.
 */
async function settle(rows: Rows, until: Date, dueUntil = until): Promise<number | null> {
  for (; Date.now() < until.getTime() + SETTLED_WITHIN_MS; await sleep(LOOK_EVERY_MS)) {
    if ((await rows.unfinished(dueUntil)).length > 0) continue;
    if ((await rows.slotsWithoutRow(until)).length === 0) return Date.now() - until.getTime();
  }
  return null;
}

/** What is still wrong when Temporal has had its time to follow the rows. */
async function remaining(check: () => Promise<string[]>): Promise<string[]> {
  for (const until = Date.now() + TRUE_IN_TEMPORAL_WITHIN_MS; ; await sleep(1_000)) {
    const violations = await check();
    if (violations.length === 0 || Date.now() > until) return violations;
  }
}

function countsOf({ rows, calls, ledger }: Parameters<typeof checkRows>[0]): Record<string, number> {
  const counts: Record<string, number> = {
    jobs: ledger.jobs.size,
    triggers: ledger.triggers.length,
    rows: rows.length,
    calls: calls.length,
  };
  for (const row of rows) counts[row.status] = (counts[row.status] ?? 0) + 1;
  counts.cut = calls.filter((call) => call.brokenAt !== null).length;
  return counts;
}
