/**
 * Makes Temporal's schedule what the clock's row says (design.md "Truth"; semantics.md 5, 7, 8). Level-triggered: it looks at the row and at the schedule, never at
 * what somebody said had changed, so that it may run twice, late, or in two processes at once.
 *
 * Who wins when two run at once? Whoever has the row's newest generation: a generation is only noted as observed while the row still has it, an update that follows
 * on a description carries its conflict token, and nobody overwrites a newer generation that the description shows. No Postgres connection
 * is held while Temporal is asked. A process that dies between its write to Temporal and its note in the row is mended by the next one, or by the sweep.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { Log } from '../../log.ts';
import { isPostgresAway, type Pool } from '../../postgres.ts';
import { isTemporalAway } from '../../temporal.ts';
import { clockDesired, clockNoteFailure, type DesiredClock } from './clock-store.ts';
import { createInstallation } from './installation.ts';
import { createObservedWriter } from './observed-writer.ts';
import { createScheduleCalls } from './schedule-calls.ts';
import { differences, readNote, scheduleOf } from './schedule-shape.ts';

export type Sync = 'synced' | 'pending';
export type Reconciler = ReturnType<typeof createReconciler>;
export type ReconcilerDeps = {
  pool: Pool;
  temporal: Client;
  log: Log;
  /** Told of every failure, before it is noted in the row. */
  onFailure?: (error: unknown) => void;
};

/** The token of no description: the update holds whatever the schedule is now. */
const ANY = new Uint8Array();
/** How often one call goes round because the row or the schedule moved under it; after that the next try comes later. */
const ROUNDS = 6;
/** When Temporal has answered nobody for a while, writers do not wait for it for so long, milliseconds; the controller goes on trying. */
const QUIET_MS = 5_000;
const ANSWERED_LATELY_MS = 1_000;
/** Waits before each look whether an update has happened, milliseconds. */
const LOOKS_MS = [0, 20, 60, 150, 400];

export function createReconciler({ pool, temporal, log, onFailure }: ReconcilerDeps) {
  const calls = createScheduleCalls(temporal);
  const installation = createInstallation(pool);
  const noteObserved = createObservedWriter(pool);
  const underway = new Set<Promise<Sync>>();
  let lastAnswerAt = 0;
  let quietUntil = 0;

  /** Under load some calls fail while others get through; only when nobody has an answer is Temporal taken for gone. */
  const keepQuiet = (): void => {
    if (Date.now() - lastAnswerAt > ANSWERED_LATELY_MS) quietUntil = Date.now() + QUIET_MS;
  };

  /** One round towards `desired`; true when Temporal is known to have it. */
  async function bringAbout(desired: DesiredClock, signal: AbortSignal | undefined): Promise<boolean> {
    if (desired.deleted) {
      await calls.remove(desired.id, signal);
      return true;
    }
    const wanted = await scheduleOf(temporal, desired, await installation());
    // a first generation is not described: it is nearly always really the first
    if (desired.observedGeneration === 0 && (await calls.create(desired.id, wanted, signal))) return true;
    if (await nextGeneration(desired, wanted, signal)) return true;
    const described = await calls.describe(desired.id, signal);
    if (!described) return calls.create(desired.id, wanted, signal);
    if ((await differences(temporal, described.schedule, wanted)).length === 0) return true;
    if (readNote(described.schedule.state?.notes).generation > desired.generation) {
      const now = await clockDesired(pool, desired.id);
      if (now?.generation !== desired.generation) return false; // this process is the one that is late
    }
    if (!(await calls.update(desired.id, wanted, described.conflictToken, signal))) return false;
    return happened(desired.id, wanted, signal);
  }

  /**
   * One change since Temporal was last known to be right: it is written without a look before, which would cost Temporal as much as the rest; thousands of jobs may be paused at
   * once. Two that do so at a time may come in the wrong order: the late one finds the row moved on when it notes what it did, and goes round again. False: look first.
   */
  async function nextGeneration(
    desired: DesiredClock,
    wanted: Awaited<ReturnType<typeof scheduleOf>>,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    if (desired.observedGeneration === 0 || desired.generation !== desired.observedGeneration + 1) return false;
    return (await calls.update(desired.id, wanted, ANY, signal)) && (await happened(desired.id, wanted, signal));
  }

  /** Looks until the schedule is as wanted: an update that was answered has not happened yet, and may never. */
  async function happened(
    clockId: string,
    wanted: Awaited<ReturnType<typeof scheduleOf>>,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    for (const wait of LOOKS_MS) {
      if (wait > 0) await sleep(wait, undefined, signal ? { signal } : {});
      const described = await calls.describe(clockId, signal);
      if (!described) return false;
      if ((await differences(temporal, described.schedule, wanted)).length === 0) return true;
    }
    return false;
  }

  async function converge(clockId: string, known: DesiredClock | undefined, signal: AbortSignal | undefined): Promise<Sync> {
    let desired = known ?? (await clockDesired(pool, clockId));
    for (let round = 0; round < ROUNDS; round += 1) {
      if (desired === null) {
        // the row went while we were writing: what we wrote has no owner
        if (round > 0) await calls.remove(clockId, signal);
        return 'synced';
      }
      const settled = round === 0 && !known && desired.generation === desired.observedGeneration;
      if (settled) return 'synced';
      if ((await bringAbout(desired, signal)) && (await noteObserved(clockId, desired.generation))) return 'synced';
      desired = await clockDesired(pool, clockId);
    }
    if (desired) await clockNoteFailure(pool, clockId, desired.generation, 'the schedule kept changing, or an update of it did not happen');
    return 'pending';
  }

  /**
   * Reconciles one clock. `synced`: Temporal has what the row says now (or the clock is gone). `pending`: not yet; the next try is noted in the row and is the
   * controller's. Never throws: a server that is away, Temporal or Postgres, is `pending`.
   * @param signal ends the calls under way; the answer is then `pending`.
   * @param known the clock as the caller has just committed it, which saves reading it back. Safe when it is out of date: the generation decides.
   */
  function reconcileClock(clockId: string, signal?: AbortSignal, known?: DesiredClock): Promise<Sync> {
    const working = attempt(clockId, signal, known).finally(() => underway.delete(working));
    underway.add(working);
    return working;
  }

  async function attempt(clockId: string, signal: AbortSignal | undefined, known: DesiredClock | undefined): Promise<Sync> {
    try {
      const sync = await converge(clockId, known, signal);
      lastAnswerAt = Date.now();
      quietUntil = 0;
      return sync;
    } catch (error) {
      if (!signal?.aborted) onFailure?.(error);
      if (isTemporalAway(error) && !signal?.aborted) keepQuiet();
      const message = error instanceof Error ? error.message : String(error);
      const expected = isTemporalAway(error) || isPostgresAway(error) || signal?.aborted;
      log[expected ? 'debug' : 'warn']({ clock: clockId, error: message }, 'a clock could not be reconciled yet');
      await noteFailure(clockId, known?.generation, message);
      return 'pending';
    }
  }

  async function noteFailure(clockId: string, generation: number | undefined, message: string): Promise<void> {
    try {
      const failed = generation ?? (await clockDesired(pool, clockId))?.generation;
      if (failed !== undefined) await clockNoteFailure(pool, clockId, failed, message);
    } catch (error) {
      // without the note the clock is simply due again at once
      if (!isPostgresAway(error))
        log.warn(
          { clock: clockId, error: error instanceof Error ? error.message : String(error) },
          'a failed reconcile could not be noted',
        );
    }
  }

  /**
   * The same with a limit on the wait: after `budgetMs` the answer is `pending` while the work goes on behind it. While Temporal is away most callers do not wait
   * at all, so that writes stay quick.
   */
  async function within(budgetMs: number, clockId: string, known?: DesiredClock): Promise<Sync> {
    if (budgetMs <= 0 || Date.now() < quietUntil) return 'pending';
    const timer = new AbortController();
    const late = sleep(budgetMs, 'late' as const, { signal: timer.signal, ref: false }).catch(() => 'late' as const);
    const first = await Promise.race([reconcileClock(clockId, undefined, known), late]);
    timer.abort();
    if (first !== 'late') return first;
    keepQuiet();
    return 'pending';
  }

  /** Waits for what goes on behind answers already given; before the connection to Temporal is closed. A few seconds at most. */
  const drain = async (): Promise<void> => void (await Promise.allSettled([...underway]));

  return { reconcileClock, within, drain };
}
