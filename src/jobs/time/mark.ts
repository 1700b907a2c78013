/** What there is to say of single slots of a timing, and what a job's policy makes of it. */

/** What a job wants on days when clocks change; absent parts are the default: gap shift, repeat first for times of day and both for what fires every hour. */
export type DstPolicy = { gap?: 'skip' | 'shift' | undefined; repeat?: 'first' | 'last' | 'both' | undefined };

/** A slot about which there is something to say, as in the table `timing_marks` (migration 0014 says what each kind means). */
export type MarkKind = 'gap' | 'repeat_first' | 'repeat_last' | 'hourly_first' | 'hourly_last' | 'odd' | 'date';
/** `fired` false: Temporal's own calendars do not bring it, so that the clock carries it as a dated extra. */
export type Mark = { slot: Date; kind: MarkKind; fired: boolean };

/** What admit says of a slot with this mark, in the words of `skipped` rows; null: it runs. */
export function verdictOf(kind: MarkKind, { gap, repeat }: DstPolicy): null | 'dst_gap' | 'dst_repeat' {
  if (kind === 'odd' || (kind === 'gap' && gap === 'skip')) return 'dst_gap';
  if (kind === 'repeat_last' && (repeat ?? 'first') === 'first') return 'dst_repeat';
  if (kind === 'hourly_last' && repeat === 'first') return 'dst_repeat';
  if ((kind === 'repeat_first' || kind === 'hourly_first') && repeat === 'last') return 'dst_repeat';
  return null;
}
