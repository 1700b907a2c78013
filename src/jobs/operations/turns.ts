/**
 * Whose turn it is. Retries and backfills are many of one job, and meant to run all: they go one after another, each when nothing of its job runs or waits, unless the job allows
 * all; so the job's own slots have their turn between two of them.
 */
import type { Transaction } from '../../postgres.ts';
import type { Choice } from './operation-runner.ts';
import type { OperationItem, OperationRow } from './operation-store.ts';
import { itemsOfReadyJobs, type JobTurn, MOST_UNFINISHED, turnsLock, turnsRead, turnsTake } from './turn-store.ts';

/** When no more than one in so many of the next items can go on, others are looked for. */
const FEW = 4;

/** Those whose turn it is, of items whose jobs are locked. @param waits what people hold back waits; else admit refuses it. */
export function inTurn(items: readonly OperationItem[], turns: ReadonlyMap<string, JobTurn>, waits: boolean): OperationItem[] {
  const begun = new Map<string, number>();
  return items.filter(({ job_id: id }) => {
    const turn = turns.get(id);
    // admit says that it is not there, or disabled
    if (!turn?.enabled) return true;
    if (turn.held || turn.frozen) return !waits;
    const busy = turn.busy + (begun.get(id) ?? 0);
    const may = turn.allows_all ? busy < MOST_UNFINISHED : busy === 0;
    if (may) begun.set(id, (begun.get(id) ?? 0) + 1);
    return may;
  });
}

/** Which of a backfill's next items can go on. Of one job it waits for that job's lock; of many nobody waits for one that is at work. */
export async function chooseForBackfill(tx: Transaction, operation: OperationRow, next: OperationItem[]): Promise<Choice> {
  const { team, id, job_id: jobId } = operation;
  if (jobId !== null) {
    const turns = await turnsLock(tx, team, [jobId]);
    return { items: inTurn(next, turns, true), waitingFor: whyNot(turns) };
  }
  const before = await turnsRead(tx, team, idsOf(next));
  let wanted = inTurn(next, before, true);
  if (wanted.length * FEW <= next.length) {
    const ready = await itemsOfReadyJobs(tx, team, id, next.length);
    if (ready.length > wanted.length) wanted = ready;
  }
  // only now, and only these: a look at all that is left takes its time, and jobs that are locked cannot start their own slots
  const turns = await turnsTake(tx, team, idsOf(wanted));
  const taken = wanted.filter(({ job_id: job }) => turns.get(job)?.locked ?? true);
  return { items: inTurn(taken, turns, true), waitingFor: whyNot(before) };
}

const idsOf = (items: readonly OperationItem[]): string[] => items.map(({ job_id: id }) => id);

function whyNot(turns: ReadonlyMap<string, JobTurn>): Choice['waitingFor'] {
  const all = [...turns.values()];
  if (all.every(({ enabled, frozen }) => enabled && frozen)) return 'frozen';
  return all.every(({ enabled, held, frozen }) => enabled && (held || frozen)) ? 'paused' : 'overlap';
}
