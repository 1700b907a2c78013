import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CalendarDocument } from '../../../src/jobs/calendars/calendar-document.ts';
import { calendarSpans } from '../../../src/jobs/calendars/days.ts';
import { merged, spanAtOrAfter, without } from '../../../src/jobs/calendars/spans.ts';

const seconds = (text: string) => Date.parse(text) / 1_000;

/** Each stretch as its beginning in UTC and its length in hours. */
async function spansOf(document: Omit<CalendarDocument, 'name'>, zone: string, from: string, to: string): Promise<[string, number][]> {
  const spans = await calendarSpans({ name: 'x', ...document }, zone, seconds(from), seconds(to));
  return spans.map(({ fromS, toS }) => [new Date(fromS * 1_000).toISOString().replace(':00.000Z', 'Z'), (toS - fromS) / 3_600]);
}

describe('a day', () => {
  test('is as long as it is in its zone: 24, 23 or 25 hours', async () => {
    const dates = ['2026-03-28', '2026-03-29', '2026-10-25'];
    assert.deepEqual(await spansOf({ dates: [dates[0]!] }, 'Europe/Berlin', '2026-01-01', '2027-01-01'), [['2026-03-27T23:00Z', 24]]);
    assert.deepEqual(await spansOf({ dates: [dates[1]!] }, 'Europe/Berlin', '2026-01-01', '2027-01-01'), [['2026-03-28T23:00Z', 23]]);
    assert.deepEqual(await spansOf({ dates: [dates[2]!] }, 'Europe/Berlin', '2026-01-01', '2027-01-01'), [['2026-10-24T22:00Z', 25]]);
  });

  test('begins when the clocks have jumped where there is no midnight, and is none where it was left out', async () => {
    assert.deepEqual(await spansOf({ dates: ['2026-09-06'] }, 'America/Santiago', '2026-01-01', '2027-01-01'), [['2026-09-06T04:00Z', 23]]);
    assert.deepEqual(await spansOf({ dates: ['2011-12-30'] }, 'Pacific/Apia', '2011-12-01', '2012-01-05'), []);
    // Lord Howe changes by half an hour
    assert.deepEqual(await spansOf({ dates: ['2026-10-04'] }, 'Australia/Lord_Howe', '2026-09-01', '2026-11-01'), [
      ['2026-10-03T13:30Z', 23.5],
    ]);
  });

  test('of every year comes every year, the 29th of February when there is one', async () => {
    assert.deepEqual(await spansOf({ dates: ['12-24'] }, 'UTC', '2026-12-01', '2028-01-01'), [
      ['2026-12-24T00:00Z', 24],
      ['2027-12-24T00:00Z', 24],
    ]);
    assert.deepEqual(await spansOf({ dates: ['02-29'] }, 'UTC', '2026-01-01', '2029-01-01'), [['2028-02-29T00:00Z', 24]]);
  });

  test('is joined to its neighbours, and cut where the look ends', async () => {
    assert.deepEqual(await spansOf({ dates: ['2026-05-02', '2026-05-01', '2026-05-01'] }, 'UTC', '2026-01-01', '2027-01-01'), [
      ['2026-05-01T00:00Z', 48],
    ]);
    assert.deepEqual(await spansOf({ dates: ['2026-05-02'] }, 'UTC', '2026-05-02T06:00:00Z', '2026-05-02T09:00:00Z'), [
      ['2026-05-02T06:00Z', 3],
    ]);
  });
});

describe('ranges', () => {
  test('of days hold their last day, of times end before it', async () => {
    assert.deepEqual(await spansOf({ ranges: [{ from: '2026-12-24', to: '2026-12-26' }] }, 'UTC', '2026-12-01', '2027-01-01'), [
      ['2026-12-24T00:00Z', 72],
    ]);
    assert.deepEqual(await spansOf({ ranges: [{ from: '2026-12-24T18:00', to: '2026-12-25T06:30' }] }, 'UTC', '2026-12-01', '2027-01-01'), [
      ['2026-12-24T18:00Z', 12.5],
    ]);
  });

  test('hold a time that comes twice both times, and nothing of one that does not exist', async () => {
    const half = { from: '2026-10-25T02:30', to: '2026-10-25T03:00' };
    assert.deepEqual(await spansOf({ ranges: [half] }, 'Europe/Berlin', '2026-10-01', '2026-11-01'), [
      ['2026-10-25T00:30Z', 0.5],
      ['2026-10-25T01:30Z', 0.5],
    ]);
    assert.deepEqual(
      await spansOf({ ranges: [{ from: '2026-03-29T02:10', to: '2026-03-29T02:50' }] }, 'Europe/Berlin', '2026-03-01', '2026-04-01'),
      [],
    );
  });
});

describe('weekly rules', () => {
  test('are whole days or hours of them, past midnight too', async () => {
    assert.deepEqual(await spansOf({ weekly: [{ days: ['sat', 'sun'] }] }, 'Europe/Berlin', '2026-03-23', '2026-04-01'), [
      ['2026-03-27T23:00Z', 47],
    ]);
    assert.deepEqual(await spansOf({ weekly: [{ days: ['fri'], from: '22:00', to: '06:00' }] }, 'UTC', '2026-03-23', '2026-04-01'), [
      ['2026-03-27T22:00Z', 8],
    ]);
    assert.deepEqual(
      await spansOf({ weekly: [{ days: ['mon', 'tue'], from: '09:00', to: '17:30' }] }, 'Asia/Kathmandu', '2026-03-22', '2026-03-25'),
      [
        ['2026-03-23T03:15Z', 8.5],
        ['2026-03-24T03:15Z', 8.5],
      ],
    );
  });

  test('that began before the look are seen in it', async () => {
    assert.deepEqual(
      await spansOf({ weekly: [{ days: ['fri'], from: '22:00', to: '06:00' }] }, 'UTC', '2026-03-28T00:00:00Z', '2026-03-29'),
      [['2026-03-28T00:00Z', 6]],
    );
  });
});

describe('holidays', () => {
  const of = async (
    country: string,
    region?: string,
    types?: CalendarDocument['holidays'] extends (infer Set)[] | undefined ? (Set extends { types?: infer T } ? T : never) : never,
  ) => {
    const set = { country, ...(region ? { region } : {}), ...(types ? { types } : {}) };
    return (await calendarSpans({ name: 'x', holidays: [set] }, 'UTC', seconds('2026-01-01'), seconds('2027-01-01'))).map(({ fromS }) =>
      new Date(fromS * 1_000).toISOString().slice(5, 10),
    );
  };

  test('are those of a country, of a region, and of the types that are asked for', async () => {
    assert.ok((await of('DE')).includes('10-03'));
    assert.ok(!(await of('DE')).includes('01-06'));
    assert.ok((await of('DE', 'BY')).includes('01-06'));
    assert.ok((await of('de', 'by-a')).includes('08-08'), 'Augsburg has one of its own');
    assert.ok((await of('US')).includes('07-03'), 'the 4th of July 2026 is a Saturday: Friday is given instead');
    assert.ok(!(await of('DE')).includes('12-24'));
    assert.ok((await of('DE', undefined, ['bank'])).some((day) => day === '12-24'));
  });

  test('are known of at least 30 countries', async () => {
    const countries = 'AT AU BE BR CA CH CN CZ DE DK ES FI FR GB GR HU IE IL IN IT JP KR MX NL NO NZ PL PT SE SG TR UA US ZA'.split(' ');
    const counts = await Promise.all(countries.map(async (country) => [country, (await of(country)).length] as const));
    assert.deepEqual(
      counts.filter(([, count]) => count < 3),
      [],
    );
  });

  test('are read in the zone of the job, wherever their country lies', async () => {
    const [first] = await spansOf({ holidays: [{ country: 'JP' }] }, 'America/New_York', '2026-01-01T12:00:00Z', '2026-01-03');
    assert.deepEqual(first, ['2026-01-01T12:00Z', 17]);
  });
});

describe('stretches', () => {
  const span = (fromS: number, toS: number) => ({ fromS, toS });

  test('are merged when they touch, and looked up by their ends', () => {
    assert.deepEqual(merged([span(5, 7), span(1, 3), span(3, 4), span(6, 9), span(9, 9)]), [span(1, 4), span(5, 9)]);
    const spans = [span(1, 4), span(5, 9)];
    assert.deepEqual(
      [0, 3, 4, 8, 9].map((at) => spanAtOrAfter(spans, at)),
      [span(1, 4), span(1, 4), span(5, 9), span(5, 9), undefined],
    );
  });

  test('lose what lies in others', () => {
    assert.deepEqual(without([span(0, 10), span(20, 30)], [span(2, 3), span(5, 22), span(29, 40)]), [span(0, 2), span(3, 5), span(22, 29)]);
    assert.deepEqual(without([span(0, 10)], [span(0, 10)]), []);
    assert.deepEqual(without([span(0, 10)], []), [span(0, 10)]);
  });
});
