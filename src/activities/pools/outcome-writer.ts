/**
 * Writes outcomes of pooled calls in groups (semantics.md 20): while one statement is under way the next outcomes gather, a few milliseconds at least and a hundred rows at most.
 * While Postgres is away they are kept and tried again; whoever waits for them goes on showing signs of life meanwhile.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type PoolRecord, recordPool } from '../../jobs/pools/pool-store.ts';
import type { Log } from '../../log.ts';
import { isPostgresAway, type Pool } from '../../postgres.ts';
import type { Outcome } from '../../workflows/execution-activities.ts';
import type { Recorder } from '../record.ts';

/** An outcome of a pooled call, with the pause before the next try if there is one. */
export type PoolOutcome = Outcome & { retryInMs: number | null };

const GATHER_MS = 8;
const MOST_ROWS = 100;
const AGAIN_MS = 500;
/** An execution's id begins with its job's. */
const JOB_ID_LENGTH = 40;
/** A statement that lasts longer waits for something; the next goes beside it. */
const SLOW_MS = 200;
const MOST_STATEMENTS = 4;

type Written = { outcome: PoolOutcome; done: () => void };
export type OutcomeWriter = ReturnType<typeof createOutcomeWriter>;

export function createOutcomeWriter({ pool, recorder, log }: { pool: Pool; recorder: Recorder; log: Log }) {
  const gathered: Written[] = [];
  /** Outcomes of jobs whose lock somebody holds for long, in their order: they wait apart from the others. */
  const held = new Map<string, Written[]>();
  const underway = new Set<Promise<void>>();
  let writing = false;
  let closed = false;

  async function write(group: Written[]): Promise<void> {
    for (;;) {
      try {
        const rows = await recordPool(
          pool,
          group.map(({ outcome }) => outcome),
        );
        tell(group, rows);
        return;
      } catch (error) {
        if (closed) return;
        if (!isPostgresAway(error) && isItsData(error)) return await writeEach(group, error);
        if (isLocked(error) && new Set(group.map(jobOf)).size > 1) return await writeByJob(group);
        log.info({ outcomes: group.length, error: String(error) }, 'outcomes could not be recorded yet; they are kept and tried again');
        await sleep(AGAIN_MS * (0.75 + Math.random() / 2));
      }
    }
  }

  /** One outcome that Postgres will not take must not keep its neighbours from being written. */
  async function writeEach(group: Written[], error: unknown): Promise<void> {
    if (group.length > 1) {
      for (const one of group) await write([one]);
      return;
    }
    const [{ outcome }] = group as [Written];
    // not even what was left of it: there is no hurry to hear that again
    if (outcome.error?.type === UNSTORABLE) await sleep(AGAIN_MS);
    log.error(
      { execution: outcome.id, status: outcome.status, error: String(error) },
      'what the target answered can not be stored; the outcome is recorded without it',
    );
    const { result: _result, responseStatus: _responseStatus, ...bare } = outcome;
    await write([{ ...group[0]!, outcome: { ...bare, error: unstorable(outcome.attempt) } }]);
  }

  /** Who waits for the lock of one job does so by itself. */
  async function writeByJob(group: Written[]): Promise<void> {
    const byJob = [...Map.groupBy(group, jobOf)];
    await Promise.all(byJob.map(([job, ofJob]) => Promise.race([writeHeld(job, ofJob), sleep(AGAIN_MS)])));
  }

  async function writeHeld(job: string, ofJob: Written[]): Promise<void> {
    const before = held.get(job);
    if (before) return void before.push(...ofJob);
    held.set(job, ofJob);
    while (ofJob.length > 0) await write(ofJob.splice(0, MOST_ROWS));
    held.delete(job);
  }

  function tell(group: Written[], rows: PoolRecord[]): void {
    const outcomes = new Map(group.map(({ outcome }) => [outcome.id, outcome]));
    for (const row of rows) {
      if (row.id === null) recorder.startReleased(row.released);
      else recorder.tell(outcomes.get(row.id)!, row);
    }
    for (const { done } of group) done();
  }

  async function drain(): Promise<void> {
    writing = true;
    while (gathered.length > 0) {
      if (gathered.length < MOST_ROWS) await sleep(GATHER_MS);
      const slow = new AbortController();
      const written = write(gathered.splice(0, MOST_ROWS)).finally(() => {
        underway.delete(written);
        slow.abort();
      });
      underway.add(written);
      await Promise.race([written, sleep(SLOW_MS, undefined, { signal: slow.signal }).catch(() => {})]);
      if (underway.size >= MOST_STATEMENTS) await Promise.race(underway);
    }
    writing = false;
  }

  return {
    /** Resolves when the outcome is committed. */
    write(outcome: PoolOutcome): Promise<void> {
      return new Promise<void>((done) => {
        const one = { outcome, done };
        const before = held.get(jobOf(one));
        if (before) return void before.push(one);
        gathered.push(one);
        if (!writing) void drain();
      });
    },
    /** Gives up what Postgres has not taken: those calls are made again. */
    close(): void {
      closed = true;
    },
  };
}

const jobOf = ({ outcome }: Written): string => outcome.id.slice(0, JOB_ID_LENGTH);

/** The lock of a job was not to be had within the time that record_pool allows, or two statements waited for each other. */
const isLocked = (error: unknown): boolean => ['55P03', '40P01'].includes(String((error as { code?: unknown }).code ?? ''));

/** Class 22 (data exception) and 54 (program limit): another try gives the same answer. */
const isItsData = (error: unknown): boolean => /^(22|54)/.test(String((error as { code?: unknown }).code ?? ''));

/** Stands in the attempt; an execution that succeeded has no error. */
const UNSTORABLE = 'unstorable';
const unstorable = (attempt: number) => ({ type: UNSTORABLE, message: 'what the target answered can not be stored', attempt });
