/**
 * Jobs of mixed schedules go on while each of worker, controller, API and Temporal is killed once; afterwards every slot that was due is accounted for exactly once, and none
 * was started twice. What was due is worked out by plain arithmetic (slot-jobs.ts), what became of it is read from the tables, and the timeline of the API is held against both.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createLog } from '../../src/log.ts';
import { createPool } from '../../src/postgres.ts';
import { createClient } from './client.ts';
import { checkRows, type Kill } from './invariants.ts';
import { createRandom } from './random.ts';
import { createRows, type Rows } from './rows.ts';
import { CALENDARS, dueBetween, type SlotJob, slotJob } from './slot-jobs.ts';
import type { Stage, What } from './stage.ts';
import { startTruth } from './truth.ts';

export type SlotChaosOptions = {
  seed: number;
  jobs: number;
  /** From when all jobs are there to the end, milliseconds; the kills are spread over it. */
  forMs: number;
  kills: readonly What[];
  openStage: () => Promise<Stage>;
  uncommittedMs: number;
  say: (sentence: string) => void;
};
export type SlotChaosReport = {
  violations: string[];
  kills: Kill[];
  counts: Record<string, number>;
  accountedMs: number | null;
  errors: string[];
};

/** A slot is looked for 15 s after it was due; this long after the end every one must be accounted for. */
const ACCOUNTED_WITHIN_MS = 120_000;
const AT_ONCE = 8;

export type Watched = SlotJob & { id: string; from: number };
export type Slots = { rows: Map<string, number>; ranges: Map<string, { from: number; to: number }[]> };

export async function runSlotChaos(options: SlotChaosOptions): Promise<SlotChaosReport> {
  const { say } = options;
  const random = createRandom(options.seed);
  const truth = await startTruth(createRandom(options.seed + 1));
  const stage = await options.openStage();
  const log = createLog('chaos', 'silent');
  const pool = createPool({ DATABASE_URL: stage.databaseUrl, DATABASE_POOL: 4, DATABASE_CONNECT_TIMEOUT_MS: 5_000 }, log, 'chaos');
  const rows = createRows(pool);
  const client = createClient(stage.apiUrls);
  try {
    for (const calendar of CALENDARS) await client.send('POST', '/api/v1/calendars', calendar);
    const jobs = await makeJobs(client, options.jobs, truth.url);
    say(`seed ${options.seed}: ${jobs.length} jobs, logs in ${stage.folder}`);

    const began = Date.now();
    const kills: Kill[] = [];
    for (const [nth, what] of random.shuffled(options.kills).entries()) {
      const at = began + (options.forMs * (nth + 1)) / (options.kills.length + 1);
      await sleep(Math.max(0, at - Date.now()));
      const strike = stage.strike(what, random);
      const killedAt = Date.now();
      await strike.kill();
      await sleep(random.between(500, 4_000));
      await strike.bringBack();
      const kill = { what: strike.name, kinds: strike.kinds, killedAt, diedBy: killedAt, backAt: Date.now() };
      kills.push(kill);
      say(`${kill.what} was away for ${kill.backAt - kill.killedAt} ms`);
    }
    await sleep(Math.max(0, began + options.forMs - Date.now()));

    const end = Date.now();
    const accountedMs = await untilAccounted(rows, jobs, end);
    const slots = await slotsOf(rows);
    const all = await rows.all();
    const due = all.filter((row) => row.due_at.getTime() <= end);
    const violations = [
      ...accounting(jobs, slots, end),
      ...(await timelines(client, jobs, slots, end)),
      ...checkRows({
        ledger: { jobs: new Map(), triggers: [], refused: [] },
        // those that are under way when the load goes on are nobody's violation
        rows: due.filter((row) => row.finished_at !== null),
        calls: truth.calls.filter((call) => due.some((row) => row.id === call.execution && row.finished_at !== null)),
        kills,
        uncommittedMs: options.uncommittedMs,
      }),
    ];
    const expected = jobs.reduce((sum, job) => sum + dueBetween(job, job.from, end).length, 0);
    const started = due.filter((row) => row.started_at !== null);
    return {
      violations,
      kills,
      accountedMs,
      counts: {
        jobs: jobs.length,
        slots: expected,
        rows: due.length,
        started: started.length,
        skipped: due.filter((row) => row.status === 'skipped').length,
        inRanges:
          expected - due.filter((row) => row.slot && jobs.some((job) => job.id === row.job_id && job.from <= row.slot!.getTime())).length,
        calls: truth.calls.length,
        ...Object.fromEntries([...Map.groupBy(due, (row) => row.reason ?? row.status)].map(([word, its]) => [word, its.length])),
      },
      errors: [...new Set(stage.errors())],
    };
  } finally {
    await pool.end();
    await stage.close();
    await truth.close();
  }
}

/** Makes the jobs; each is watched from its first slot after it was acknowledged. */
async function makeJobs(client: ReturnType<typeof createClient>, count: number, url: string): Promise<Watched[]> {
  const jobs: Watched[] = [];
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const job = slotJob(next++, url);
      const { body } = await client.send('POST', '/api/v1/jobs', job.document);
      jobs.push({ ...job, id: String(body.id), from: Date.now() });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return jobs;
}

/** Rows of slots, by job and time, with how many there are; and ranges by job. */
async function slotsOf(rows: Rows): Promise<Slots> {
  const found = await rows.ask<{ job_id: string; slot: Date }>(`SELECT job_id, slot FROM job_executions WHERE trigger = 'schedule'`);
  const ranges = await rows.ask<{ job_id: string; from_at: Date; to_at: Date | null }>('SELECT job_id, from_at, to_at FROM slot_ranges');
  const counted = new Map<string, number>();
  for (const { job_id, slot } of found) counted.set(`${job_id} ${slot.getTime()}`, (counted.get(`${job_id} ${slot.getTime()}`) ?? 0) + 1);
  const byJob = Map.groupBy(
    ranges.map((range) => ({ job: range.job_id, from: range.from_at.getTime(), to: range.to_at?.getTime() ?? Number.POSITIVE_INFINITY })),
    ({ job }) => job,
  );
  return { rows: counted, ranges: byJob };
}

/** How often a slot is accounted for: by rows, and by ranges that hold it. */
function timesAccounted({ rows, ranges }: Slots, job: string, slot: number): { rows: number; ranges: number } {
  const within = (ranges.get(job) ?? []).filter(({ from, to }) => from <= slot && slot < to);
  return { rows: rows.get(`${job} ${slot}`) ?? 0, ranges: within.length };
}

/** Slots that are not accounted for exactly once, or not as their job says. */
export function accounting(jobs: Watched[], slots: Slots, end: number): string[] {
  return jobs.flatMap((job) =>
    dueBetween(job, job.from, end).flatMap((slot) => {
      const times = timesAccounted(slots, job.id, slot);
      const shown = `${job.document.name} (${job.id}) ${new Date(slot).toISOString()}`;
      if (times.rows + times.ranges !== 1) return [`${shown} has ${times.rows} rows and lies in ${times.ranges} ranges`];
      return job.excluded === (times.ranges === 1) ? [] : [`${shown} ${job.excluded ? 'is excluded and has a row' : 'lies in a range'}`];
    }),
  );
}

/** Waits until every slot up to the end is accounted for; how long that took, null: too long. Milliseconds. */
async function untilAccounted(rows: Rows, jobs: Watched[], end: number): Promise<number | null> {
  for (; Date.now() < end + ACCOUNTED_WITHIN_MS; await sleep(1_000)) {
    if (accounting(jobs, await slotsOf(rows), end).length === 0) return Date.now() - end;
  }
  return null;
}

/** What the timelines say otherwise than the tables and the arithmetic. */
async function timelines(client: ReturnType<typeof createClient>, jobs: Watched[], slots: Slots, end: number): Promise<string[]> {
  const violations: string[] = [];
  let next = 0;
  const lane = async () => {
    while (next < jobs.length) {
      const job = jobs[next++]!;
      const due = dueBetween(job, job.from, end);
      if (due.length === 0) continue;
      const seen = new Map<number, string>();
      const window = `from=${new Date(job.from).toISOString()}&to=${new Date(end + 1).toISOString()}&limit=200`;
      for (let cursor: unknown = ''; cursor !== null; ) {
        const { body } = await client.send('GET', `/api/v1/schedule/${job.id}/slots?${window}${cursor === '' ? '' : `&cursor=${cursor}`}`);
        for (const item of body.items as { slot: string; outcome: string }[]) seen.set(Date.parse(item.slot), item.outcome);
        cursor = body.nextCursor;
      }
      for (const slot of due) {
        const outcome = seen.get(slot);
        const ranged = timesAccounted(slots, job.id, slot).ranges > 0;
        if (outcome === undefined || ['pending', 'unaccounted', 'expected'].includes(outcome) || ranged !== (outcome === 'excluded'))
          violations.push(`the timeline of ${job.document.name} (${job.id}) says ${outcome} of ${new Date(slot).toISOString()}`);
      }
      if (seen.size !== due.length) violations.push(`the timeline of ${job.document.name} has ${seen.size} slots, ${due.length} were due`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return violations;
}
