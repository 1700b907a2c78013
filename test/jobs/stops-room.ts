/** What the tests of slots that are not to run stand on: jobs on a clock of their own or a shared one, freezes, calendars, marks, and both ways to begin a slot. */
import { beginQueued, beginSlot } from '../../src/jobs/beginning-store.ts';
import { claimExecution, recordOutcomes } from '../../src/jobs/execution-store.ts';
import { newExecutionId, partitionAtOf, slotExecutionId } from '../../src/jobs/ids.ts';
import { type BegunCall, beginPool, beginPoolSlot, recordPool, refusePool } from '../../src/jobs/pools/pool-store.ts';
import { type AdmittedTrigger, admitTrigger, type TriggerQuestion } from '../../src/jobs/trigger-store.ts';
import type { Pool } from '../../src/postgres.ts';
import { openTestPool } from '../support/pool.ts';
import { type SeededJob, seedJob } from '../support/seed.ts';
import { type Seed, seedPooledJobs } from './pools/pooled-jobs.ts';

export type Kind = 'dedicated' | 'pooled';
export const KINDS: readonly Kind[] = ['dedicated', 'pooled'];
export type Range = {
  reason: string;
  from_at: Date;
  to_at: Date | null;
  count: number | null;
  freeze_id: string | null;
  calendar: string | null;
};
export type Row = {
  status: string;
  reason: string | null;
  waiting: boolean;
  freeze_id: string | null;
  dispatch: string;
  workflow_id: string;
  run_id: string | null;
  attempt: number;
};
export type SlotAsked = { later?: Date[]; priority?: number };

const RANGE = { chunk: '1@test', priority: 3, bufferLimit: 1_000 };
/** Clocks of different periods share nothing, however many tests run on this database. */
let everyS = 5_000;
let freezes = 0;

export type StopsRoom = Awaited<ReturnType<typeof openStopsRoom>>;

export async function openStopsRoom() {
  const { pool, close } = await openTestPool();
  return { pool, close, ...facts(pool) };
}

function facts(pool: Pool) {
  const clocks = new Map<string, string>();

  async function job(kind: Kind, seed: Seed = {}): Promise<SeededJob> {
    everyS += 1;
    const seeded = { everyS, ...seed };
    if (kind === 'dedicated') return await seedJob(pool, seeded);
    const { clock, jobs } = await seedPooledJobs(pool, [seeded]);
    const made = jobs[0]!;
    clocks.set(made.id, clock);
    return { ...made, clock, hash: clock.slice('clock_'.length) };
  }

  /** Begins a slot as its workflow would: what it was told, and the calls it may make. */
  async function slot(made: SeededJob, nominal: Date, { later = [] }: SlotAsked = {}): Promise<{ calls: BegunCall[] | 1[] }> {
    const [successor = null, ...rest] = later;
    const clock = clocks.get(made.id);
    if (clock === undefined) {
      const begun = await beginSlot(pool, {
        team: made.team,
        clock: made.clock,
        nominal,
        timingHash: made.hash,
        successor,
        later: rest,
        runId: 'run-1',
        bufferLimit: 1_000,
        shortMs: 10_000,
      });
      return { calls: begun?.decision === 'run' && begun.attempt !== null ? [1] : [] };
    }
    const poolId = `${clock}-${nominal.toISOString().slice(0, 19)}Z`;
    const range = { ...RANGE, team: made.team, pool: poolId, runId: 'run-1' };
    const begun = await beginPoolSlot(pool, {
      ...range,
      from: made.id,
      to: made.id,
      clock,
      nominal,
      successor,
      later: rest,
      plannedAt: new Date().toISOString(),
    });
    return { calls: await settled(range, begun) };
  }

  /** Calls that may be made, after what was refused has been judged. */
  async function settled(range: { team: string; pool: string; runId: string }, begun: BegunCall[]): Promise<BegunCall[]> {
    const rows = begun.filter((row) => row.decision === 'refused').map(({ id }) => ({ partitionAt: partitionAtOf(id)!, id }));
    const judged = rows.length === 0 ? [] : await refusePool(pool, { ...RANGE, ...range, rows });
    return [...begun, ...judged].filter((row) => row.decision === 'run');
  }

  const keyOf = (id: string) => ({ team: 'default', partitionAt: partitionAtOf(id)!, id });

  return {
    job,
    slot,
    keyOf,

    /** Begins the rows of a pool as its workflow would. */
    async serve(poolId: string, runId = 'run-1'): Promise<BegunCall[]> {
      const range = { ...RANGE, team: 'default', pool: poolId, runId };
      return await settled(range, await beginPool(pool, { ...range, from: '', to: '~' }));
    },

    begin: (id: string, runId = 'run-1', workflowId = id) =>
      beginQueued(pool, { ...keyOf(id), workflowId, runId, bufferLimit: 1_000, shortMs: 10_000 }),
    claim: (id: string, tryNumber = 1, runId = 'run-1') => claimExecution(pool, { ...keyOf(id), runId, tryNumber }),

    /** Records an outcome in the way of the kind. */
    async record(kind: Kind, id: string, attempt: number, status: string, more: { final?: boolean; error?: object } = {}): Promise<void> {
      const at = new Date().toISOString();
      const error = status === 'succeeded' ? null : (more.error ?? { type: 'network', message: 'refused', attempt });
      const outcome = { ...keyOf(id), attempt, status, final: more.final ?? true, startedAt: at, finishedAt: at, error, worker: 'test' };
      await (kind === 'dedicated' ? recordOutcomes(pool, [outcome]) : recordPool(pool, [{ ...outcome, retryInMs: 0 }]));
    },

    async trigger(made: SeededJob, more: Partial<TriggerQuestion> = {}): Promise<AdmittedTrigger & { id: string }> {
      const id = newExecutionId(made.id, more.kind ?? 'manual');
      const question: TriggerQuestion = { ...PLAIN, job: made.id, id, partitionAt: partitionAtOf(id)!, ...more };
      return { ...(await admitTrigger(pool, question)), id };
    },

    /** A freeze of this job alone, unless said. It can be over already. */
    async freeze(
      made: SeededJob | null,
      from: Date,
      to: Date | null = null,
      scope = 'jobs',
      targets = made ? [made.id] : [],
    ): Promise<string> {
      freezes += 1;
      const id = `frz_${freezes}`;
      await pool.query(
        `INSERT INTO freezes (id, team, scope, targets, reason, from_at, to_at, created_by) VALUES ($1, 'default', $2, $3, 'stocktaking', $4, $5, 'test')`,
        [id, scope, targets, from, to],
      );
      return id;
    },
    endFreeze: (id: string, at = new Date()) => pool.query('UPDATE freezes SET ended_at = $2 WHERE id = $1', [id, at]),

    /** A calendar of these stretches, in UTC, known for a year around now. */
    async calendar(name: string, spans: readonly (readonly [Date, Date])[]): Promise<void> {
      const year = 31_536_000_000;
      await pool.query(
        `INSERT INTO calendar_zones (team, calendar, zone, version, spans_from, spans_until) VALUES ('default', $1, 'UTC', 1, $2, $3)`,
        [name, new Date(Date.now() - year), new Date(Date.now() + year)],
      );
      for (const [from, to] of spans)
        await pool.query(`INSERT INTO calendar_spans (team, calendar, zone, from_at, to_at) VALUES ('default', $1, 'UTC', $2, $3)`, [
          name,
          from,
          to,
        ]);
    },
    useCalendars: (made: SeededJob, rules: { include?: string[]; exclude?: string[] }) =>
      pool.query(`UPDATE job_runtime SET include_calendars = $2, exclude_calendars = $3, calendar_zone = 'UTC' WHERE job_id = $1`, [
        made.id,
        rules.include ?? null,
        rules.exclude ?? null,
      ]),
    mark: (made: SeededJob, slotAt: Date, kind: string) =>
      pool.query('INSERT INTO timing_marks (timing_hash, slot, kind, fired) VALUES ($1, $2, $3, true)', [made.hash, slotAt, kind]),
    useDst: (made: SeededJob, gap: string, repeat: string | null) =>
      pool.query('UPDATE job_runtime SET dst_gap = $2, dst_repeat = $3 WHERE job_id = $1', [made.id, gap, repeat]),

    async rangesOf(made: SeededJob): Promise<Range[]> {
      const { rows } = await pool.query<Range>(
        'SELECT reason, from_at, to_at, count, freeze_id, calendar FROM slot_ranges WHERE job_id = $1 ORDER BY from_at',
        [made.id],
      );
      return rows;
    },
    async rowOf(id: string): Promise<Row | undefined> {
      const { rows } = await pool.query<Row>(
        'SELECT status, reason, waiting, freeze_id, dispatch, workflow_id, run_id, attempt FROM job_executions WHERE partition_at = $1 AND id = $2',
        [partitionAtOf(id), id],
      );
      return rows[0];
    },
    /** What became of a slot: its row as `status reason`, or the reason of the range that covers it. */
    async fateOf(made: SeededJob, nominal: Date): Promise<string[]> {
      const { rows } = await pool.query<{ fate: string }>(
        `SELECT concat_ws(' ', e.status, e.reason) AS fate FROM job_executions e WHERE e.partition_at = $2 AND e.id = $3
         UNION ALL
         SELECT 'range ' || g.reason FROM slot_ranges g WHERE g.job_id = $1 AND g.from_at <= $2 AND (g.to_at IS NULL OR $2 < g.to_at)`,
        [made.id, nominal, slotExecutionId(made.id, nominal)],
      );
      return rows.map((row) => row.fate);
    },
  };
}

const PLAIN: Omit<TriggerQuestion, 'job' | 'id' | 'partitionAt'> = {
  team: 'default',
  kind: 'manual',
  slot: null,
  input: null,
  hasInput: false,
  requestedBy: 'test',
  retryOf: null,
  pinnedGeneration: null,
  timeoutMs: null,
  bufferLimit: 10_000,
  requestId: 'request',
};

/** A whole second, so long ago. */
export const ago = (ms: number): Date => new Date(Math.floor((Date.now() - ms) / 1_000) * 1_000);
export const after = (at: Date, seconds: number): Date => new Date(at.getTime() + seconds * 1_000);
