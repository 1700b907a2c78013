/** The times of an iCalendar text's events within a stretch: repeated, excepted and moved as RFC 5545 says, by a bounded amount of work. */
import { canonicalZone, zoneOf } from '../time/zone.ts';
import { type IcsPart, type IcsProperty, partsOf, propertiesOf, propertyOf, readCalendars, textOf } from './ics-lines.ts';
import { createSpending, IcsProblem, type Spend } from './ics-problem.ts';
import { occurrencesOf, readRule } from './ics-rules.ts';
import { isCancelled } from './ics-text.ts';
import { type IcsTime, parseLength, timesOf } from './ics-times.ts';
import { describedZone, type EpochOf } from './ics-zones.ts';
import type { Span, WallSpan } from './spans.ts';

const DAY_S = 86_400;

/** Whole days and times without a zone are the wall's, wherever it hangs; the others are moments. */
export type IcsSpans = { walls: WallSpan[]; moments: Span[] };

/**
 * The events that overlap a stretch.
 * @param fromS epoch seconds; @param toS a day more is looked at on both sides, for walls in other zones.
 * @throws IcsProblem when that is too much work.
 */
export function icsSpans(ics: string, fromS: number, toS: number): IcsSpans {
  const found: IcsSpans = { walls: [], moments: [] };
  const stretch = { fromS: fromS - DAY_S, toS: toS + DAY_S };
  const spend = createSpending();
  for (const calendar of readCalendars(ics)) {
    const zones = zonesOf(calendar, stretch.toS, spend);
    const events = partsOf(calendar, 'VEVENT').map((event) => timingOf(event, zones));
    const moved = movedOccurrences(events);
    for (const timing of events) {
      if (isCancelled(timing.event)) continue;
      for (const at of occurrencesIn(timing, moved.get(timing.uid), stretch, spend)) {
        const to = at + timing.lengthS;
        if (to <= stretch.fromS || at >= stretch.toS) continue;
        if (timing.isWall) found.walls.push({ fromW: at, toW: to });
        else found.moments.push({ fromS: at, toS: to });
      }
    }
  }
  return found;
}

/** How the times of an event are placed: on the wall, or as moments. */
type EventTiming = {
  event: IcsPart;
  uid: string;
  start: IcsTime;
  isWall: boolean;
  lengthS: number;
  /** Where a second of the event's own wall lies: there, or in epoch seconds. */
  place: EpochOf;
  /** The same of a time that may be in another zone. */
  placeOf: (property: IcsProperty, time: IcsTime) => number;
};

const asItIs: EpochOf = (wallS) => wallS;

function timingOf(event: IcsPart, zones: (tzid: string) => EpochOf): EventTiming {
  const property = propertyOf(event, 'DTSTART')!;
  const start = timesOf(property)[0]!;
  const tzid = property.parameters.get('TZID');
  const isWall = start.isDate || !(start.isUtc || tzid);
  const place = isWall || start.isUtc ? asItIs : zones(tzid!);
  const placeOf = ({ parameters }: IcsProperty, time: IcsTime) => {
    const other = parameters.get('TZID');
    if (isWall || time.isUtc) return time.wallS;
    return (other === undefined || other === tzid ? place : zones(other))(time.wallS);
  };
  const end = propertyOf(event, 'DTEND');
  const endTime = end && timesOf(end)[0];
  const duration = textOf(event, 'DURATION');
  let lengthS = start.isDate ? DAY_S : 0;
  if (end && endTime) lengthS = placeOf(end, endTime) - place(start.wallS);
  else if (duration) lengthS = parseLength(duration) ?? 0;
  return { event, uid: textOf(event, 'UID') ?? '', start, isWall, lengthS: Math.max(0, lengthS), place, placeOf };
}

/** Where the event takes place within the stretch, without what is excepted or moved. */
function occurrencesIn(timing: EventTiming, moved: Excepted | undefined, { fromS, toS }: Span, spend: Spend): number[] {
  const { event, start, place, placeOf } = timing;
  spend(1);
  if (propertyOf(event, 'RECURRENCE-ID')) return [place(start.wallS)];
  const rules = propertiesOf(event, 'RRULE').map(({ value }) => readRule(value));
  const found = new Map<number, number>();
  // with a rule, what begins the event is one of its days only if the rule says so
  if (rules.length === 0) found.set(place(start.wallS), start.wallS);
  for (const property of propertiesOf(event, 'RDATE')) for (const time of timesOf(property)) found.set(placeOf(property, time), time.wallS);
  for (const rule of rules) {
    const walls = occurrencesOf(rule, start.wallS, fromS - timing.lengthS - DAY_S, toS + DAY_S);
    spend(walls.length);
    const untilAt = rule.until && (rule.until.isUtc ? rule.until.wallS : place(rule.until.wallS));
    for (const wallS of walls) if (untilAt === null || place(wallS) <= untilAt) found.set(place(wallS), wallS);
  }
  spend(found.size);
  const excepted = exceptedBy(timing, 'EXDATE');
  return [...found].filter(([at, wallS]) => !isExcepted(excepted, at, wallS) && !(moved && isExcepted(moved, at, wallS))).map(([at]) => at);
}

/** Single occurrences, and days on which there is none whatever its time. */
type Excepted = { at: Set<number>; days: Set<number> };

function exceptedBy({ event, start, placeOf }: EventTiming, name: 'EXDATE' | 'RECURRENCE-ID', known?: Excepted): Excepted {
  const excepted = known ?? { at: new Set(), days: new Set() };
  for (const property of propertiesOf(event, name))
    for (const time of timesOf(property)) {
      if (time.isDate && !start.isDate) excepted.days.add(time.wallS);
      else excepted.at.add(placeOf(property, time));
    }
  return excepted;
}

const isExcepted = ({ at, days }: Excepted, place: number, wallS: number): boolean =>
  at.has(place) || days.has(wallS - (((wallS % DAY_S) + DAY_S) % DAY_S));

/** Occurrences that have an event of their own, by uid: the original times. */
function movedOccurrences(events: readonly EventTiming[]): Map<string, Excepted> {
  const moved = new Map<string, Excepted>();
  for (const timing of events)
    if (propertyOf(timing.event, 'RECURRENCE-ID')) moved.set(timing.uid, exceptedBy(timing, 'RECURRENCE-ID', moved.get(timing.uid)));
  return moved;
}

/** Zones by the names that a calendar's events have for them. */
function zonesOf(calendar: IcsPart, toS: number, spend: Spend): (tzid: string) => EpochOf {
  const known = new Map<string, EpochOf>();
  return (tzid) => {
    let zone = known.get(tzid);
    if (!zone) {
      const name = canonicalZone(tzid);
      const described = partsOf(calendar, 'VTIMEZONE').find((part) => textOf(part, 'TZID') === tzid);
      if (name) zone = zoneOf(name).epochOf;
      else if (described) zone = describedZone(described, toS, spend);
      else throw new IcsProblem(`names the time zone ${JSON.stringify(tzid.slice(0, 60))}, which it does not describe; export it again`);
      known.set(tzid, zone);
    }
    return zone;
  };
}
