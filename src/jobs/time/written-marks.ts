/** The marks of a timing as they are written with it. */
import { MARKS_WRITTEN_MS } from './extras.ts';
import { hasMarksAfter, type Mark, marksOf } from './oracle.ts';
import type { Timing } from './timing.ts';

/** Up to when marks are known; `infinity`: there are none, ever. Null: too many to go with another statement, so that the controller writes them in its next pass. */
export type WrittenMarks = { until: string | null; marks: string | null };

const DAY_MS = 86_400_000;
const NEVER: WrittenMarks = { until: 'infinity', marks: null };
const LATER: WrittenMarks = { until: null, marks: null };
/** A clock that fires every minute has 120 where an hour comes twice. */
const MOST_WITH_A_JOB = 400;

const known = new WeakMap<Timing, WrittenMarks & { day: number }>();

/** The marks that go into the statement which brings a timing for the first time: from the day before on, as far ahead as they are ever written. */
export function marksToWrite(timing: Timing, now: Date): WrittenMarks {
  const day = Math.floor(now.getTime() / DAY_MS);
  const before = known.get(timing);
  if (before?.day === day) return before;
  const written = { ...work(timing, day * DAY_MS), day };
  known.set(timing, written);
  return written;
}

function work(timing: Timing, from: number): WrittenMarks {
  if (!hasMarksAfter(timing, new Date(from))) return NEVER;
  const until = new Date(from + MARKS_WRITTEN_MS);
  const marks = marksOf(timing, new Date(from - DAY_MS), until, MOST_WITH_A_JOB + 1);
  return marks.length > MOST_WITH_A_JOB ? LATER : { until: until.toISOString(), marks: marks.length === 0 ? null : marksText(marks) };
}

/** As `json_to_recordset` reads them: slot in epoch seconds, kind, fired. */
export const marksText = (marks: readonly Mark[]): string =>
  JSON.stringify(marks.map(({ slot, kind, fired }) => ({ slot: slot.getTime() / 1_000, kind, fired })));
