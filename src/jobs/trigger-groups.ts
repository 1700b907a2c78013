/** Triggers share a statement and its commit (semantics.md 16); not found, disabled and paused are answers of their own. */
import type { Pool } from '../postgres.ts';
import { createCommitGroups } from './commit-groups.ts';
import type { TriggerPools } from './trigger-pools.ts';
import { type AdmittedTrigger, admitTriggers, type TriggerQuestion } from './trigger-store.ts';

export function createTriggerGroups({ pool, pools }: { pool: Pool; pools: TriggerPools }) {
  async function decide(questions: readonly TriggerQuestion[]): Promise<AdmittedTrigger[]> {
    const offered = pools.offer(questions[0]!.team);
    try {
      const admitted = await admitTriggers(pool, questions, { ...offered, audit: true });
      pools.giveBack(offered, questions, admitted);
      return admitted;
    } catch (error) {
      pools.giveBack(offered);
      throw error;
    }
  }

  /** Admits in company with whoever else asks. Durable when it returns; a group that it has joined is started by itself. */
  const admit = createCommitGroups<TriggerQuestion, AdmittedTrigger>(({ team }) => team, decide);

  return { admit };
}
