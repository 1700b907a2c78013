/** What must be true when all is quiet again, whatever was killed (semantics.md, the promise and 23). Each check answers its violations as sentences. */
import { type Client, ScheduleNotFoundError } from '@temporalio/client';
import { timingHash, timingOf } from '../../src/jobs/time/timing.ts';
import type { Ledger } from './load.ts';
import type { Row, Rows } from './rows.ts';
import type { Call } from './truth.ts';

/** One kill: what, when, until when the last of it had died (later than the kill when that was passed on), and when all was back. */
export type Kill = { what: string; kinds: readonly string[]; killedAt: number; diedBy: number; backAt: number };
export type Evidence = { ledger: Ledger; rows: Row[]; calls: Call[]; kills: Kill[]; uncommittedMs: number };

/** Within this before a kill an outcome may not have been committed yet (semantics.md 23), milliseconds, on a machine that is not overloaded. */
export const UNCOMMITTED_MS = 200;
/** How long a call goes on after its row was ended or taken over: workers look twice a second (semantics.md 15: ≤ 1 s), and some for a busy machine. */
const FENCED_WITHIN_MS = 2_500;
const TERMINAL = ['succeeded', 'failed', 'timed_out', 'cancelled', 'terminated', 'skipped'];
const at = (ms: number | null): string => (ms === null ? '-' : new Date(ms).toISOString().slice(11, 23));
const shown = (call: Call): string =>
  `#${call.attempt} ${call.path} ${at(call.begunAt)}–${call.answeredAt ? `${at(call.answeredAt)} ${call.answer}` : `${at(call.brokenAt)} cut (${call.answer})`}`;

const endOf = (call: Call): number => call.answeredAt ?? call.brokenAt ?? Number.POSITIVE_INFINITY;
/** The kill of a worker that could have kept the outcome of this call from being committed. */
const lostWith = (call: Call, kills: Kill[], uncommittedMs: number): Kill | undefined =>
  kills.find((kill) => kill.kinds.includes('worker') && call.begunAt <= kill.diedBy && kill.killedAt <= endOf(call) + uncommittedMs);
/** Whether another run may have made the same try again: its worker died, or Temporal did while it lasted and gave the task to somebody else. */
const isRerun = (call: Call, kills: Kill[], uncommittedMs: number): boolean =>
  lostWith(call, kills, uncommittedMs) !== undefined ||
  kills.some((kill) => kill.kinds.includes('temporal') && call.begunAt <= kill.backAt && kill.killedAt <= endOf(call));

export function checkRows({ ledger, rows, calls, kills, uncommittedMs }: Evidence): string[] {
  const violations: string[] = [];
  const callsOf = Map.groupBy(calls, (call) => call.execution);
  const say = (row: Row, sentence: string) =>
    violations.push(
      `${row.id} (${row.job_name}; ${row.status} ${row.reason ?? ''}, attempt ${row.attempt}, tries ${row.tries}/${row.max_attempts}): ${sentence}; calls: ${(callsOf.get(row.id) ?? []).map(shown).join(', ') || 'none'}`,
    );
  const ids = new Set(rows.map((row) => row.id));
  for (const id of callsOf.keys()) if (!ids.has(id)) violations.push(`${id} was called and has no row`);

  const bySlot = Map.groupBy(
    rows.filter((row) => row.trigger === 'schedule'),
    (row) => `${row.job_id} ${row.slot?.toISOString()}`,
  );
  for (const [slot, doubled] of bySlot)
    if (doubled.length > 1) violations.push(`${slot} has ${doubled.length} executions: ${doubled.map((row) => row.id).join(', ')}`);
  for (const [slot, called] of Map.groupBy(
    calls.filter((call) => call.slot !== null),
    (call) => `${call.job} ${call.slot}`,
  )) {
    const executions = new Set(called.map((call) => call.execution));
    if (executions.size > 1) violations.push(`the receiver saw ${executions.size} ids for ${slot}: ${[...executions].join(', ')}`);
  }

  for (const row of rows) {
    const its = callsOf.get(row.id) ?? [];
    const ok = its.filter((call) => call.answer === 'ok' && call.answeredAt !== null);
    if (!TERMINAL.includes(row.status)) say(row, 'is not terminal');
    if (row.status === 'skipped' && (its.length > 0 || !row.reason)) say(row, 'was skipped and called, or does not say why');
    if (row.status === 'succeeded' && ok.length === 0) say(row, 'succeeded, but the receiver never said ok');
    if (['failed', 'timed_out'].includes(row.status)) {
      if (its.length === 0) say(row, 'ended without a call');
      const last = its.toSorted((a, b) => (a.answeredAt ?? a.brokenAt ?? 0) - (b.answeredAt ?? b.brokenAt ?? 0)).at(-1);
      if (last && ok.includes(last)) say(row, 'failed, but the last answer was ok');
      if (row.reason === 'lost' || row.reason?.startsWith('workflow_')) say(row, 'was given up');
    }
    if (['cancelled', 'terminated'].includes(row.status) && !row.reason && !row.error && !row.cancel_by)
      say(row, 'does not say why it ended');

    // an answer that ends an execution is never followed by another call, unless its outcome can't have been committed (semantics.md 23)
    for (const call of ok) {
      const later = its.find((other) => other.begunAt > call.answeredAt! + uncommittedMs);
      if (!later || lostWith(call, kills, uncommittedMs)) continue;
      const kill = kills.find((one) => one.killedAt >= call.answeredAt! && one.killedAt <= later.begunAt);
      const when = kill ? `${kill.what} was killed ${kill.killedAt - call.answeredAt!} ms after the first` : 'nothing was killed between';
      say(row, `was called again at ${at(later.begunAt)} after ok at ${at(call.answeredAt)}; ${when}`);
    }
    const reruns = its.filter((call) => isRerun(call, kills, uncommittedMs)).length;
    if (its.length - reruns > row.max_attempts) say(row, `was called ${its.length} times, ${reruns} of them around kills`);
    const attempts = its.map((call) => call.attempt);
    if (new Set(attempts).size < attempts.length) say(row, 'was called twice with one attempt number');
    if (Math.max(0, ...attempts) > row.attempt) say(row, 'was called with an attempt that its row does not know');
  }

  for (const { execution, job, key } of ledger.triggers) {
    const same = rows.filter((row) => row.key === key);
    if (same.length !== 1 || same[0]!.id !== execution)
      violations.push(
        `the trigger ${key} of ${job} was acknowledged as ${execution}, but its rows are ${same.map((row) => row.id).join(', ') || 'none'}`,
      );
  }
  for (const job of ledger.jobs.values()) {
    const its = rows.filter((row) => row.job_id === job.id && row.trigger === 'once');
    if (job.kind === 'once' && its.length !== 1) violations.push(`the one-off ${job.id} (${job.name}) has ${its.length} executions`);
    if (['skip', 'buffer_one', 'buffer_all', 'cancel_other', 'terminate_other'].includes(job.overlap))
      violations.push(...overlaps(job, calls));
  }
  return violations;
}

/** Calls of different executions of one job at the same time, longer than it takes to tell one of them to stop. */
function overlaps(job: { id: string; name: string; overlap: string }, calls: Call[]): string[] {
  const its = calls.filter((call) => call.job === job.id).sort((a, b) => a.begunAt - b.begunAt);
  return its.flatMap((call, index) => {
    const next = its.slice(index + 1).find((other) => other.execution !== call.execution);
    const end = call.answeredAt ?? call.brokenAt ?? Number.POSITIVE_INFINITY;
    if (!next || next.begunAt >= end) return [];
    // what went on that long in spite of its job's policy
    const togetherMs = Math.min(end, next.answeredAt ?? next.brokenAt ?? Number.POSITIVE_INFINITY) - next.begunAt;
    return togetherMs <= FENCED_WITHIN_MS
      ? []
      : [`${job.name}: ${call.execution} and ${next.execution} ran ${togetherMs} ms beside each other`];
  });
}

/** Definitions, counters and attempts in Postgres. */
export async function checkDefinitions(ledger: Ledger, rows: Rows, until: Date): Promise<string[]> {
  const violations: string[] = [];
  const jobs = await rows.ask<{
    id: string;
    state: string;
    document: { schedule?: never; target: unknown };
    created_at: Date;
    deleted: boolean;
    timing_hash: string | null;
    queue: string | null;
    unsynced: boolean;
  }>(
    `SELECT j.id, j.state, j.document, j.created_at, j.deleted_at IS NOT NULL AS deleted, c.timing_hash, c.queue, c.generation <> c.observed_generation AS unsynced
       FROM jobs j LEFT JOIN clocks c ON c.id = j.clock_id`,
  );
  const byId = new Map(jobs.map((job) => [job.id, job]));
  for (const known of jobs)
    if (!ledger.jobs.has(known.id)) violations.push(`${known.id} was never acknowledged, yet every create was repeated until it was`);
  for (const job of ledger.jobs.values()) {
    const found = byId.get(job.id);
    if (job.deleted) {
      if (found && !found.deleted) violations.push(`${job.id} (${job.name}) was deleted and is there`);
      continue;
    }
    if (!found || found.deleted) {
      violations.push(`${job.id} (${job.name}) was acknowledged and is not there`);
      continue;
    }
    if (job.kind !== 'clock') continue;
    const kept = found.document.schedule as unknown as Record<string, unknown>;
    for (const [name, value] of Object.entries(job.schedule ?? {}))
      if (JSON.stringify(kept[name]) !== JSON.stringify(value))
        violations.push(`${job.id} has schedule ${JSON.stringify(kept)}, acknowledged was ${JSON.stringify(job.schedule)}`);
    const timing = timingOf(kept as never, found.created_at);
    if (!timing || found.timing_hash !== timingHash(timing, found.queue ?? '', 'default'))
      violations.push(`${job.id} has another timing than its document`);
    if (found.unsynced) violations.push(`${job.id} is not known to be true in Temporal`);
    if (found.state !== 'paused') violations.push(`${job.id} is ${found.state}, acknowledged was a pause`);
  }
  for (const { job, slot } of await rows.slotsWithoutRow(until))
    violations.push(`slot ${slot.toISOString()} of ${job} has no row and no range`);

  const counters = await rows.ask<{ job_id: string; active: number; waiting: number }>(
    'SELECT job_id, active, waiting FROM job_runtime WHERE active <> 0 OR waiting <> 0',
  );
  for (const { job_id, active, waiting } of counters) violations.push(`${job_id} counts ${active} active and ${waiting} waiting`);
  const attempts = await rows.ask<{ id: string; attempt: number; count: string }>(
    `SELECT e.id, e.attempt, count(a.attempt) FROM job_executions e
       LEFT JOIN job_attempts a ON a.partition_at = e.partition_at AND a.execution_id = e.id GROUP BY e.partition_at, e.id, e.attempt
     HAVING count(a.attempt) <> e.attempt`,
  );
  for (const { id, attempt, count } of attempts) violations.push(`${id} made ${attempt} attempts and has rows of ${count}`);
  return violations;
}

/** What Temporal still has: the schedule of each job that is there, its own or a shared one, and no workflow at work. */
export async function checkTemporal(ledger: Ledger, rows: Rows, temporal: Client): Promise<string[]> {
  const violations: string[] = [];
  const clocks = await rows.ask<{ id: string; clock_id: string; kind: string }>(
    'SELECT j.id, c.id AS clock_id, c.kind FROM jobs j JOIN clocks c ON c.id = j.clock_id WHERE j.deleted_at IS NULL',
  );
  const clockOf = new Map(clocks.map((row) => [row.id, row]));
  for (const job of ledger.jobs.values()) {
    if (job.kind !== 'clock') continue;
    const clock = clockOf.get(job.id);
    try {
      const { state } = await temporal.schedule.getHandle(clock?.clock_id ?? job.id).describe();
      if (job.deleted) violations.push(`${job.id} was deleted, and its schedule is there`);
      // a shared one goes on for whoever else is in it
      else if (!state.paused && clock?.kind === 'dedicated') violations.push(`the schedule of ${job.id} is not paused`);
    } catch (error) {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
      if (!job.deleted) violations.push(`${job.id} has no schedule in Temporal`);
    }
  }
  for await (const open of temporal.workflow.list({ query: OURS_AT_WORK })) {
    const { status, startTime } = await temporal.workflow.getHandle(open.workflowId, open.runId).describe();
    // a shared clock goes on firing for nobody, which is over at once
    if (status.name === 'RUNNING' && Date.now() - startTime.getTime() > 5_000)
      violations.push(`the workflow ${open.workflowId} is still open`);
  }
  return violations;
}

const OURS_AT_WORK = `WorkflowType IN ('executeJob', 'servePool', 'serveSlot') AND ExecutionStatus = 'Running'`;

/** How long after the receiver's last word the row was terminal, milliseconds: the time in which a kill repeats the call. */
export function recordingLags({ rows, calls }: Evidence): { p50: number; p99: number; max: number } {
  const answers = new Map(
    calls.filter((call) => call.answer === 'ok' && call.answeredAt !== null).map((call) => [call.execution, call.answeredAt!]),
  );
  const lags = rows
    .filter((row) => row.status === 'succeeded' && answers.has(row.id))
    .map((row) => row.finished_at!.getTime() - answers.get(row.id)!)
    .sort((a, b) => a - b);
  const at = (part: number) => lags[Math.min(lags.length - 1, Math.floor(lags.length * part))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
