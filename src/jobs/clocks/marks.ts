/** Keeps the marks of timings written at least 400 days ahead (semantics.md 24), and lets clocks know of new dated extras. */
import { inTransaction, type Pool } from '../../postgres.ts';
import { MARKS_AHEAD_MS, MARKS_WRITTEN_MS } from '../time/extras.ts';
import { hasMarksAfter, marksOf } from '../time/oracle.ts';
import { marksText } from '../time/written-marks.ts';
import { clockRaiseForMarks, clocksOfTimings, clocksRaiseUnlocked, marksReplace, type TimingToMark, timingsToMark } from './mark-store.ts';

const DAY_MS = 86_400_000;
/** A timing that nobody has looked at may have slots from before that are still to be judged. */
const BACK_MS = 35 * DAY_MS;
/** Clocks raised by one statement. */
const CLOCKS_AT_ONCE = 200;

export type Marks = ReturnType<typeof createMarks>;

export function createMarks({ pool }: { pool: Pool }) {
  /** Its extras change: there is one that its clock, made up to when the marks reached, does not have. */
  async function renew(tx: Parameters<typeof marksReplace>[0], { hash, timing, marks_until: reached }: TimingToMark, now: Date) {
    const from = reached ?? new Date(now.getTime() - BACK_MS);
    const until = new Date(now.getTime() + MARKS_WRITTEN_MS);
    const isOver = !hasMarksAfter(timing, from);
    const marks = isOver ? [] : marksOf(timing, from, until);
    await marksReplace(tx, { hash, from, until: isOver ? 'infinity' : until, marks: marksText(marks) });
    return marks.some(({ slot, fired }) => !fired && slot > now);
  }

  async function raise(hashes: string[]): Promise<number> {
    const ids = hashes.length === 0 ? [] : await clocksOfTimings(pool, hashes);
    for (let index = 0; index < ids.length; index += CLOCKS_AT_ONCE) {
      const some = ids.slice(index, index + CLOCKS_AT_ONCE);
      const raised = await clocksRaiseUnlocked(pool, some);
      // one at a time: who waits for a lock while holding others can end in a ring
      for (const id of some) if (!raised.has(id)) await clockRaiseForMarks(pool, id);
    }
    return ids.length;
  }

  return {
    /**
     * Renews the marks of up to `limit` timings that are due, and of as many that nobody has looked at.
     * @returns `more`: there may be others; `raised`: clocks that Temporal has to learn of.
     */
    async renewDue(now: Date, limit: number): Promise<{ renewed: number; raised: number; more: boolean }> {
      return inTransaction(pool, async (tx) => {
        const due = await timingsToMark(tx, new Date(now.getTime() + MARKS_AHEAD_MS), limit);
        const changed: string[] = [];
        for (const timing of due) if (await renew(tx, timing, now)) changed.push(timing.hash);
        // before the commit: should this process die here, the marks are renewed again, and the clocks raised again
        const raised = await raise(changed);
        return { renewed: due.length, raised, more: due.length >= limit };
      });
    },
  };
}
