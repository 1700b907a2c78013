import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileCron } from '../../../src/jobs/time/cron.ts';
import { isInWindow, isSlot, nextSlot, nextSlots, previousSlot, slotsBetween } from '../../../src/jobs/time/oracle.ts';
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

test('a wall time in the gap does not fire', () => {
  assert.deepEqual(after(cron('30 2 * * *', 'America/New_York'), '2026-03-07T00:00:00Z', 2), [
    '2026-03-07T07:30:00Z',
    '2026-03-09T06:30:00Z',
  ]);
});

test('west of Greenwich a repeated wall time fires twice, east of it once, the second time', () => {
  assert.deepEqual(after(cron('30 1 * * *', 'America/New_York'), '2026-11-01T00:00:00Z', 2), [
    '2026-11-01T05:30:00Z',
    '2026-11-01T06:30:00Z',
  ]);
  assert.deepEqual(after(cron('30 2 * * *', 'Europe/Berlin'), '2026-10-25T00:00:00Z', 2), ['2026-10-25T01:30:00Z', '2026-10-26T01:30:00Z']);
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

test('a thousand next slots of any schedule take at most 20 ms', () => {
  const fifty = Array.from({ length: 50 }, (_, index) => `${index} ${index % 24} ${1 + (index % 28)} * ${index % 7}`);
  const specs: [string | string[], string][] = [
    ['* * * * * *', 'Europe/Berlin'],
    ['0 2 * * *', 'America/New_York'],
    ['0 0 29 2 1', 'Africa/Casablanca'],
    ['0 0 29 2 */7', 'America/Santiago'],
    ['59 59 23 31 12 *', 'Australia/Lord_Howe'],
    [fifty, 'America/Santiago'],
  ]; // prettier-ignore
  for (const [text, zone] of specs) {
    const timing = cron(text, zone);
    nextSlot(timing, new Date('2026-01-01T00:00:00Z'));
    // The best of three, because other work shares the machine.
    const best = Math.min(
      ...[1, 2, 3].map((round) => {
        const started = performance.now();
        nextSlots(timing, new Date(Date.UTC(2026, 0, round)), 1_000);
        return performance.now() - started;
      }),
    );
    assert.ok(best <= 20, `${text} took ${best} ms`);
  }
});
