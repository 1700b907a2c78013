import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileCron } from '../../../src/jobs/time/cron.ts';
import {
  type DstPolicy,
  hasMarksAfter,
  isInWindow,
  isSlot,
  marksOf,
  nextSlot,
  nextSlots,
  previousSlot,
  slotsBetween,
} from '../../../src/jobs/time/oracle.ts';
import { normaliseTiming, type Timing } from '../../../src/jobs/time/timing.ts';
import { caseArbitrary } from './timing-arbitrary.ts';

const cron = (text: string | string[], timezone = 'UTC', intervals: Timing['intervals'] = []): Timing =>
  normaliseTiming({ calendars: [text].flat().flatMap(compileCron), intervals, timezone });
const after = (timing: Timing, from: string, count: number) =>
  nextSlots(timing, new Date(from), count).map((slot) => slot.toISOString().replace('.000Z', 'Z'));

test('the next slot is strictly after the moment asked about', () => {
  const hourly = cron('0 * * * *');
  assert.deepEqual(after(hourly, '2026-11-21T10:00:00Z', 1), ['2026-11-21T11:00:00Z']);
  assert.deepEqual(after(hourly, '2026-11-21T09:59:59.999Z', 1), ['2026-11-21T10:00:00Z']);
  assert.deepEqual(after(hourly, '2026-11-21T10:00:00.001Z', 1), ['2026-11-21T11:00:00Z']);
});

test('intervals count from the epoch, and slots in one second are one', () => {
  const both = cron('*/30 * * * *', 'UTC', [{ everyS: 900, offsetS: 0 }]);
  assert.deepEqual(after(both, '2026-11-21T10:00:00Z', 3), ['2026-11-21T10:15:00Z', '2026-11-21T10:30:00Z', '2026-11-21T10:45:00Z']);
  const weekly: Timing = { calendars: [], intervals: [{ everyS: 604_800, offsetS: 86_400 }], timezone: 'UTC' };
  assert.deepEqual(after(weekly, '1970-01-01T00:00:00Z', 2), ['1970-01-09T00:00:00Z', '1970-01-16T00:00:00Z']);
});

/** Runs under a policy, and all that the clock fires, between two moments. */
const runsOf = (timing: Timing, from: string, to: string, policy: DstPolicy) =>
  nextSlots(timing, new Date(from), 100, { endAt: new Date(to) }, policy).map((slot) => slot.toISOString().slice(0, 16));
const POLICIES: DstPolicy[] = [{}, { gap: 'skip' }, { gap: 'shift' }];

test('a wall time in the gap runs as long after the jump as it lay after its beginning, or is left out', () => {
  const daily = cron('30 2 * * *', 'America/New_York');
  const days = POLICIES.map((policy) => runsOf(daily, '2026-03-07T12:00:00Z', '2026-03-09T12:00:00Z', policy));
  assert.deepEqual(days, [['2026-03-08T07:30', '2026-03-09T06:30'], ['2026-03-09T06:30'], ['2026-03-08T07:30', '2026-03-09T06:30']]);
});

test('a time of day that comes twice runs the first time, the last or both, east of Greenwich too', () => {
  const zones = [
    ['America/New_York', '30 1 * * *', '2026-11-01T05:30', '2026-11-01T06:30'],
    ['Europe/Berlin', '30 2 * * *', '2026-10-25T00:30', '2026-10-25T01:30'],
    ['Australia/Lord_Howe', '45 1 * * *', '2026-04-04T14:45', '2026-04-04T15:15'],
  ] as const;
  for (const [zone, text, first, last] of zones) {
    const timing = cron(text, zone);
    const runs = (policy: DstPolicy) => runsOf(timing, `${first.slice(0, 10)}T00:00:00Z`, `${first.slice(0, 10)}T23:00:00Z`, policy);
    assert.deepEqual(
      [{}, { repeat: 'first' }, { repeat: 'last' }, { repeat: 'both' }].map((policy) => runs(policy as DstPolicy)),
      [[first], [first], [last], [first, last]],
    ); // prettier-ignore
  }
});

test('what fires every hour goes on hour by hour, unless the policy says otherwise', () => {
  for (const text of ['*/30 * * * *', '*/30 * * * SUN']) {
    const timing = cron(text, 'Europe/Berlin');
    const runs = (policy: DstPolicy) => runsOf(timing, '2026-10-24T23:59:00Z', '2026-10-25T02:00:00Z', policy);
    const all = ['00:00', '00:30', '01:00', '01:30', '02:00'].map((clock) => `2026-10-25T${clock}`);
    assert.deepEqual(runs({}), all);
    assert.deepEqual(runs({ repeat: 'both' }), all);
    assert.deepEqual(runs({ repeat: 'first' }), [all[0], all[1], all[4]]);
    assert.deepEqual(runs({ repeat: 'last' }), all.slice(2));
    // 02:00 and 02:30 moved by an hour are slots of their own, which no policy takes away
    const spring = (policy: DstPolicy) => runsOf(timing, '2026-03-29T00:00:00Z', '2026-03-29T01:45:00Z', policy);
    for (const policy of POLICIES)
      assert.deepEqual(
        spring(policy),
        ['00:30', '01:00', '01:30'].map((clock) => `2026-03-29T${clock}`),
      );
  }
});

test('a Sunday that begins in a gap is a Sunday, although Temporal counts it as Saturday', () => {
  const noon = (day: string) => runsOf(cron(`0 12,18 * * ${day}`, 'America/Santiago'), '2026-09-05T00:00:00Z', '2026-09-07T00:00:00Z', {});
  assert.deepEqual(noon('SUN'), ['2026-09-06T15:00', '2026-09-06T21:00']);
  assert.deepEqual(noon('SAT'), ['2026-09-05T16:00', '2026-09-05T22:00']);
});

test('marks say what is special about a slot, and which slots Temporal does not bring by itself', () => {
  const marks = (timing: Timing, from: string, to: string) =>
    marksOf(timing, new Date(from), new Date(to)).map(({ slot, kind, fired }) => `${slot.toISOString().slice(0, 16)} ${kind} ${fired}`);
  assert.deepEqual(marks(cron('30 2 * * *', 'Europe/Berlin'), '2026-01-01T00:00:00Z', '2027-01-01T00:00:00Z'), [
    '2026-03-29T01:30 gap false',
    '2026-10-25T00:30 repeat_first false',
    '2026-10-25T01:30 repeat_last false',
  ]); // prettier-ignore
  assert.deepEqual(marks(cron('0 * * * *', 'Europe/Berlin'), '2026-01-01T00:00:00Z', '2027-01-01T00:00:00Z'), [
    '2026-10-25T00:00 hourly_first true',
    '2026-10-25T01:00 hourly_last true',
  ]);
  assert.deepEqual(marks(cron('0 12 * * SAT', 'America/Santiago'), '2026-09-01T00:00:00Z', '2026-10-01T00:00:00Z'), [
    '2026-09-06T15:00 odd true',
  ]);
  for (const never of [cron('30 2 * * *'), cron('30 2 * * *', 'Asia/Kolkata'), cron([], 'Europe/Berlin', [{ everyS: 900, offsetS: 0 }])]) {
    assert.deepEqual(marks(never, '2026-01-01T00:00:00Z', '2036-01-01T00:00:00Z'), []);
    assert.equal(hasMarksAfter(never, new Date('2026-01-01T00:00:00Z')), false);
  }
  const mixed = cron('30 2 * * *', 'Europe/Berlin', [{ everyS: 1_800, offsetS: 0 }]);
  assert.deepEqual(marks(mixed, '2026-01-01T00:00:00Z', '2027-01-01T00:00:00Z'), [], 'what an interval brings as well is ordinary');
});

test('29 February comes every four years, and not in 2100', () => {
  assert.deepEqual(after(cron('0 0 29 2 *'), '2090-01-01T00:00:00Z', 5), ['2092-02-29T00:00:00Z', '2096-02-29T00:00:00Z']);
  // A Sunday 29 February: 28 years apart.
  assert.deepEqual(after(cron('0 0 29 2 */7'), '2026-01-01T00:00:00Z', 2), ['2032-02-29T00:00:00Z', '2060-02-29T00:00:00Z']);
});

test('nothing after the year 2100 and nothing for a calendar without days is null, at once', () => {
  const started = performance.now();
  assert.equal(nextSlot(cron('* * * * *'), new Date('2101-01-01T00:00:00Z')), null);
  const never: Timing = {
    calendars: [{ ...compileCron('0 0 1 2 *')[0]!, dayOfMonth: [{ start: 30, end: 30, step: 1 }] }],
    intervals: [],
    timezone: 'Europe/Berlin',
  };
  assert.equal(nextSlot(never, new Date('2026-01-01T00:00:00Z')), null);
  assert.equal(previousSlot(never, new Date('2026-01-01T00:00:00Z')), null);
  assert.equal(nextSlot({ calendars: [], intervals: [], timezone: 'UTC' }, new Date()), null);
  assert.ok(performance.now() - started < 100);
});

test('a window includes both its ends', () => {
  const hourly = cron('0 * * * *');
  const window = { startAt: new Date('2026-11-21T12:00:00Z'), endAt: new Date('2026-11-21T14:00:00Z') };
  const slots = nextSlots(hourly, new Date('2026-11-21T00:00:00Z'), 10, window);
  assert.deepEqual(
    slots.map((slot) => slot.getUTCHours()),
    [12, 13, 14],
  );
  assert.deepEqual(
    [11, 12, 14, 15].map((hour) => isInWindow(new Date(Date.UTC(2026, 10, 21, hour)), window)),
    [false, true, true, false],
  );
});

test('slots between two moments leave out the first, include the last and obey the limit', () => {
  const minutely = cron('* * * * *');
  const hours = slotsBetween(minutely, new Date('2026-11-21T10:00:00Z'), new Date('2026-11-21T10:03:00Z'), 10);
  assert.deepEqual(
    hours.map((slot) => slot.getUTCMinutes()),
    [1, 2, 3],
  );
  assert.equal(slotsBetween(minutely, new Date('2026-11-21T10:00:00Z'), new Date('2027-11-21T10:03:00Z'), 7).length, 7);
});

test('next, previous, between and isSlot speak of the same slots, also around offset changes', () => {
  fc.assert(
    fc.property(caseArbitrary(), fc.integer({ min: -3, max: 3 }), fc.nat(), ({ timing, from, to }, nudge, pick) => {
      const slots = slotsBetween(timing, new Date(from * 1_000), new Date(to * 1_000), 200);
      for (const [index, slot] of slots.entries()) {
        assert.ok(isSlot(timing, slot));
        assert.ok(!isSlot(timing, new Date(slot.getTime() + 1)));
        if (index > 0) assert.deepEqual(previousSlot(timing, slot), slots[index - 1]);
      }
      const somewhere = slots.length === 0 ? null : new Date(slots[pick % slots.length]!.getTime() + nudge * 1_000);
      if (somewhere && somewhere.getTime() > from * 1_000) {
        const expected = slots.find((slot) => slot > somewhere);
        if (expected) assert.deepEqual(nextSlot(structuredClone(timing), somewhere), expected);
      }
    }),
    { numRuns: 150 },
  );
});
