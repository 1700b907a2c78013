/** Admit and, for a short target that is due, the first try at once. Each half repeats safely by itself, so their pair does too. */
import type { AttemptInput, AttemptResult, ExecutionActivities } from '../workflows/execution-activities.ts';
import type { Admit } from './admit.ts';

export function createBegin({
  admit,
  attempt,
}: {
  admit: Admit;
  attempt: (input: AttemptInput) => Promise<AttemptResult>;
}): ExecutionActivities['begin'] {
  return async function begin(input) {
    const admitted =
      'clock' in input ? await admit.slot({ team: input.team, clock: input.clock, slot: input.slot ?? '' }) : await admit.queued(input);
    if (admitted.decision !== 'run' || admitted.long || admitted.dueAt > Date.now()) return admitted;
    const { execution, triesDone, deadlineAt } = admitted;
    return { ...admitted, first: await attempt({ team: input.team, execution, tryNumber: triesDone + 1, deadlineAt }) };
  };
}
