import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { icsSpans } from '../../../src/jobs/calendars/ics-events.ts';
import { reducedIcs } from '../../../src/jobs/calendars/ics-text.ts';

const calendar = (...parts: string[]) => ['BEGIN:VCALENDAR', 'VERSION:2.0', ...parts, 'END:VCALENDAR', ''].join('\r\n');
const event = (...lines: string[]) => ['BEGIN:VEVENT', 'UID:1', ...lines, 'END:VEVENT'].join('\r\n');
const zone = (tzid: string, ...lines: string[]) =>
  ['BEGIN:VTIMEZONE', `TZID:${tzid}`, 'BEGIN:STANDARD', ...lines, 'END:STANDARD', 'END:VTIMEZONE'].join('\r\n');
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

  test('keep the hour of a zone that Outlook describes from the year 1601, under a name with signs in it', () => {
    const clocks = [
      'BEGIN:VTIMEZONE',
      'TZID:(UTC-05:00) Eastern Time; US & Canada',
      'BEGIN:STANDARD',
      'DTSTART:16010101T020000',
      'TZOFFSETFROM:-0400',
      'TZOFFSETTO:-0500',
      'RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=1SU;BYMONTH=11',
      'END:STANDARD',
      'BEGIN:DAYLIGHT',
      'DTSTART:16010101T020000',
      'TZOFFSETFROM:-0500',
      'TZOFFSETTO:-0400',
      'RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=2SU;BYMONTH=3',
      'END:DAYLIGHT',
      'END:VTIMEZONE',
    ].join('\r\n');
    const daily = event(
      'DTSTART;TZID="(UTC-05:00) Eastern Time; US & Canada":20260301T090000',
      'DURATION:PT1H',
      'RRULE:FREQ=WEEKLY;BYDAY=SU;UNTIL=20260315T130000Z',
    );
    assert.deepEqual(read(calendar(clocks, daily), '2026-03-01', '2026-05-01').at, [
      '2026-03-01T14:00/2026-03-01T15:00',
      '2026-03-08T13:00/2026-03-08T14:00',
      '2026-03-15T13:00/2026-03-15T14:00',
    ]);
    const ship = zone('Ship', 'DTSTART:20260106T120000', 'TZOFFSETFROM:+0300', 'TZOFFSETTO:+0330');
    assert.deepEqual(read(calendar(ship, event('DTSTART;TZID=Ship:20260106T090000', 'DURATION:PT1H', 'RRULE:FREQ=DAILY;COUNT=2'))).at, [
      '2026-01-06T06:00/2026-01-06T07:00',
      '2026-01-07T05:30/2026-01-07T06:30',
    ]);
  });

  test('end with their UNTIL, also when it is said in UTC of a time in a zone', () => {
    const until = (text: string) =>
      read(calendar(event('DTSTART;TZID=Asia/Tokyo:20260105T060000', 'DURATION:PT1H', `RRULE:FREQ=DAILY;UNTIL=${text}`))).at.length;
    assert.deepEqual([until('20260106T210000Z'), until('20260106T205959Z'), until('20260106T060000')], [3, 2, 2]);
  });

  test('are left out in whatever order, zone or way it is said', () => {
    const series = ['DTSTART;TZID=Europe/Berlin:20260105T180000', 'DURATION:PT1H', 'RRULE:FREQ=DAILY;COUNT=6'];
    const exceptions = [
      'EXDATE;TZID=Europe/Berlin:20260301T180000,20260108T180000,20260101T180000',
      'EXDATE:20260106T170000Z',
      'EXDATE;VALUE=DATE:20260109',
    ];
    const cancelled = event('RECURRENCE-ID;TZID=Europe/Berlin:20260110T180000', 'DTSTART:20260110T170000Z', 'STATUS:CANCELLED');
    assert.deepEqual(read(calendar(event(...series, ...exceptions), cancelled)).at, [
      '2026-01-05T17:00/2026-01-05T18:00',
      '2026-01-07T17:00/2026-01-07T18:00',
    ]);
  });

  test('that began long ago cost no more than others', () => {
    const text = calendar(...Array.from({ length: 200 }, () => event('DTSTART:19000106T090000Z', 'DURATION:PT1H', 'RRULE:FREQ=DAILY')));
    assert.equal(read(text).at.length, 200 * 33);
  });

  test('may be folded in the middle of anything', () => {
    const lines = event('DTSTART;VALUE=DATE:20260106', `SUMMARY:${'Zürich 🎉 '.repeat(100)}`, 'RRULE:FREQ=DAILY;COUNT=1');
    const folded = lines.replace(/\w(?=\w)/g, '$&\r\n ').replaceAll('\r\n M', '\n\tM');
    assert.notEqual(folded, lines);
    assert.deepEqual(read(`\uFEFF${calendar(folded)}`), read(calendar(lines)));
    assert.ok(
      reducedIcs(calendar(lines))
        .split('\r\n')
        .every((line) => Buffer.byteLength(line) <= 75),
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
