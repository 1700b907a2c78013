/**
 * Items that ask for an execution: bulk triggers, retries, backfills. They are admitted as what a person asks for one by one, in one statement per batch.
 *
 * A bulk trigger obeys the jobs' overlap policies at once: an item may end as `skipped`. Retries and backfills go in turn (turns.ts). What people hold back (a freeze, a pause with
 * blockManual) keeps a backfill waiting, and refuses the others.
 */
import { v7 } from 'uuid';
import type { Config } from '../../config.ts';
import type { Transaction } from '../../postgres.ts';
import { newExecutionId, partitionAtOf } from '../ids.ts';
import type { TriggerPools } from '../trigger-pools.ts';
import { type AdmittedTrigger, admitTriggers, type TriggerQuestion } from '../trigger-store.ts';
import type { TriggerWishes } from '../trigger-wishes.ts';
import type { Applied, Apply } from './operation-runner.ts';
import type { ItemOutcome, OperationItem, OperationRow } from './operation-store.ts';
import { itemsOfOtherJobs, type Retryable, retryables, turnsLock } from './turn-store.ts';
import { inTurn } from './turns.ts';

export type TriggerParams = TriggerWishes & { input?: unknown; hasInput: boolean };
export type RetryParams = { definition: 'current' | 'original' };

const RETRYABLE = new Set(['failed', 'timed_out', 'cancelled', 'terminated']);

type Asked = { item: OperationItem; question: TriggerQuestion };

export function createApplyRequests({ pools, config }: { pools: TriggerPools; config: Pick<Config, 'BUFFER_LIMIT_TRIGGERS'> }) {
  function questionOf(
    operation: OperationRow,
    item: OperationItem,
    asked: Partial<TriggerQuestion> & Pick<TriggerQuestion, 'kind'>,
  ): Asked {
    const id = newExecutionId(item.job_id, asked.kind);
    const question: TriggerQuestion = {
      team: operation.team,
      partitionAt: partitionAtOf(id)!,
      id,
      job: item.job_id,
      slot: null,
      input: null,
      hasInput: false,
      requestedBy: operation.requested_by,
      retryOf: null,
      pinnedGeneration: null,
      timeoutMs: null,
      bufferLimit: config.BUFFER_LIMIT_TRIGGERS,
      requestId: operation.request_id ?? operation.id,
      operationId: operation.id,
      ...asked,
    };
    return { item, question };
  }

  /** Admits them in one statement; the workflows are started after the commit. */
  async function admit(tx: Transaction, operation: OperationRow, asked: readonly Asked[], waits: boolean): Promise<Applied> {
    if (asked.length === 0) return { outcomes: [], waitingFor: 'overlap' };
    const offered = { team: operation.team, open: {}, fresh: v7(), groups: [] };
    const questions = asked.map(({ question }) => question);
    const admitted = await admitTriggers(tx, questions, { ...offered, audit: true });
    const held = waits ? admitted.map(heldBack) : [];
    const outcomes = asked.flatMap(({ item, question }, nth) => (held[nth] ? [] : [outcomeOf(item, question, admitted[nth]!)]));
    return {
      outcomes,
      waitingFor: held.find((why) => why !== null) ?? undefined,
      after: () => pools.giveBack(offered, questions, admitted),
    };
  }

  const applyTrigger: Apply = async (tx, operation, items) => {
    const { input = null, timeoutMs = null, ...params } = operation.params as TriggerParams;
    const asked = items.map((item) => questionOf(operation, item, { kind: 'manual', input, timeoutMs, ...params }));
    return await admit(tx, operation, asked, false);
  };

  /** Of items whose turn it is. */
  const applyBackfill: Apply = async (tx, operation, items) => {
    const asked = items.map((item) => questionOf(operation, item, { kind: 'backfill', slot: item.slot }));
    return await admit(tx, operation, asked, true);
  };

  const applyRetry: Apply = async (tx, operation, items) => {
    const { definition } = operation.params as RetryParams;
    let turns = await turnsLock(
      tx,
      operation.team,
      items.map((item) => item.job_id),
    );
    let chosen = inTurn(items, turns, false);
    if (chosen.length === 0) {
      const others = await itemsOfOtherJobs(tx, operation.team, operation.id, [...turns.keys()], items.length);
      turns = await turnsLock(
        tx,
        operation.team,
        others.map((item) => item.job_id),
      );
      chosen = inTurn(others, turns, false);
    }
    const keys = chosen.map(({ execution_id: id }) => ({ id: id!, partitionAt: partitionAtOf(id!) ?? new Date(0) }));
    const found = await retryables(tx, operation.team, keys);
    const asked: Asked[] = [];
    const outcomes: ItemOutcome[] = [];
    for (const item of chosen) {
      const row = found.get(item.execution_id!);
      const unfit = unfitToRetry(item, row);
      if (unfit) outcomes.push(unfit);
      else asked.push(questionOf(operation, item, retryOf(row!, definition)));
    }
    if (asked.length === 0) return { outcomes, waitingFor: 'overlap' };
    const applied = await admit(tx, operation, asked, false);
    return { ...applied, outcomes: [...outcomes, ...applied.outcomes] };
  };

  return { applyTrigger, applyBackfill, applyRetry };
}

const retryOf = (row: Retryable, definition: RetryParams['definition']) => ({
  kind: 'retry' as const,
  input: row.input ?? null,
  hasInput: true,
  slot: row.slot,
  retryOf: row.id,
  pinnedGeneration: definition === 'original' ? Number(row.generation) : null,
});

function unfitToRetry({ position }: OperationItem, row: Retryable | undefined): ItemOutcome | null {
  if (!row) return { position, result: 'refused', code: 'not_found', message: 'the execution is not there any more' };
  if (RETRYABLE.has(row.status)) return null;
  return {
    position,
    result: 'refused',
    code: 'not_failed',
    message: `it is ${row.status}; only what ended without success can be retried`,
  };
}

/** Why admit holds one back that may wait; null when it does not. */
function heldBack({ verdict }: { verdict: string }): 'paused' | 'frozen' | null {
  return verdict === 'paused' || verdict === 'frozen' ? verdict : null;
}

const REFUSED: Readonly<Record<string, [code: string, message: string]>> = {
  not_found: ['not_found', 'the job is not there any more'],
  disabled: ['job_disabled', 'the job is disabled'],
  paused: ['job_paused', 'the job is paused for manual starts too'],
  frozen: ['frozen', 'a freeze holds the job'],
};

function outcomeOf({ position }: OperationItem, { id }: TriggerQuestion, { verdict }: AdmittedTrigger): ItemOutcome {
  const refused = REFUSED[verdict];
  if (refused) return { position, result: 'refused', code: refused[0], message: refused[1] };
  if (verdict === 'run' || verdict === 'wait') return { position, result: 'succeeded', made: id };
  return { position, result: 'skipped', made: id, code: verdict, message: "left out, as the job's overlap policy says" };
}
