/** iCalendar texts (RFC 5545): read, checked, and reduced to what says when; descriptions, guests and alarms of somebody's calendar are no business of a scheduler. */
import { Script } from 'node:vm';
import ICAL from 'ical.js';
import { canonicalZone } from '../time/zone.ts';
import { daysOfMonth } from './local-time.ts';

/** More is not read at all: a year of a busy calendar has some hundred kilobytes. */
const MOST_READ_BYTES = 2_000_000;
const MOST_KEPT_BYTES = 500_000;
const MOST_EVENTS = 5_000;
const KEPT = ['uid', 'dtstart', 'dtend', 'duration', 'rrule', 'rdate', 'exdate', 'recurrence-id', 'summary'];
const KEPT_OF_ZONE = ['tzid', 'dtstart', 'tzoffsetfrom', 'tzoffsetto', 'rrule', 'rdate'];
const LONGEST_SUMMARY = 200;
const TIMES = ['dtstart', 'dtend', 'rdate', 'exdate', 'recurrence-id'];
const WEEKDAYS_OF_ICS = ['SU', 'MO', 'TU', 'WE', 'TH', 'FR', 'SA'];
/** The 29th of February has come by then. */
const MOST_DAILY_STEPS = 3_000;
const FREQUENCIES = ['DAILY', 'WEEKLY', 'MONTHLY', 'YEARLY'];

/** What is wrong with an iCalendar text, as a sentence with the cure. */
export class IcsProblem extends Error {
  override name = 'IcsProblem';
}

/** The parser's own loops can take very long, or have no end: whatever runs longer is stopped. */
const LONGEST_MS = 3_000;
const guarded = new Script('work()');

/** Runs work of the parser, for three seconds at most. @throws IcsProblem */
export function withinTime<T>(work: () => T): T {
  try {
    return guarded.runInNewContext({ work }, { timeout: LONGEST_MS }) as T;
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT')
      throw new IcsProblem('has an RRULE that never happens, or takes too long to read; write simpler rules, or export single events');
    if (error instanceof IcsProblem) throw error;
    throw new IcsProblem(
      `can not be worked out: ${error instanceof Error ? error.message.slice(0, 100) : 'unknown rule'}; export it again`,
    );
  }
}

/** The calendars of a text. @throws IcsProblem */
export function readCalendars(text: string): ICAL.Component[] {
  let parsed: unknown[];
  try {
    parsed = ICAL.parse(text) as unknown[];
  } catch (error) {
    const said = error instanceof Error ? error.message.slice(0, 100) : 'it can not be read';
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
export const reducedIcs = (text: string): string => withinTime(() => reduce(text));

function reduce(text: string): string {
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
  const start = event.getFirstPropertyValue('dtstart') as unknown;
  if (!(start instanceof ICAL.Time)) throw wrong('without DTSTART; add one or take it out');
  for (const name of TIMES)
    for (const property of event.getAllProperties(name)) {
      const unreal = (property.toJSON() as unknown[]).slice(3).find((text) => !isRealTime(text));
      if (unreal !== undefined && property.type !== 'period')
        throw wrong(`with a ${name.toUpperCase()} that does not exist, ${String(unreal).slice(0, 40)}; correct it or take it out`);
    }
  if (event.hasProperty('exrule')) throw wrong('with EXRULE, which RFC 5545 has withdrawn; write EXDATE');
  for (const property of event.getAllProperties('rdate'))
    if (property.type === 'period') throw wrong('with periods in RDATE; write them as events of their own');
  for (const property of event.getAllProperties('rrule')) {
    const rule: unknown = property.getFirstValue();
    const problem = rule instanceof ICAL.Recur ? ruleProblem(rule, start) : 'that can not be read';
    if (problem) throw wrong(`with an RRULE ${problem}`);
  }
}

function ruleProblem(rule: ICAL.Recur, start: ICAL.Time): string | null {
  if (!FREQUENCIES.includes(rule.freq))
    return `that repeats ${String(rule.freq).slice(0, 20)}; write one that repeats daily or less often, with a longer event`;
  const {
    BYMONTH: months,
    BYMONTHDAY: days,
    BYDAY: weekdays,
  } = rule.parts as { BYMONTH?: number[]; BYMONTHDAY?: number[]; BYDAY?: string[] };
  const exists = (month: number) => days?.some((day) => Math.abs(day) <= daysOfMonth(month));
  if (months && days && !months.some(exists))
    return `of a day that does not exist (month ${months.join()}, day ${days.join()}); correct it`;
  if (rule.parts.BYWEEKNO && rule.freq !== 'YEARLY') return 'with BYWEEKNO that is not YEARLY; write BYDAY or single events';
  // the parser would look for a day like this for ever (https://github.com/kewisch/ical.js/issues/1038)
  if (rule.freq !== 'DAILY' || !(months || days || weekdays)) return null;
  for (let step = 0; step < MOST_DAILY_STEPS; step += 1) {
    const date = new Date(Date.UTC(start.year, start.month - 1, start.day + step * rule.interval));
    const month = date.getUTCMonth() + 1;
    const day = date.getUTCDate();
    const length = daysOfMonth(month, date.getUTCFullYear());
    if (months && !months.includes(month)) continue;
    if (days && !days.includes(day) && !days.includes(day - length - 1)) continue;
    if (!weekdays || weekdays.includes(WEEKDAYS_OF_ICS[date.getUTCDay()]!)) return null;
  }
  return 'that never happens; correct its BY parts, or take it out';
}

/** The parser takes any digits: the 31st of February would be the 3rd of March. @param text as the parser writes it, `2026-02-28` or with `T10:00:00Z`. */
function isRealTime(text: unknown): boolean {
  const [, year, month, day, hour = '0', minute = '0', second = '0'] =
    /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)Z?)?$/.exec(String(text)) ?? [];
  if (year === undefined || Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(year) < 1_600) return false;
  return Number(day) <= daysOfMonth(Number(month), Number(year)) && Number(hour) <= 23 && Number(minute) <= 59 && Number(second) <= 60;
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
