/**
 * Statements side by side, a few at a time, first come first served. One that lasts longer than usual waits for a lock that somebody holds: it does not keep others from
 * their turn any more, up to a bound, so that connections are left for everything else.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';

export type Turns = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * @param options.atOnce works that count
 * @param options.most works under way, those included that have left the count after `slowAfterMs`
 */
export function createTurns({ atOnce, most, slowAfterMs }: { atOnce: number; most: number; slowAfterMs: number }): Turns {
  const counted = pLimit(atOnce);
  const underway = pLimit(Math.max(atOnce, most));

  return function inTurn(work) {
    return new Promise((resolve, reject) => {
      // whoever waits for one of the last connections does so in its turn: there is none for others anyway
      void counted(async () => {
        let begin = (): void => {};
        const begun = new Promise<void>((told) => {
          begin = told;
        });
        const over = new AbortController();
        const working = underway(() => {
          begin();
          return work();
        }).finally(() => over.abort());
        working.then(resolve, reject);
        await begun;
        await sleep(slowAfterMs, undefined, { signal: over.signal }).catch(() => {});
      });
    });
  };
}
