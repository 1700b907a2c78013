/** One call of a pooled execution: made as every other call, recorded in groups. */

import { planOf } from '../../jobs/execution-plan.ts';
import { partitionAtOf } from '../../jobs/ids.ts';
import type { BegunCall } from '../../jobs/pools/pool-store.ts';
import { type Log, lazyChild } from '../../log.ts';
import type { CallTarget, DefinedCall } from '../call-target.ts';
import { Interruption, type Interruptions, type Watch } from '../interruptions.ts';
import { decide, type MadeTry, outcomeOf } from '../outcome.ts';
import type { Quarantine } from '../quarantine/quarantine.ts';
import type { TargetOutcome } from '../targets/target-call.ts';
import type { Definition, Services } from './definitions.ts';
import type { OutcomeWriter } from './outcome-writer.ts';

/** A call whose worker died this often in a row is made in quarantine (semantics.md 22). */
const LOST_IN_A_ROW = 2;

export type PooledCallDeps = {
  callTarget: CallTarget;
  quarantine: Quarantine;
  interruptions: Interruptions;
  writer: OutcomeWriter;
  log: Log;
};

/** What the calls of an activity share: the signal that stops them all, by aborting their watches, and where they show signs of life. */
export type Company = { stop: AbortSignal; watches: Set<Watch>; heartbeat: (detail?: unknown) => void };

export type PooledCall = ReturnType<typeof createPooledCall>;

export function createPooledCall({ callTarget, quarantine, interruptions, writer, log }: PooledCallDeps) {
  /**
   * Makes the call that is claimed; resolves when its outcome is committed. `made` is told as soon as the call itself is over.
   * A call that was broken off because its worker stops, or because the activity is not its worker's any more, is not recorded: whoever serves the range next repeats it.
   */
  return async function makeCall(
    team: string,
    row: BegunCall,
    definition: Definition,
    services: Services,
    company: Company,
    made: () => void,
  ) {
    const partitionAt = partitionAtOf(row.id)!;
    const plan = row.timeout_ms === null ? definition.plan : planOf(definition.document, Number(row.timeout_ms));
    const startedAt = new Date();
    const deadlineAt = plan.deadlineMs === null ? null : Math.max(row.due_at.getTime(), startedAt.getTime()) + plan.deadlineMs;
    const watch = interruptions.watch({ partitionAt, id: row.id, attempt: row.attempt });
    company.watches.add(watch);
    if (company.stop.aborted) watch.abort(company.stop.reason);
    const lost = row.attempt - 1 - row.tries;
    const call = callOf();
    let outcome: TargetOutcome | 'poisoned';
    try {
      outcome = lost < LOST_IN_A_ROW ? await callTarget(call) : await quarantined(call);
    } finally {
      company.watches.delete(watch);
      watch.end();
      made();
    }
    const poisoned = outcome === 'poisoned';
    if (outcome === 'poisoned') outcome = poison(lost);
    const broken = outcome.status === 'cancelled' && company.stop.aborted && !(watch.signal.reason instanceof Interruption);
    if (broken && !isCancel(company.stop.reason)) return;
    if (broken) outcome = withdrawn();
    const tried: MadeTry = {
      team,
      partitionAt,
      execution: row.id,
      attempt: row.attempt,
      tryNumber: row.tries + 1,
      maxAttempts: row.max_attempts,
      plan,
      deadlineAt,
      startedAt,
      interrupted: watch.signal,
    };
    const said = poisoned ? 'poisoned' : broken ? 'cancelled in Temporal' : null;
    const decided = said === null ? decide(tried, outcome) : { status: outcome.status, retryInMs: null, reason: said };
    await writer.write({ ...outcomeOf(tried, outcome, decided), retryInMs: decided.retryInMs });

    async function quarantined({
      signal: _signal,
      heartbeat: _heartbeat,
      log: _log,
      ...plain
    }: DefinedCall): Promise<TargetOutcome | 'poisoned'> {
      log.warn(
        { execution: row.id, jobName: row.job_name, lost },
        'its worker died during this call more than once; it is made in quarantine',
      );
      return await quarantine.call(plain, watch.signal);
    }

    function callOf(): DefinedCall {
      const { document } = definition;
      return {
        target: document.target,
        service: definition.service === null ? null : (services.get(definition.service) ?? null),
        executionId: row.id,
        slot: row.slot ? row.slot.toISOString() : null,
        dueAt: row.due_at.toISOString(),
        attempt: row.attempt,
        maxAttempts: plan.maxAttempts,
        job: { id: definition.jobId, name: row.job_name, team },
        input: row.has_input ? row.input : (document.input ?? null),
        nonRetryable: document.retry.nonRetryable,
        timeoutMs: Math.max(1, Math.min(plan.timeoutMs, deadlineAt === null ? plan.timeoutMs : deadlineAt - Date.now())),
        signal: watch.signal,
        heartbeat: company.heartbeat,
        log: lazyChild(log, { execution: row.id, jobName: row.job_name, attempt: row.attempt }),
      };
    }
  };
}

/** Temporal's word for a cancelled workflow; every other reason means that this worker is not to say what came of the call. */
const isCancel = (reason: unknown): boolean => /\bCANCELLED\b/.test(String(reason));

const withdrawn = (): TargetOutcome => ({
  status: 'cancelled',
  error: { type: 'cancelled', message: 'the workflow was cancelled in Temporal', retryable: false },
});

const poison = (lost: number): TargetOutcome => ({
  status: 'failed',
  error: {
    type: 'poisoned',
    message: `this call killed the process in which it was made alone, after ${lost} workers had died during it`,
    retryable: false,
  },
});
