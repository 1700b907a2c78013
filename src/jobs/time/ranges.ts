/** Sets of whole numbers as ranges: one canonical list for one set, so that two spellings of a schedule compare equal. */

/** `start, start + step … <= end`; all three always present (Temporal's SDK reads a missing `end` as 1). */
export type Range = { start: number; end: number; step: number };

/** The fields of a calendar and the whole numbers each may hold; Sunday is 0. */
export const FIELD_LIMITS = {
  second: [0, 59],
  minute: [0, 59],
  hour: [0, 23],
  dayOfMonth: [1, 31],
  month: [1, 12],
  dayOfWeek: [0, 6],
} as const;
export type Field = keyof typeof FIELD_LIMITS;
export const FIELDS = Object.keys(FIELD_LIMITS) as Field[];

/** The numbers of a list of ranges, ascending, each once. */
export function valuesOf(ranges: readonly Range[]): number[] {
  const values = new Set<number>();
  for (const { start, end, step } of ranges) for (let value = start; value <= end; value += step) values.add(value);
  return [...values].sort((a, b) => a - b);
}

/**
 * The canonical ranges of a set: from the smallest number on, the longest evenly spaced run that starts there (of at least three numbers), else the number alone.
 * @param values whole numbers in any order, repeats allowed.
 */
export function rangesOf(values: Iterable<number>): Range[] {
  const sorted = [...new Set(values)].sort((a, b) => a - b);
  const ranges: Range[] = [];
  let index = 0;
  while (index < sorted.length) {
    const start = sorted[index]!;
    const step = (sorted[index + 1] ?? start) - start;
    let last = index + 1;
    while (last + 1 < sorted.length && sorted[last + 1]! - sorted[last]! === step) last += 1;
    if (last < sorted.length && last - index >= 2) {
      ranges.push({ start, end: sorted[last]!, step });
      index = last + 1;
    } else {
      ranges.push({ start, end: start, step: 1 });
      index += 1;
    }
  }
  return ranges;
}

/** True when every number of `inner` is in `outer`. */
export function isWithin(inner: readonly Range[], outer: readonly Range[]): boolean {
  const allowed = new Set(valuesOf(outer));
  return valuesOf(inner).every((value) => allowed.has(value));
}
