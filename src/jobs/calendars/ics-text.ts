/** iCalendar texts (RFC 5545): checked, and reduced to what says when; descriptions, guests and alarms of somebody's calendar are no business of a scheduler. */
import { canonicalZone } from '../time/zone.ts';
import { type IcsPart, type IcsProperty, partsOf, propertiesOf, propertyOf, readCalendars, textOf, writtenPart } from './ics-lines.ts';
import { createSpending, IcsProblem, type Spend } from './ics-problem.ts';
import { ruleProblem } from './ics-rules.ts';
import { type IcsTime, parseLength, parseTime, timesOf, timeTextsOf } from './ics-times.ts';
import { checkZone } from './ics-zones.ts';

/** More is not read at all: a year of a busy calendar has some hundred kilobytes. */
const MOST_READ_BYTES = 2_000_000;
const MOST_KEPT_BYTES = 500_000;
const MOST_EVENTS = 5_000;
const KEPT = ['UID', 'DTSTART', 'DTEND', 'DURATION', 'RRULE', 'RDATE', 'EXDATE', 'RECURRENCE-ID', 'SUMMARY'];
const KEPT_OF_ZONE = ['TZID', 'DTSTART', 'TZOFFSETFROM', 'TZOFFSETTO', 'RRULE', 'RDATE'];
const KEPT_PARAMETERS = ['TZID', 'VALUE'];
const OBSERVANCES = ['STANDARD', 'DAYLIGHT'];
const LONGEST_SUMMARY = 200;
/** As long as a calendar's own ranges. */
const LONGEST_EVENT_DAYS = 3_660;
const DAY_S = 86_400;
const TIMES = ['DTSTART', 'DTEND', 'RDATE', 'EXDATE', 'RECURRENCE-ID'];

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
  const calendars = readCalendars(text);
  const spend = createSpending();
  const events = reducedEvents(
    calendars.flatMap((calendar) => partsOf(calendar, 'VEVENT')),
    spend,
  );
  const ics = writtenPart({
    name: 'VCALENDAR',
    properties: [property('VERSION', '2.0'), property('PRODID', '-//Almanac//')],
    parts: [...events, ...reducedZones(calendars, events, spend)],
  });
  if (Buffer.byteLength(ics) > MOST_KEPT_BYTES)
    throw new IcsProblem(
      `says more about times than ${MOST_KEPT_BYTES} bytes hold; export fewer years, or split it into several calendars`,
    );
  return ics;
}

const property = (name: string, value: string): IcsProperty => ({ name, parameters: new Map(), value });

/** A cancelled occurrence is kept: it says when its series does not take place. */
function reducedEvents(events: readonly IcsPart[], spend: Spend): IcsPart[] {
  const kept = events.filter((event) => !isCancelled(event) || propertyOf(event, 'RECURRENCE-ID'));
  if (kept.length > MOST_EVENTS)
    throw new IcsProblem(`holds more than ${MOST_EVENTS} events; export fewer years, or split it into several calendars`);
  if (kept.every(isCancelled))
    throw new IcsProblem('holds no event (VEVENT) that is not cancelled, so no day; export a calendar with events');
  return kept.map((event) => {
    checkEvent(event);
    spend(0);
    return reducedEvent(event);
  });
}

export const isCancelled = (event: IcsPart): boolean => textOf(event, 'STATUS')?.toUpperCase() === 'CANCELLED';

function checkEvent(event: IcsPart): void {
  const summary = (textOf(event, 'SUMMARY') ?? textOf(event, 'UID') ?? '').slice(0, 60);
  const wrong = (sentence: string) => new IcsProblem(`has an event ${JSON.stringify(summary)} ${sentence}`);
  if (!propertyOf(event, 'DTSTART')) throw wrong('without DTSTART; add one or take it out');
  if (propertyOf(event, 'EXRULE')) throw wrong('with EXRULE, which RFC 5545 has withdrawn; write EXDATE');
  for (const name of TIMES)
    for (const times of propertiesOf(event, name)) {
      if (times.parameters.get('VALUE')?.toUpperCase() === 'PERIOD')
        throw wrong(`with periods in ${name}; write them as events of their own`);
      const unreal = timeTextsOf(times).find((text) => !parseTime(text));
      if (unreal !== undefined) throw wrong(`with a ${name} that does not exist, ${shownTime(unreal)}; correct it or take it out`);
    }
  if (propertyOf(event, 'RECURRENCE-ID')?.parameters.has('RANGE'))
    throw wrong('that moves all occurrences from one on (RANGE); end its series there and begin another');
  const length = textOf(event, 'DURATION');
  if (length !== undefined && parseLength(length) === null)
    throw wrong(`with a DURATION that is none, ${JSON.stringify(length.slice(0, 20))}; write e.g. PT1H`);
  const start = parseTime(timeTextsOf(propertyOf(event, 'DTSTART')!)[0]!)!;
  const days = lengthInDays(event, start);
  if (days < 0) throw wrong('that ends before it begins; correct its end');
  if (days > LONGEST_EVENT_DAYS) throw wrong(`that lasts more than ${LONGEST_EVENT_DAYS} days; shorten it or take it out`);
  for (const { value } of propertiesOf(event, 'RRULE')) {
    const problem = ruleProblem(value, start.wallS);
    if (problem) throw wrong(`with an RRULE ${problem}`);
  }
}

/** Walls of two zones are not held against each other to the hour: who flies west may land before the local time at which he left. */
function lengthInDays(event: IcsPart, start: IcsTime): number {
  const property = propertyOf(event, 'DTEND');
  const end = property && timesOf(property)[0];
  if (!end) return (parseLength(textOf(event, 'DURATION') ?? '') ?? 0) / DAY_S;
  const days = (end.wallS - start.wallS) / DAY_S;
  const isOneZone = property.parameters.get('TZID') === propertyOf(event, 'DTSTART')?.parameters.get('TZID') && end.isUtc === start.isUtc;
  return isOneZone || days < -2 ? days : Math.max(0, days);
}

const shownTime = (text: string): string => text.slice(0, 40).replace(/^(\d{4})(\d\d)(\d\d)/, '$1-$2-$3');

const reducedEvent = (event: IcsPart): IcsPart => ({
  name: event.name,
  properties: [
    ...KEPT.flatMap((name) => propertiesOf(event, name)).map(reducedProperty),
    ...(isCancelled(event) ? [property('STATUS', 'CANCELLED')] : []),
  ],
  parts: [],
});

function reducedProperty({ name, parameters, value }: IcsProperty): IcsProperty {
  const kept = new Map([...parameters].filter(([key]) => KEPT_PARAMETERS.includes(key)));
  // a cut in the middle of an escape would leave half of it
  const isLong = name === 'SUMMARY' && value.length > LONGEST_SUMMARY;
  return { name, parameters: kept, value: isLong ? value.slice(0, LONGEST_SUMMARY).replace(/\\?[\uD800-\uDBFF]?$/, '') : value };
}

/** The zones that events name and only the text describes. */
function reducedZones(calendars: readonly IcsPart[], events: readonly IcsPart[], spend: Spend): IcsPart[] {
  const described = new Map(
    calendars.flatMap((calendar) => partsOf(calendar, 'VTIMEZONE')).map((zone) => [textOf(zone, 'TZID') ?? '', zone]),
  );
  const named = new Set(events.flatMap((event) => event.properties.flatMap(({ parameters }) => parameters.get('TZID') ?? [])));
  // a zone that has a name everywhere is read by that name: what the file says of it may be old
  return [...named]
    .filter((tzid) => !canonicalZone(tzid))
    .map((tzid) => {
      const zone = described.get(tzid);
      if (!zone)
        throw new IcsProblem(
          `names the time zone ${JSON.stringify(tzid.slice(0, 60))}, which is neither an IANA name nor described in the text; export it with VTIMEZONE`,
        );
      const reduced = reducedZone(zone);
      checkZone(reduced, spend);
      return reduced;
    });
}

const reducedZone = ({ name, properties, parts }: IcsPart): IcsPart => ({
  name,
  properties: properties.filter((kept) => KEPT_OF_ZONE.includes(kept.name)).map(reducedProperty),
  parts: parts.filter((part) => OBSERVANCES.includes(part.name)).map(reducedZone),
});
