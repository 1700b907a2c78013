import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { icsSpans } from '../../../src/jobs/calendars/ics-events.ts';
import { IcsProblem } from '../../../src/jobs/calendars/ics-problem.ts';
import { reducedIcs } from '../../../src/jobs/calendars/ics-text.ts';

const calendar = (...parts: string[]) => ['BEGIN:VCALENDAR', 'VERSION:2.0', ...parts, 'END:VCALENDAR', ''].join('\r\n');
const event = (...lines: string[]) => ['BEGIN:VEVENT', 'UID:1', ...lines, 'END:VEVENT'].join('\r\n');
const zone = (tzid: string, ...lines: string[]) =>
  ['BEGIN:VTIMEZONE', `TZID:${tzid}`, 'BEGIN:STANDARD', ...lines, 'END:STANDARD', 'END:VTIMEZONE'].join('\r\n');

const problemOf = (text: string): string => {
  try {
    const reduced = reducedIcs(text);
    icsSpans(reduced, Date.parse('2026-01-01') / 1_000, Date.parse('2027-01-01') / 1_000);
  } catch (error) {
    assert.ok(error instanceof IcsProblem, String(error));
    return error.message;
  }
  return assert.fail('was taken');
};

describe('a text is refused with the cure', () => {
  const start = 'DTSTART:20260106T000000Z';
  const inOffice = 'DTSTART;TZID=Office:20260106T000000';
  const numbers = (count: number) => Array.from({ length: count }, (_, index) => index).join();
  for (const [what, text, said] of [
    ['that is none', 'hello', /does not begin with BEGIN:VCALENDAR/],
    ['that breaks off', 'BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n', /did not end/],
    ['of 5 MB', 'x'.repeat(5_000_000), /more than 2000000; export fewer years/],
    ['without an event', calendar(), /holds no event/],
    ['with an event on the 31st of February', calendar(event('DTSTART;VALUE=DATE:20260231')), /DTSTART that does not exist, 2026-02-31/],
    ['with an event without a beginning', calendar(event('SUMMARY:x')), /without DTSTART/],
    ['with an event that ends before it begins', calendar(event(start, 'DTEND:20260105T000000Z')), /ends before it begins/],
    ['with an event of a negative length', calendar(event(start, 'DURATION:-P1D')), /ends before it begins/],
    ['with an event of a hundred years', calendar(event(start, 'DURATION:P36500D')), /lasts more than 3660 days/],
    ['with a zone that nobody knows', calendar(event('DTSTART;TZID=Nowhere:20260106T000000')), /"Nowhere".*VTIMEZONE/],
    ['with a rule of every second', calendar(event(start, 'RRULE:FREQ=SECONDLY')), /repeats SECONDLY; write one that repeats daily/],
    ['with a rule of 30 February', calendar(event(start, 'RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30')), /a day that does not exist/],
    ['with a rule that never happens', calendar(event(start, 'RRULE:FREQ=DAILY;INTERVAL=7;BYDAY=MO')), /RRULE that never happens; correct/],
    ['with a rule that is none', calendar(event(start, 'RRULE:FREQ=FOO')), /invalid frequency/],
    ['with a rule of the 13th month', calendar(event(start, 'RRULE:FREQ=DAILY;BYMONTH=1,13')), /BYMONTH="1,13"; write 1 to 12/],
    ['with a rule with an unknown part', calendar(event(start, 'RRULE:FREQ=DAILY;SKIP=FORWARD')), /part "SKIP", which is not known/],
    ['with a rule with two ends', calendar(event(start, 'RRULE:FREQ=DAILY;COUNT=1;UNTIL=20270101')), /both COUNT and UNTIL/],
    ['with a rule until a day that is none', calendar(event(start, 'RRULE:FREQ=DAILY;UNTIL=20260231')), /UNTIL that does not exist/],
    ['with a rule of weekdays that are none', calendar(event(start, 'RRULE:FREQ=WEEKLY;BYDAY=1MO')), /BYDAY with numeric value MUST NOT/],
    ['with an endless rule', calendar(event(start, `RRULE:FREQ=DAILY;BYHOUR=${'1,'.repeat(5_000)}1`)), /characters, more than 3000/],
    ['with periods', calendar(event(start, 'RDATE;VALUE=PERIOD:20260101T000000Z/PT1H')), /periods in RDATE/],
    ['with a length that is none', calendar(event(start, 'DURATION:1 hour')), /DURATION that is none, "1 hour"; write e\.g\. PT1H/],
    [
      'that moves the rest of a series',
      calendar(event(start, 'RECURRENCE-ID;RANGE=THISANDFUTURE:20260106T000000Z')),
      /RANGE.*begin another/,
    ],
    [
      'with a zone without offsets',
      calendar(zone('Office', 'DTSTART:20260101T000000'), event(inOffice)),
      /"Office" without a TZOFFSETFROM/,
    ],
    [
      'with a zone without clocks',
      calendar('BEGIN:VTIMEZONE\r\nTZID:Office\r\nEND:VTIMEZONE', event(inOffice)),
      /without STANDARD or DAYLIGHT/,
    ],
    ['whose lines are none', calendar('hello'), /the line "hello" has no name or no value/],
    ['whose parts do not match', calendar('BEGIN:VEVENT', 'END:VTODO'), /"END:VTODO" is in the wrong place/],
    ['of folds only', `BEGIN:VCALENDAR${'\r\n '.repeat(600_000)}`, /no name or no value|did not end|holds no/],
    ['of parts within parts', 'BEGIN:VCALENDAR\r\n'.repeat(100_000), /did not end/],
    ['with too many events', calendar(...Array.from({ length: 5_001 }, () => event(start))), /more than 5000 events/],
    [
      'that repeats too often',
      calendar(event('DTSTART:20260106T000000Z', `RRULE:FREQ=DAILY;BYHOUR=${numbers(24)};BYMINUTE=${numbers(60)}`)),
      /repeats more than 30000 times/,
    ],
  ] as const)
    test(`when it is one ${what}`, () => {
      const begun = performance.now();
      assert.match(problemOf(text), said);
      assert.ok(performance.now() - begun < 3_500, 'and it does not take long');
    });

  test('when a rule would be looked for without end, or rules take too long together: work is bounded', () => {
    // 20,871 weeks are four hundred years: the same day of January for ever
    const never = event(start, 'RRULE:FREQ=WEEKLY;INTERVAL=20871;BYMONTH=3');
    assert.match(problemOf(calendar(never)), /RRULE that never happens/);
    assert.match(problemOf(calendar(event(start, 'RRULE:FREQ=YEARLY;BYMONTH=5;BYMONTHDAY=3;BYSETPOS=3'))), /RRULE that never happens/);
    const begun = performance.now();
    const slow = event('DTSTART:19700106T000000Z', 'DURATION:PT1H', 'RRULE:FREQ=DAILY;COUNT=30000');
    assert.match(problemOf(calendar(...Array.from({ length: 3_000 }, () => slow))), /takes too long|repeats more than/);
    assert.ok(performance.now() - begun < 30_000);
  });
});
