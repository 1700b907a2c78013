/** Stretches of time, half-open and in whole epoch seconds: joined, subtracted, looked up, and made of wall times in a zone. */
import type { Zone } from '../time/zone.ts';

/** `fromS <= t < toS`, epoch seconds. */
export type Span = { fromS: number; toS: number };
/** The same on the clock on the wall: seconds since 1970 as if the wall showed UTC. */
export type WallSpan = { fromW: number; toW: number };

const DAY_S = 86_400;

/** Sorted and merged: none touches or overlaps another, none is empty. */
export function merged(spans: readonly Span[]): Span[] {
  const result: Span[] = [];
  for (const span of spans.filter(({ fromS, toS }) => fromS < toS).sort((a, b) => a.fromS - b.fromS)) {
    const last = result.at(-1);
    if (last && span.fromS <= last.toS) last.toS = Math.max(last.toS, span.toS);
    else result.push({ ...span });
  }
  return result;
}

/** What of the merged `spans` lies in `[fromS, toS)`. */
export const clipped = (spans: readonly Span[], fromS: number, toS: number): Span[] =>
  spans.map((span) => ({ fromS: Math.max(span.fromS, fromS), toS: Math.min(span.toS, toS) })).filter((span) => span.fromS < span.toS);

/** Merged `spans` without what lies in merged `holes`. */
export function without(spans: readonly Span[], holes: readonly Span[]): Span[] {
  const left: Span[] = [];
  let first = 0;
  for (const span of spans) {
    let from = span.fromS;
    while (first < holes.length && holes[first]!.toS <= from) first += 1;
    for (let next = first; next < holes.length && holes[next]!.fromS < span.toS; next += 1) {
      const hole = holes[next]!;
      if (hole.fromS > from) left.push({ fromS: from, toS: hole.fromS });
      from = Math.max(from, hole.toS);
    }
    if (from < span.toS) left.push({ fromS: from, toS: span.toS });
  }
  return left;
}

/** The span of merged `spans` that holds a moment, or the next one behind it; undefined when there is none. */
export function spanAtOrAfter(spans: readonly Span[], atS: number): Span | undefined {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle]!.toS > atS) high = middle;
    else low = middle + 1;
  }
  return spans[low];
}

/**
 * The moments at which the wall shows a time of these stretches: a day is as long as it is there (23 or 25 hours when clocks change), a day without a midnight begins when
 * the clocks have jumped, and an hour that comes twice counts both times.
 */
export function momentsOf(walls: readonly WallSpan[], zone: Zone): Span[] {
  const spans: Span[] = [];
  for (const { fromW, toW } of walls) {
    // no zone is further than a day from UTC, so all moments of this wall time lie between these two
    const first = fromW - DAY_S;
    const last = toW + DAY_S;
    let from = first;
    for (const change of [...zone.changes(first, last), null]) {
      const until = change?.at ?? last;
      const offset = zone.offsetAt(from);
      const span = { fromS: Math.max(from, fromW - offset), toS: Math.min(until, toW - offset) };
      if (span.fromS < span.toS) spans.push(span);
      from = until;
    }
  }
  return spans;
}
