/** The times of an iCalendar text's events within a stretch: repeated, excepted and moved as RFC 5545 says, by a bounded amount of work. */
import ICAL from 'ical.js';
import { canonicalZone, zoneOf } from '../time/zone.ts';
import { IcsProblem, readCalendars, withinTime } from './ics-text.ts';
import { daysOfMonth } from './local-time.ts';
import type { Span, WallSpan } from './spans.ts';

const DAY_S = 86_400;
/** Occurrences that are looked at, also those before the stretch: daily since 1970 has 20,000. */
const MOST_STEPS = 30_000;
/** Parts of a rule that choose days by something else than their number in the month. */
const DAY_PARTS = ['BYDAY', 'BYYEARDAY', 'BYWEEKNO'];

/** Whole days and times without a zone are the wall's, wherever it hangs; the others are moments. */
export type IcsSpans = { walls: WallSpan[]; moments: Span[] };

/**
 * The events that overlap a stretch.
 * @param fromS epoch seconds; @param toS a day more is looked at on both sides, for walls in other zones.
 * @throws IcsProblem when that is too much work.
 */
export const icsSpans = (ics: string, fromS: number, toS: number): IcsSpans => withinTime(() => collect(ics, fromS - DAY_S, toS + DAY_S));

function collect(ics: string, fromS: number, toS: number): IcsSpans {
  const found: IcsSpans = { walls: [], moments: [] };
  let steps = 0;
  const step = () => {
    steps += 1;
    if (steps > MOST_STEPS)
      throw new IcsProblem(`repeats more than ${MOST_STEPS} times until then; begin its events later (DTSTART), or write weekly rules`);
  };
  for (const calendar of readCalendars(ics)) {
    const events = calendar.getAllSubcomponents('vevent');
    const moved = movedOccurrences(events);
    for (const event of events) {
      const timing = timingOf(event);
      const add = (start: ICAL.Time) => {
        const from = timing.place(start);
        const span = { from, to: from + timing.lengthS };
        if (span.to <= fromS || span.from >= toS) return;
        if (timing.isWall) found.walls.push({ fromW: span.from, toW: span.to });
        else found.moments.push({ fromS: span.from, toS: span.to });
      };
      if (event.hasProperty('recurrence-id') || !(event.hasProperty('rrule') || event.hasProperty('rdate'))) {
        step();
        add(timing.start);
        continue;
      }
      const isOfRule = ruleOf(event, timing.start);
      const others = moved.get(String(event.getFirstPropertyValue('uid')));
      // without a rule, what begins the event is one of its days and the parser leaves it out
      if (!event.hasProperty('rrule') && !isExcepted(event, timing.start)) add(timing.start);
      const occurrences = new ICAL.RecurExpansion({ component: event, dtstart: timing.start });
      for (let next = occurrences.next(); next && timing.place(next) < toS; next = occurrences.next()) {
        step();
        if (!others?.has(next.toString()) && isOfRule(next)) add(next);
      }
    }
  }
  return found;
}

/** The parser takes the 29th of February of an ordinary year for the 1st of March; so what it finds is held against the rule's own days. */
function ruleOf(event: ICAL.Component, start: ICAL.Time): (time: ICAL.Time) => boolean {
  const [rule, ...more] = event.getAllProperties('rrule').map((property) => property.getFirstValue() as ICAL.Recur);
  if (!rule || more.length > 0 || event.hasProperty('rdate')) return () => true;
  const { BYMONTH: months, BYMONTHDAY: days, ...others } = rule.parts as { BYMONTH?: number[]; BYMONTHDAY?: number[] };
  const isOfDay = ['YEARLY', 'MONTHLY'].includes(rule.freq) && Object.keys(others).every((part) => !DAY_PARTS.includes(part));
  return (time) => {
    if (time.compare(start) === 0) return true;
    if (months && !months.includes(time.month)) return false;
    if (days) return days.includes(time.day) || days.includes(time.day - daysOfMonth(time.month, time.year) - 1);
    return !isOfDay || time.day === start.day;
  };
}

const isExcepted = (event: ICAL.Component, time: ICAL.Time): boolean =>
  event.getAllProperties('exdate').some((property) => property.getValues().some((each) => String(each) === time.toString()));

/** Occurrences that have an event of their own, by uid: the original times. */
function movedOccurrences(events: readonly ICAL.Component[]): Map<string, Set<string>> {
  const moved = new Map<string, Set<string>>();
  for (const event of events) {
    const original: unknown = event.getFirstPropertyValue('recurrence-id');
    if (!(original instanceof ICAL.Time)) continue;
    const uid = String(event.getFirstPropertyValue('uid'));
    moved.set(uid, (moved.get(uid) ?? new Set()).add(original.toString()));
  }
  return moved;
}

type EventTiming = {
  start: ICAL.Time;
  isWall: boolean;
  lengthS: number;
  /** Where an occurrence begins: wall seconds or epoch seconds. */
  place: (time: ICAL.Time) => number;
};

function timingOf(event: ICAL.Component): EventTiming {
  const start = event.getFirstPropertyValue('dtstart') as ICAL.Time;
  const place = placing(event, 'dtstart');
  const isWall = start.isDate || place === wallOf;
  const end: unknown = event.getFirstPropertyValue('dtend');
  const duration: unknown = event.getFirstPropertyValue('duration');
  let lengthS = start.isDate ? DAY_S : 0;
  if (end instanceof ICAL.Time) lengthS = (isWall ? wallOf : placing(event, 'dtend'))(end) - place(start);
  else if (duration instanceof ICAL.Duration) lengthS = duration.toSeconds();
  return { start, isWall, lengthS: Math.max(0, lengthS), place };
}

const wallOf = ({ year, month, day, hour, minute, second }: ICAL.Time): number =>
  Date.UTC(year, month - 1, day, hour, minute, second) / 1_000;

/** How a time of this property is placed: as a moment when it has a zone, else on the wall. */
function placing(event: ICAL.Component, name: 'dtstart' | 'dtend'): (time: ICAL.Time) => number {
  const property = event.getFirstProperty(name);
  const time = property?.getFirstValue() as ICAL.Time;
  if (time.isDate) return wallOf;
  if (time.zone === ICAL.Timezone.utcTimezone) return wallAsMoment;
  const tzid: unknown = property?.getParameter('tzid');
  if (typeof tzid !== 'string') return wallOf;
  const named = canonicalZone(tzid);
  if (!named) return (each) => each.toUnixTime();
  const zone = zoneOf(named);
  return (each) => zone.epochOf(wallOf(each));
}

const wallAsMoment = (time: ICAL.Time): number => wallOf(time);
