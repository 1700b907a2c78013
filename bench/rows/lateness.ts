/**
 * `lateness`: jobs whose crons are due in the same second; how late their calls arrive at the receiver, and how late their rows say they began. 300 with a
 * workflow each, and 1,000 that share theirs.
 */
import type { Line } from '../report.ts';
import { percentile, readingsOf } from '../rounds.ts';
import { startAlmanac } from '../stack/almanac.ts';
import { type DueTogether, openDueTogether } from './due-together.ts';
import type { Row } from './row.ts';

const JOBS = { dedicated: 300, pooled: 1_000 } as const;
type Dispatch = keyof typeof JOBS;

export const lateness: Row = async ({ servers, folder, rounds, say }) => {
  const almanac = await startAlmanac(await servers(), 'lateness', folder, ['api', 'worker', 'controller']);
  const company = await openDueTogether(almanac);
  const seen: Record<Dispatch, DueTogether[]> = { dedicated: [], pooled: [] };
  try {
    // One after another: there is nothing to take turns with.
    for (let round = 0; round < Math.min(rounds, 3); round += 1) {
      for (const dispatch of ['dedicated', 'pooled'] as const) {
        say(`round ${round + 1}: ${JOBS[dispatch]} ${dispatch} jobs due in one second`);
        seen[dispatch].push(await company.run({ name: `${dispatch}-${round}`, jobs: JOBS[dispatch], dispatch }));
      }
    }
  } finally {
    await company.close();
    await almanac.close();
  }
  const line = (dispatch: Dispatch, what: string, share: number, of: 'received' | 'rows'): Line => ({
    what: `${JOBS[dispatch].toLocaleString('en-US')} ${dispatch}: ${what}`,
    unit: 'ms',
    ours: readingsOf(seen[dispatch].map((round) => percentile(round[of], share))),
  });
  const linesOf = (dispatch: Dispatch): Line[] => [
    line(dispatch, 'worst, at the receiver', 1, 'received'),
    line(dispatch, 'p99, at the receiver', 0.99, 'received'),
    line(dispatch, 'p50, at the receiver', 0.5, 'received'),
    line(dispatch, 'worst, from the rows', 1, 'rows'),
    line(dispatch, 'p99, from the rows', 0.99, 'rows'),
  ];
  return { lines: [...linesOf('dedicated'), ...linesOf('pooled')], facts: { rounds: seen.pooled.length } };
};
