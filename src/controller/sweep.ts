/**
 * Loop: the full sweep. Pages through Temporal's list of schedules and through our clocks, and finds drift: missing, different, orphan. What is missing or different is
 * marked in its row and mended by the loop of pending clocks; what to do with orphans is decided in orphans.ts.
 *
 * The list comes from visibility: it is seconds behind, and few calls per second are allowed for everybody together. So clocks written in the last 15 s
 * are left alone, and there is one call per page of 1,000 schedules, with a pause after each.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { temporal } from '@temporalio/proto';
import { clocksDesired } from '../jobs/clocks/clock-store.ts';
import { createInstallation } from '../jobs/clocks/installation.ts';
import type { ScheduleCalls } from '../jobs/clocks/schedule-calls.ts';
import { isClockWorkflow, readNote, sameAsListEntry } from '../jobs/clocks/schedule-shape.ts';
import { clocksExpectedAfter, clocksMarkUntrue, tombstonesConfirmed } from '../jobs/clocks/sweep-store.ts';
import { isJobId } from '../jobs/ids.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Pool } from '../postgres.ts';
import { alone } from './alone.ts';
import { createLoop, type Loop } from './loop.ts';
import type { Orphans } from './orphans.ts';
import type { Servers } from './servers.ts';

type ListEntry = temporal.api.schedule.v1.IScheduleListEntry;
export type Drift = { missing: number; different: number; orphan: number; schedules: number };

const PAGE_PAUSE_MS = 200;
const ROWS = 5_000;

/** An Almanac's by id and by what it starts; other schedules in the namespace are nobody's business. */
const isOurs = (entry: ListEntry): boolean => {
  const id = entry.scheduleId ?? '';
  return (isJobId(id) || /^clock_[0-9a-f]+$/.test(id)) && isClockWorkflow(entry.info?.workflowType?.name);
};

export function createSweep(deps: { pool: Pool; calls: ScheduleCalls; orphans: Orphans; log: Log }) {
  const { pool, calls, orphans, log } = deps;
  const installation = createInstallation(pool);

  /** Compares one page of the list with the rows; answers ids that this installation made and that have no row. */
  async function comparePage(entries: ListEntry[], drift: Drift): Promise<string[]> {
    const mark = await installation();
    const ids = entries.map((entry) => entry.scheduleId ?? '');
    const rows = new Map((await clocksDesired(pool, ids)).map((row) => [row.id, row]));
    const untrue = entries.filter((entry) => {
      const row = rows.get(entry.scheduleId ?? '');
      return row?.settled && !row.deleted && !sameAsListEntry(entry, row, mark);
    });
    const undead = (await tombstonesConfirmed(pool, ids)).filter((id) => rows.has(id));
    const marked = [...untrue.map((entry) => entry.scheduleId ?? ''), ...undead];
    if (marked.length > 0) drift.different += await clocksMarkUntrue(pool, marked, false);
    // what another Almanac keeps in the same namespace is none of ours
    return entries
      .filter((entry) => readNote(entry.info?.notes).installation === mark)
      .map((entry) => entry.scheduleId ?? '')
      .filter((id) => !rows.has(id));
  }

  async function markMissing(listed: Set<string>, startedAt: number): Promise<number> {
    let missing = 0;
    for (let after = ''; ; ) {
      const expected = await clocksExpectedAfter(pool, after, ROWS);
      const absent = expected.filter((id) => !listed.has(id));
      // a clock that was made while the pages were read is too fresh to be expected, unless reading took very long
      if (absent.length > 0 && Date.now() - startedAt < 600_000) missing += await clocksMarkUntrue(pool, absent, true);
      if (expected.length < ROWS) return missing;
      after = expected.at(-1)!;
    }
  }

  /** One sweep over everything. Throws when Temporal or Postgres is away: half a sweep says nothing about what is missing. */
  async function sweep(signal?: AbortSignal): Promise<Drift> {
    const drift: Drift = { missing: 0, different: 0, orphan: 0, schedules: 0 };
    const startedAt = Date.now();
    const listed = new Set<string>();
    const rowless: string[] = [];
    for (let token: Uint8Array | null = new Uint8Array(); token; ) {
      const page: { entries: ListEntry[]; next: Uint8Array | null } = await calls.list(token, signal);
      const ours = page.entries.filter(isOurs);
      for (const entry of ours) listed.add(entry.scheduleId ?? '');
      rowless.push(...(await comparePage(ours, drift)));
      token = page.next;
      if (token) await sleep(PAGE_PAUSE_MS, undefined, signal ? { signal } : {});
    }
    drift.schedules = listed.size;
    drift.missing = await markMissing(listed, startedAt);
    drift.orphan = rowless.length;
    await orphans.handle(rowless, listed.size);
    if (drift.missing + drift.different > 0) log.warn(drift, 'Temporal differed from the rows; it is being mended');
    return drift;
  }

  return { sweep };
}

/** The loop around the sweep; the last drift found is kept as metrics. */
export function createSweepLoop(deps: {
  pool: Pool;
  calls: ScheduleCalls;
  orphans: Orphans;
  servers: Servers;
  metrics: Metrics;
  log: Log;
  intervalS: number;
  onDrift: () => void;
}): Loop {
  const { sweep } = createSweep(deps);
  return createLoop({
    name: 'sweep',
    // the spread of ±20 % must not make it rarer than its setting says
    intervalMs: (deps.intervalS * 1_000) / 1.2,
    needs: ['Postgres', 'Temporal'],
    servers: deps.servers,
    log: deps.log,
    pass: async (signal) => {
      const drift = await alone(deps.pool, 'sweep', () => sweep(signal));
      if (!drift) return undefined;
      for (const kind of ['missing', 'different', 'orphan'] as const) deps.metrics.scheduleDrift.set({ kind }, drift[kind]);
      if (drift.missing + drift.different > 0) deps.onDrift();
      return undefined;
    },
  });
}
