/**
 * One stretch of serving ranges of a pool: begins one after another, makes the calls side by side, and ends when the outcome of each is committed.
 *
 * A row whose target has no place for it is put back after half a second, so that it is nobody's call while it waits, and claimed again when there is a place.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, activityInfo, cancellationSignal, heartbeat } from '@temporalio/activity';
import { closeExecution } from '../../jobs/execution-store.ts';
import { partitionAtOf } from '../../jobs/ids.ts';
import { type BegunCall, putBack } from '../../jobs/pools/pool-store.ts';
import type { Pool } from '../../postgres.ts';
import type { PoolRange, ServeInput } from '../../workflows/pool-activities.ts';
import { withPatience } from '../patience.ts';
import type { Recorder } from '../record.ts';
import type { CallLines, Place } from './call-lines.ts';
import { chunkOf } from './chunk.ts';
import type { Definition, Definitions, Services } from './definitions.ts';
import type { Company, PooledCall } from './pooled-call.ts';
import type { RangeReader } from './range-reader.ts';

/** Rows that come due within this time of each other are begun by one activity. */
const FOLLOWED_MS = 60_000;
/** A claimed call that has found no place in this time is put back. */
const PATIENCE_MS = 500;
/** Rows that were put back wait for a place in turns of this length. */
const PARKED_MS = 1_000;
/** Rows that are put back together. */
const GATHER_MS = 10;
/** Calls of one activity that may wait for a place before it begins another range. */
const MOST_WAITING = 500;
const LOOK_AGAIN_MS = 20;

export type SessionDeps = {
  pool: Pool;
  reader: RangeReader;
  definitions: Definitions;
  lines: CallLines;
  makeCall: PooledCall;
  recorder: Recorder;
  /** Fires when the worker is told to stop, long before its activities are. */
  stopping: AbortSignal;
};

type Claimed = { row: BegunCall; definition: Definition; services: Services; range: PoolRange };

/** @param longestMs after this nothing more is begun. */
export function openSession(
  { pool, reader, definitions, lines, makeCall, recorder, stopping }: SessionDeps,
  input: ServeInput,
  longestMs: number,
) {
  const { team } = input;
  const { activityId, isLocal, workflowExecution } = activityInfo();
  const chunk = chunkOf(activityId);
  // a local activity has nobody to report to
  const company: Company = {
    stop: cancellationSignal(),
    watches: new Set(),
    heartbeat: isLocal ? () => {} : (detail) => heartbeat(detail),
  };
  company.stop.addEventListener('abort', () => {
    for (const watch of company.watches) watch.abort(company.stop.reason);
  });
  const noMore = AbortSignal.any([stopping, company.stop]);
  const until = performance.now() + longestMs;
  const open = new Set<Promise<void>>();
  const parked = new Map<string, Claimed[]>();
  let back: { claims: Claimed[]; done: Promise<Set<string>> } | null = null;
  let failure: unknown = null;
  let calls = 0;
  let waiting = 0;
  let calling = 0;
  let left = false;

  const isOver = () => noMore.aborted || failure !== null || performance.now() > until;
  const track = (work: Promise<void>) => {
    const tracked = work
      .catch((error: unknown) => {
        failure ??= error;
      })
      .finally(() => open.delete(tracked));
    open.add(tracked);
  };

  async function place(range: PoolRange, begun: BegunCall[], places: Place[] = []): Promise<void> {
    const { refused = [], stopped = [], run = [] } = Object.groupBy(begun, (row) => row.decision);
    if (refused.length > 0) track(reader.refuse(input, range, refused).then((rows) => place(range, rows)));
    for (const row of stopped) recorder.startReleased(row.released);
    calls += stopped.length + run.length;
    const known = run.length === 0 ? null : await definitions.of(team, run);
    for (const row of run) {
      const definition = known!.of.get(row);
      if (!definition) {
        track(close(row, 'failed', { type: 'lost', message: 'the definition of the job is gone' }));
        continue;
      }
      const claimed = { row, definition, services: known!.services, range };
      const now = places.pop() ?? lines.takeNow(definition.line);
      track(now ? call(claimed, now) : callInTurn(claimed));
    }
    for (const unused of places) unused.end();
  }

  async function call({ row, definition, services }: Claimed, at: Place): Promise<void> {
    calling += 1;
    await makeCall(team, row, definition, services, company, () => {
      calling -= 1;
      at.end();
    });
  }

  async function callInTurn(claimed: Claimed): Promise<void> {
    waiting += 1;
    const at = await lines.take(claimed.definition.line, claimed.range.priority, PATIENCE_MS, noMore);
    waiting -= 1;
    if (at) return await call(claimed, at);
    const cancelled = await giveBack(claimed);
    if (cancelled.has(claimed.row.id)) return await close(claimed.row, 'cancelled', null);
    calls -= 1;
    if (isOver()) {
      left = true;
      return;
    }
    const { line } = claimed.definition;
    const others = parked.get(line);
    if (others) others.push(claimed);
    else {
      parked.set(line, [claimed]);
      track(serveParked(line));
    }
  }

  /** Gathers claims for a moment and gives them back in one statement; answers which of them were cancelled meanwhile. */
  function giveBack(claimed: Claimed): Promise<Set<string>> {
    if (!back) {
      const claims: Claimed[] = [];
      const done = sleep(GATHER_MS).then(() => {
        back = null;
        const rows = claims.map(({ row }) => ({ partitionAt: partitionAtOf(row.id)!, id: row.id, attempt: row.attempt }));
        return withPatience(() => putBack(pool, team, chunk, rows)).then((cancelled) => new Set(cancelled));
      });
      back = { claims, done };
    }
    back.claims.push(claimed);
    return back.done;
  }

  /** Claims the parked calls of a target again, as many as there are places for. */
  async function serveParked(line: string): Promise<void> {
    const ofLine = parked.get(line)!;
    while (ofLine.length > 0 && !isOver()) {
      const first = await lines.take(line, ofLine[0]!.range.priority, PARKED_MS, noMore);
      if (!first && calling > 0 && !isOver()) continue;
      // with no call of its own under way it only keeps others from being served: it is planned anew
      if (!first) break;
      const places = [first];
      for (let more = lines.takeNow(line); more; more = places.length < ofLine.length ? lines.takeNow(line) : null) places.push(more);
      const { range } = ofLine[0]!;
      const batch: Claimed[] = [];
      while (batch.length < places.length && ofLine[0]?.range === range) batch.push(ofLine.shift()!);
      const ids = batch.map(({ row }) => row.id);
      try {
        await place(range, await reader.beginAgain(input, range, ids), places);
      } catch (error) {
        for (const unused of places) unused.end();
        throw error;
      }
    }
    if (ofLine.length > 0) left = true;
    parked.delete(line);
  }

  /** Ends a row whose call is not made: it was cancelled, or its job purged. */
  async function close(row: BegunCall, status: 'cancelled' | 'failed', error: { type: string; message: string } | null): Promise<void> {
    const closing = { team, partitionAt: partitionAtOf(row.id)!, id: row.id, status, reason: error?.type ?? null, error, by: 'almanac' };
    const closed = await withPatience(() => closeExecution(pool, closing));
    recorder.startReleased(closed?.released ?? null);
  }

  async function begin(range: PoolRange): Promise<void> {
    if (isOver()) {
      left = true;
      return;
    }
    await place(range, await reader.begin(input, range));
    if (range.laterMs > 0) track(beginAsDue(range));
  }

  /** Begins the rest of a range row by row, each when its time has come, beside the calls that are under way. */
  async function beginAsDue(range: PoolRange): Promise<void> {
    for (let after = range.plannedAt; ; ) {
      const next = await reader.nextDue(input, range, after);
      // who is due much later is planned anew
      if (!next || next.inMs > FOLLOWED_MS) return;
      if (next.inMs > 0) await sleep(next.inMs, undefined, { signal: noMore }).catch(() => {});
      if (isOver()) {
        left = true;
        return;
      }
      await place(range, await reader.beginLater(input, range, after));
      after = next.dueAt;
    }
  }

  async function serve() {
    try {
      for (const range of input.ranges) {
        while (waiting > MOST_WAITING && !isOver()) await sleep(LOOK_AGAIN_MS);
        await begin(range);
      }
    } catch (error) {
      failure ??= error;
    }
    while (open.size > 0) await Promise.all(open);
    if (company.stop.aborted && !stopping.aborted) throw company.stop.reason;
    if (failure) throw failure;
    if (noMore.aborted)
      throw ApplicationFailure.create({ type: 'WorkerStopping', message: 'the worker stopped before the end of its ranges' });
    return { calls, left };
  }

  return { serve, served: () => ({ pool: workflowExecution!.workflowId, calls, open: open.size }) };
}
