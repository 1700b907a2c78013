import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { icsSpans } from '../../../src/jobs/calendars/ics-events.ts';
import { IcsProblem, reducedIcs } from '../../../src/jobs/calendars/ics-text.ts';

const calendar = (...parts: string[]) => ['BEGIN:VCALENDAR', 'VERSION:2.0', ...parts, 'END:VCALENDAR', ''].join('\r\n');
const event = (...lines: string[]) => ['BEGIN:VEVENT', 'UID:1', ...lines, 'END:VEVENT'].join('\r\n');
const short = (epochS: number) => new Date(epochS * 1_000).toISOString().slice(0, 16);

/** Begin and end of what lies in January 2026: wall times as `days`, moments as `at`. */
function read(text: string, from = '2026-01-01', to = '2026-02-01') {
  const reduced = reducedIcs(text);
  assert.equal(reducedIcs(reduced), reduced, 'reducing what is reduced changes nothing');
  const { walls, moments } = icsSpans(reduced, Date.parse(from) / 1_000, Date.parse(to) / 1_000);
  return {
    days: walls.map(({ fromW, toW }) => `${short(fromW)}/${short(toW)}`),
    at: moments.map(({ fromS, toS }) => `${short(fromS)}/${short(toS)}`),
  };
}

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

describe('events', () => {
  test('of whole days belong to the wall, those with a zone are moments', () => {
    assert.deepEqual(read(calendar(event('DTSTART;VALUE=DATE:20260106'))), { days: ['2026-01-06T00:00/2026-01-07T00:00'], at: [] });
    assert.deepEqual(read(calendar(event('DTSTART;VALUE=DATE:20260106', 'DTEND;VALUE=DATE:20260109'))).days, [
      '2026-01-06T00:00/2026-01-09T00:00',
    ]);
    assert.deepEqual(read(calendar(event('DTSTART:20260106T090000', 'DURATION:PT90M'))).days, ['2026-01-06T09:00/2026-01-06T10:30']);
    assert.deepEqual(read(calendar(event('DTSTART:20260106T090000Z', 'DTEND:20260106T100000Z'))).at, ['2026-01-06T09:00/2026-01-06T10:00']);
    assert.deepEqual(read(calendar(event('DTSTART;TZID=America/New_York:20260106T090000', 'DURATION:PT1H'))).at, [
      '2026-01-06T14:00/2026-01-06T15:00',
    ]);
  });

  test('are repeated, left out and moved', () => {
    const weekly = event(
      'DTSTART;TZID=Europe/Berlin:20251201T180000',
      'DURATION:PT1H',
      'RRULE:FREQ=WEEKLY;BYDAY=MO',
      'EXDATE;TZID=Europe/Berlin:20260112T180000',
    );
    assert.deepEqual(read(calendar(weekly)).at, [
      '2026-01-05T17:00/2026-01-05T18:00',
      '2026-01-19T17:00/2026-01-19T18:00',
      '2026-01-26T17:00/2026-01-26T18:00',
    ]);
    const daily = event('DTSTART:20260105T180000Z', 'DURATION:PT1H', 'RRULE:FREQ=DAILY;COUNT=3');
    const moved = event('RECURRENCE-ID:20260106T180000Z', 'DTSTART:20260110T180000Z', 'DURATION:PT1H');
    assert.deepEqual(read(calendar(daily, moved)).at.sort(), [
      '2026-01-05T18:00/2026-01-05T19:00',
      '2026-01-07T18:00/2026-01-07T19:00',
      '2026-01-10T18:00/2026-01-10T19:00',
    ]);
    const yearly = event('DTSTART;VALUE=DATE:19700106', 'RRULE:FREQ=YEARLY');
    assert.deepEqual(read(calendar(yearly)).days, ['2026-01-06T00:00/2026-01-07T00:00']);
    assert.deepEqual(read(calendar(event('DTSTART;VALUE=DATE:20260106', 'RDATE;VALUE=DATE:20260108'))).days, [
      '2026-01-06T00:00/2026-01-07T00:00',
      '2026-01-08T00:00/2026-01-09T00:00',
    ]);
  });

  test('of the 29th of February or the 31st are on no other day, whatever the parser makes of it', () => {
    const days = (...lines: string[]) => read(calendar(event(...lines)), '2026-01-01', '2028-12-31').days.map((day) => day.slice(0, 10));
    assert.deepEqual(days('DTSTART;VALUE=DATE:20240229', 'RRULE:FREQ=YEARLY'), ['2028-02-29']);
    assert.deepEqual(days('DTSTART;VALUE=DATE:20240229', 'RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29'), ['2028-02-29']);
    assert.deepEqual(days('DTSTART;VALUE=DATE:20260131', 'RRULE:FREQ=MONTHLY;UNTIL=20260531'), ['2026-01-31', '2026-03-31', '2026-05-31']);
    assert.deepEqual(days('DTSTART;VALUE=DATE:20260228', 'RRULE:FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=3'), [
      '2026-02-28',
      '2026-03-31',
      '2026-04-30',
    ]);
  });

  test('keep their hour when the clocks of their zone change, also of a zone that only the text describes', () => {
    const described = [
      'BEGIN:VTIMEZONE',
      'TZID:Our Office',
      ...[
        'BEGIN:STANDARD',
        'DTSTART:19701025T030000',
        'TZOFFSETFROM:+0200',
        'TZOFFSETTO:+0100',
        'RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10',
        'END:STANDARD',
      ],
      ...[
        'BEGIN:DAYLIGHT',
        'DTSTART:19700329T020000',
        'TZOFFSETFROM:+0100',
        'TZOFFSETTO:+0200',
        'RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3',
        'END:DAYLIGHT',
      ],
      'END:VTIMEZONE',
    ].join('\r\n');
    for (const zone of ['Our Office', 'Europe/Berlin'])
      assert.deepEqual(
        read(
          calendar(described, event(`DTSTART;TZID=${zone}:20260105T100000`, 'DURATION:PT1H', 'RRULE:FREQ=MONTHLY')),
          '2026-03-01',
          '2026-05-01',
        ).at,
        ['2026-03-05T09:00/2026-03-05T10:00', '2026-04-05T08:00/2026-04-05T09:00'],
      );
  });

  test('that are cancelled are none, and of the others only what says when is kept', () => {
    const text = calendar(
      event('DTSTART;VALUE=DATE:20260106', 'STATUS:CANCELLED'),
      event(
        'DTSTART;VALUE=DATE:20260107',
        'SUMMARY:Closed',
        'DESCRIPTION:secret',
        'ATTENDEE:mailto:a@example.com',
        'BEGIN:VALARM',
        'TRIGGER:-PT1H',
        'END:VALARM',
      ),
    );
    assert.deepEqual(read(text).days, ['2026-01-07T00:00/2026-01-08T00:00']);
    assert.doesNotMatch(reducedIcs(text), /secret|example|ALARM/);
  });
});

describe('a text is refused with the cure', () => {
  const start = 'DTSTART:20260106T000000Z';
  for (const [what, text, said] of [
    ['that is none', 'hello', /does not begin with BEGIN:VCALENDAR/],
    ['that breaks off', 'BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n', /did not end/],
    ['of 5 MB', 'x'.repeat(5_000_000), /more than 2000000; export fewer years/],
    ['without an event', calendar(), /holds no event/],
    ['with an event on the 31st of February', calendar(event('DTSTART;VALUE=DATE:20260231')), /DTSTART that does not exist, 2026-02-31/],
    ['with an event without a beginning', calendar(event('SUMMARY:x')), /without DTSTART/],
    ['with a zone that nobody knows', calendar(event('DTSTART;TZID=Nowhere:20260106T000000')), /"Nowhere".*VTIMEZONE/],
    ['with a rule of every second', calendar(event(start, 'RRULE:FREQ=SECONDLY')), /repeats SECONDLY; write one that repeats daily/],
    ['with a rule of 30 February', calendar(event(start, 'RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30')), /a day that does not exist/],
    ['with a rule that never happens', calendar(event(start, 'RRULE:FREQ=DAILY;INTERVAL=7;BYDAY=MO')), /RRULE that never happens; correct/],
    ['with a rule that is none', calendar(event(start, 'RRULE:FREQ=FOO')), /invalid frequency/],
    ['with periods', calendar(event(start, 'RDATE;VALUE=PERIOD:20260101T000000Z/PT1H')), /periods in RDATE/],
    ['with too many events', calendar(...Array.from({ length: 5_001 }, () => event(start))), /more than 5000 events/],
    [
      'that repeats too often',
      calendar(...Array.from({ length: 2 }, () => event('DTSTART:19700106T000000Z', 'DURATION:PT1H', 'RRULE:FREQ=DAILY'))),
      /repeats more than 30000 times|takes too long/,
    ],
  ] as const)
    test(`when it is one ${what}`, () => {
      const begun = performance.now();
      assert.match(problemOf(text), said);
      assert.ok(performance.now() - begun < 3_500, 'and it does not take long');
    });

  test('when the parser would not come to an end: it is stopped', () => {
    const begun = performance.now();
    // 20,871 weeks are four hundred years: the same day of January for ever
    assert.match(
      problemOf(calendar(event('DTSTART:20260106T000000Z', 'RRULE:FREQ=WEEKLY;INTERVAL=20871;BYMONTH=3'))),
      /takes too long to read/,
    );
    assert.ok(performance.now() - begun < 10_000);
  });
});
