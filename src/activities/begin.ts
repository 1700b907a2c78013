/** Admit and, for a short target that is due, the first try at once. Each half repeats safely by itself, so their pair does too. */
import type { ExecutionActivities } from '../workflows/execution-activities.ts';
import type { Admit } from './admit.ts';
import type { Attempt } from './attempt.ts';

export function createBegin({ admit, attempt }: { admit: Admit; attempt: Attempt }): ExecutionActivities['begin'] {
  return async function begin(input) {
    const { beginning, claimed } =
      'clock' in input ? await admit.slot({ team: input.team, clock: input.clock, slot: input.slot ?? '' }) : await admit.queued(input);
    if (beginning.decision !== 'run') return beginning;
    // a claim is made by Postgres' clock, which may be ahead of ours
    if (!claimed && (beginning.long || beginning.dueAt > Date.now())) return beginning;
    const { execution, triesDone, deadlineAt } = beginning;
    const first = { team: input.team, execution, tryNumber: triesDone + 1, deadlineAt };
    return { ...beginning, first: claimed ? await attempt.claimed(first, claimed) : await attempt.next(first) };
  };
}
