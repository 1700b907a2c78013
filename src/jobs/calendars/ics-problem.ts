/** What is wrong with an iCalendar text, and how much work one may cause. */

/** A sentence that goes on after "ics", with the cure. */
export class IcsProblem extends Error {
  override name = 'IcsProblem';
}

/** Occurrences that are looked at for one text: hourly for more than three years. */
export const MOST_STEPS = 30_000;
const LONGEST_MS = 3_000;

/** Called for work on a text, with the number of occurrences it was about. @throws IcsProblem when it has become too much. */
export type Spend = (steps: number) => void;

/** One text's work, counted and timed from now on: a single rule is bounded by what reckons it, five thousand of them by this. */
export function createSpending(): Spend {
  const last = performance.now() + LONGEST_MS;
  let spent = 0;
  return (steps) => {
    spent += steps;
    if (spent > MOST_STEPS) throw tooOften();
    if (performance.now() > last) throw new IcsProblem('takes too long to read; write simpler rules, or split it into several calendars');
  };
}

export const tooOften = (): IcsProblem =>
  new IcsProblem(
    `repeats more than ${MOST_STEPS} times until then; write rules that repeat less often, with longer events, or weekly rules`,
  );
