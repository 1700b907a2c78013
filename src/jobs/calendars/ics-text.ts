/** iCalendar texts (RFC 5545): read, checked, and reduced to what says when; descriptions, guests and alarms of somebody's calendar are no business of a scheduler. */
import ICAL from 'ical.js';
import { canonicalZone } from '../time/zone.ts';

/** More is not read at all: a year of a busy calendar has some hundred kilobytes. */
const MOST_READ_BYTES = 2_000_000;
const MOST_KEPT_BYTES = 500_000;
const MOST_EVENTS = 5_000;
const KEPT = ['uid', 'dtstart', 'dtend', 'duration', 'rrule', 'rdate', 'exdate', 'recurrence-id', 'summary'];
const KEPT_OF_ZONE = ['tzid', 'dtstart', 'tzoffsetfrom', 'tzoffsetto', 'rrule', 'rdate'];
const LONGEST_SUMMARY = 200;
const FREQUENCIES = ['DAILY', 'WEEKLY', 'MONTHLY', 'YEARLY'];

/** What is wrong with an iCalendar text, as a sentence with the cure. */
export class IcsProblem extends Error {
  override name = 'IcsProblem';
}

/** The calendars of a text. @throws IcsProblem */
export function readCalendars(text: string): ICAL.Component[] {
  let parsed: unknown[];
  try {
    parsed = ICAL.parse(text) as unknown[];
  } catch (error) {
    const said = error instanceof Error ? error.message.slice(0, 200) : 'it can not be read';
    throw new IcsProblem(`is not an iCalendar text: ${said}; export it again, it begins with BEGIN:VCALENDAR`);
  }
  const calendars = (Array.isArray(parsed[0]) ? parsed : [parsed]).filter((each) => (each as unknown[])[0] === 'vcalendar');
  if (calendars.length === 0) throw new IcsProblem('holds no VCALENDAR; export it again, it begins with BEGIN:VCALENDAR');
  return calendars.map((each) => new ICAL.Component(each as ConstructorParameters<typeof ICAL.Component>[0]));
}

/**
 * Reads a text and writes one calendar of all its events that are not cancelled. Reducing what is reduced changes nothing.
 * @throws IcsProblem saying what is wrong, or what is not understood.
 */
export function reducedIcs(text: string): string {
  const bytes = Buffer.byteLength(text);
  if (bytes > MOST_READ_BYTES)
    throw new IcsProblem(`has ${bytes} bytes, more than ${MOST_READ_BYTES}; export fewer years, or split it into several calendars`);
  if (!/^\s*BEGIN:VCALENDAR/i.test(text.replace(/^\uFEFF/, '')))
    throw new IcsProblem('is not an iCalendar text: it does not begin with BEGIN:VCALENDAR; export it again');
  const reduced = new ICAL.Component('vcalendar');
  reduced.addPropertyWithValue('version', '2.0');
  reduced.addPropertyWithValue('prodid', '-//Almanac//');
  const zones = new Map<string, ICAL.Component>();
  let count = 0;
  for (const calendar of readCalendars(text.replace(/^\uFEFF/, ''))) {
    for (const zone of calendar.getAllSubcomponents('vtimezone')) zones.set(String(zone.getFirstPropertyValue('tzid')), zone);
    for (const event of calendar.getAllSubcomponents('vevent')) {
      if (String(event.getFirstPropertyValue('status')).toUpperCase() === 'CANCELLED') continue;
      count += 1;
      if (count > MOST_EVENTS)
        throw new IcsProblem(`holds more than ${MOST_EVENTS} events; export fewer years, or split it into several calendars`);
      checkEvent(event);
      reduced.addSubcomponent(reducedEvent(event));
    }
  }
  if (count === 0) throw new IcsProblem('holds no event (VEVENT) that is not cancelled, so no day; export a calendar with events');
  for (const tzid of zonesOf(reduced)) {
    // a zone that has a name everywhere is read by that name: what the file says of it may be old
    if (canonicalZone(tzid)) continue;
    const zone = zones.get(tzid);
    if (!zone)
      throw new IcsProblem(
        `names the time zone ${JSON.stringify(tzid.slice(0, 60))}, which is neither an IANA name nor described in the text; export it with VTIMEZONE`,
      );
    reduced.addSubcomponent(reducedZone(zone));
  }
  const ics = reduced.toString();
  if (Buffer.byteLength(ics) > MOST_KEPT_BYTES)
    throw new IcsProblem(
      `says more about times than ${MOST_KEPT_BYTES} bytes hold; export fewer years, or split it into several calendars`,
    );
  return ics;
}

function checkEvent(event: ICAL.Component): void {
  const summary = String(event.getFirstPropertyValue('summary') ?? event.getFirstPropertyValue('uid') ?? '').slice(0, 60);
  const wrong = (sentence: string) => new IcsProblem(`has an event ${JSON.stringify(summary)} ${sentence}`);
  const start: unknown = event.getFirstPropertyValue('dtstart');
  if (!(start instanceof ICAL.Time) || !isRealTime(start)) throw wrong('without a DTSTART that exists; correct it or take it out');
  const end: unknown = event.getFirstPropertyValue('dtend');
  if (end !== null && (!(end instanceof ICAL.Time) || !isRealTime(end)))
    throw wrong('with a DTEND that does not exist; correct it or take it out');
  if (event.hasProperty('exrule')) throw wrong('with EXRULE, which RFC 5545 has withdrawn; write EXDATE');
  for (const property of event.getAllProperties('rdate'))
    if (property.type === 'period') throw wrong('with periods in RDATE; write them as events of their own');
  for (const property of event.getAllProperties('rrule')) {
    const rule: unknown = property.getFirstValue();
    const problem = rule instanceof ICAL.Recur ? ruleProblem(rule) : 'that can not be read';
    if (problem) throw wrong(`with an RRULE ${problem}`);
  }
}

function ruleProblem(rule: ICAL.Recur): string | null {
  if (!FREQUENCIES.includes(rule.freq))
    return `that repeats ${String(rule.freq).slice(0, 20)}; write one that repeats daily or less often, with a longer event`;
  const months = rule.parts.BYMONTH as number[] | undefined;
  const days = rule.parts.BYMONTHDAY as number[] | undefined;
  const exists = (month: number) => days?.some((day) => Math.abs(day) <= new Date(Date.UTC(2000, month, 0)).getUTCDate());
  return months && days && !months.some(exists)
    ? `of a day that does not exist (month ${months.join()}, day ${days.join()}); correct it`
    : null;
}

/** The parser takes any digits: the 31st of February would be the 3rd of March. */
function isRealTime({ year, month, day, hour, minute, second }: ICAL.Time): boolean {
  return (
    year >= 1_600 &&
    year <= 9_999 &&
    month >= 1 &&
    month <= 12 &&
    day >= 1 &&
    day <= ICAL.Time.daysInMonth(month, year) &&
    hour <= 23 &&
    minute <= 59 &&
    second <= 60
  );
}

function reducedEvent(event: ICAL.Component): ICAL.Component {
  const reduced = new ICAL.Component('vevent');
  for (const name of KEPT) {
    for (const property of event.getAllProperties(name)) {
      const copy = new ICAL.Property(structuredClone(property.toJSON()) as ConstructorParameters<typeof ICAL.Property>[0]);
      if (name === 'summary') copy.setValue(String(property.getFirstValue()).slice(0, LONGEST_SUMMARY));
      reduced.addProperty(copy);
    }
  }
  return reduced;
}

function reducedZone(zone: ICAL.Component): ICAL.Component {
  const reduced = new ICAL.Component('vtimezone');
  const copy = (from: ICAL.Component, to: ICAL.Component) => {
    for (const property of from.getAllProperties())
      if (KEPT_OF_ZONE.includes(property.name))
        to.addProperty(new ICAL.Property(structuredClone(property.toJSON()) as ConstructorParameters<typeof ICAL.Property>[0]));
  };
  copy(zone, reduced);
  for (const part of zone.getAllSubcomponents()) {
    const inner = new ICAL.Component(part.name);
    copy(part, inner);
    reduced.addSubcomponent(inner);
  }
  return reduced;
}

function zonesOf(calendar: ICAL.Component): Set<string> {
  const named = new Set<string>();
  for (const event of calendar.getAllSubcomponents('vevent'))
    for (const property of event.getAllProperties()) {
      const tzid: unknown = property.getParameter('tzid');
      if (typeof tzid === 'string') named.add(tzid);
    }
  return named;
}
