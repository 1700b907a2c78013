/** Time zones that an iCalendar text describes itself (VTIMEZONE), as Outlook does under names of its own. */
import { type IcsPart, propertiesOf, textOf } from './ics-lines.ts';
import { IcsProblem, type Spend } from './ics-problem.ts';
import { occurrencesOf, readRule, ruleProblem } from './ics-rules.ts';
import { parseOffset, parseTime, timesOf, timeTextsOf } from './ics-times.ts';

/** At `atS` the wall goes from one offset to another; seconds. */
type Change = { atS: number; before: number; after: number };
/** Where a second of the wall lies, in epoch seconds. */
export type EpochOf = (wallS: number) => number;

/** What is wrong with a described zone. @throws IcsProblem */
export function checkZone(zone: IcsPart, spend: Spend): void {
  const wrong = (what: string) =>
    new IcsProblem(`describes the time zone ${JSON.stringify((textOf(zone, 'TZID') ?? '').slice(0, 60))} ${what}; export it again`);
  if (zone.parts.length === 0) throw wrong('without STANDARD or DAYLIGHT');
  for (const part of zone.parts) {
    spend(0);
    const start = parseTime(textOf(part, 'DTSTART') ?? '');
    if (!start) throw wrong('without the times at which its clocks change');
    for (const name of ['TZOFFSETFROM', 'TZOFFSETTO'])
      if (parseOffset(textOf(part, name) ?? '') === null) throw wrong(`without a ${name}, e.g. +0100`);
    if (propertiesOf(part, 'RDATE').some((property) => timeTextsOf(property).some((text) => !parseTime(text))))
      throw wrong('with an RDATE that does not exist');
    for (const { value } of propertiesOf(part, 'RRULE')) {
      const problem = ruleProblem(value, start.wallS);
      if (problem) throw wrong(`with an RRULE ${problem}`);
    }
  }
}

/**
 * Reads a zone that has been checked.
 * @param toS epoch seconds up to which its changes are worked out.
 * @throws IcsProblem when that is too much work.
 */
export function describedZone(zone: IcsPart, toS: number, spend: Spend): EpochOf {
  const changes = zone.parts.flatMap((part) => changesOf(part, toS, spend)).sort((a, b) => a.atS - b.atS);
  const offsetAt = (epochS: number): number => {
    let low = 0;
    let high = changes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (changes[middle]!.atS <= epochS) low = middle + 1;
      else high = middle;
    }
    return changes[low - 1]?.after ?? changes[0]!.before;
  };
  // as zone.ts does it: the offset when the wall is read as UTC, then the one at the moment that gives
  return (wallS) => wallS - offsetAt(wallS - offsetAt(wallS));
}

function changesOf(part: IcsPart, toS: number, spend: Spend): Change[] {
  const start = parseTime(textOf(part, 'DTSTART') ?? '')!.wallS;
  const before = parseOffset(textOf(part, 'TZOFFSETFROM') ?? '')!;
  const after = parseOffset(textOf(part, 'TZOFFSETTO') ?? '')!;
  const changes = [start, ...propertiesOf(part, 'RDATE').flatMap((property) => timesOf(property).map(({ wallS }) => wallS))].map(
    (wallS) => wallS - before,
  );
  for (const { value } of propertiesOf(part, 'RRULE')) {
    const rule = readRule(value);
    // Outlook begins in 1601; of what is that old no more is asked than how long it is
    const found = occurrencesOf(rule, start, 0, toS + before).map((wallS) => wallS - before);
    const untilS = rule.until && rule.until.wallS - (rule.until.isUtc ? 0 : before);
    changes.push(...(untilS === null ? found : found.filter((atS) => atS <= untilS)));
  }
  spend(changes.length);
  return changes.map((atS) => ({ atS, before, after }));
}
