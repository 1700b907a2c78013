import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { marksOf, nextSlots } from '../../../src/jobs/time/oracle.ts';
import { scheduleSchema } from '../../../src/jobs/time/schedule-document.ts';
import { timingHash, timingOf } from '../../../src/jobs/time/timing.ts';

const NOW = new Date('2026-01-01T00:00:00Z');
const timingFor = (calendar: unknown, timezone = 'UTC') => timingOf(scheduleSchema.parse({ calendar, timezone }), NOW)!;
const days = (rule: object, count = 4, timezone = 'UTC', from = NOW) =>
  nextSlots(timingFor(rule, timezone), from, count).map((slot) => slot.toISOString().slice(0, 16));
const problems = (calendar: unknown): string[] =>
  (scheduleSchema.safeParse({ calendar }).error?.issues ?? []).map((issue) => `/${issue.path.join('/')} ${issue.message}`);

test('the n-th Monday, the last Friday, the first and last weekday', () => {
  assert.deepEqual(days({ at: '09:00', weekdays: 'mon', nth: 'second' }, 3), ['2026-01-12T09:00', '2026-02-09T09:00', '2026-03-09T09:00']);
  assert.deepEqual(days({ at: '17:00', weekdays: ['fri'], nth: 'last' }, 3), ['2026-01-30T17:00', '2026-02-27T17:00', '2026-03-27T17:00']);
  const weekdays = ['mon', 'tue', 'wed', 'thu', 'fri'];
  assert.deepEqual(days({ at: '09:00', weekdays, nth: 'first', months: ['aug', 11] }, 2), ['2026-08-03T09:00', '2026-11-02T09:00']);
  assert.deepEqual(days({ at: '09:00', weekdays, nth: 'last', months: [1, 5] }, 2), ['2026-01-30T09:00', '2026-05-29T09:00']);
  assert.deepEqual(days({ at: '09:00', weekdays: 'mon', nth: 5 }, 2), ['2026-03-30T09:00', '2026-06-29T09:00']);
});

test('business days know the weekend and the holidays', () => {
  const holidays = ['2026-01-01', '2026-01-02'];
  assert.deepEqual(days({ at: '08:00', businessDays: true, nth: 'first' }, 2), ['2026-01-01T08:00', '2026-02-02T08:00']);
  assert.deepEqual(days({ at: '08:00', businessDays: true, nth: 'first', holidays }, 2), ['2026-01-05T08:00', '2026-02-02T08:00']);
  assert.deepEqual(days({ at: '08:00', businessDays: true, nth: -1, holidays: ['2026-01-30'] }, 1), ['2026-01-29T08:00']);
  assert.deepEqual(days({ at: '08:00', businessDays: true, nth: 3, weekend: ['fri', 'sat'] }, 1), ['2026-01-05T08:00']);
  assert.deepEqual(days({ at: '08:00', businessDays: true, holidays }, 3), ['2026-01-05T08:00', '2026-01-06T08:00', '2026-01-07T08:00']);
});

test('days of the month count from either end, times of day are a list, rules are a union', () => {
  assert.deepEqual(days({ at: ['18:00', '09:00:30'], daysOfMonth: ['last'] }, 3), [
    '2026-01-31T09:00',
    '2026-01-31T18:00',
    '2026-02-28T09:00',
  ]);
  assert.deepEqual(days({ at: '09:00', daysOfMonth: [1, -2] }, 3), ['2026-01-01T09:00', '2026-01-30T09:00', '2026-02-01T09:00']);
  assert.deepEqual(days({ at: '09:00', daysOfMonth: 13, weekdays: 'fri' }, 2), ['2026-02-13T09:00', '2026-03-13T09:00']);
  assert.deepEqual(
    days(
      [
        { at: '09:00', daysOfMonth: 1 },
        { at: '10:00', daysOfMonth: 'last' },
      ],
      3,
    ),
    ['2026-01-01T09:00', '2026-01-31T10:00', '2026-02-01T09:00'],
  ); // prettier-ignore
});

test('what Temporal can say goes to its calendars, the rest are dates', () => {
  const native = timingFor({ at: ['09:00', '10:00', '09:30'], weekdays: 'mon', nth: [1, 3] });
  assert.equal(native.dates, undefined);
  assert.equal(native.calendars.length, 2);
  const dates = timingFor({ at: '02:30', weekdays: 'sun', nth: 'last' }, 'Europe/Berlin');
  assert.deepEqual(dates.calendars, []);
  assert.deepEqual(
    marksOf(dates, NOW, new Date('2026-04-27T00:00:00Z')).map(
      ({ slot, kind, fired }) => `${slot.toISOString().slice(0, 16)} ${kind} ${fired}`,
    ),
    ['2026-01-25T01:30 date false', '2026-02-22T01:30 date false', '2026-03-29T01:30 gap false', '2026-04-26T00:30 date false'],
  );
});

test('a rule has one timing, however it is spelt, and other holidays are another timing', () => {
  const hash = (calendar: unknown) => timingHash(timingFor(calendar), 'q', 't');
  assert.equal(
    hash({ at: '09:00', weekdays: ['Monday', 'tue'], nth: 'last', months: ['jan', 2] }),
    hash([{ at: ['09:00'], weekdays: ['TUE', 'mon', 'mon'], nth: -1, months: [2, 1, 1] }]),
  );
  const businessDay = { at: '09:00', businessDays: true, nth: 1 };
  assert.notEqual(hash({ ...businessDay, holidays: ['2026-01-01'] }), hash({ ...businessDay, holidays: ['2026-01-02'] }));
  const parsed = scheduleSchema.parse({ calendar: { ...businessDay, weekend: 'SUN', holidays: '2026-01-01' } });
  assert.deepEqual(scheduleSchema.parse(structuredClone(parsed)), parsed);
});

test('nonsense is refused with the cure, at once', () => {
  const started = performance.now();
  const refusals: [unknown, RegExp][] = [
    [{ at: '9:00' }, /^\/calendar\/0\/at "9:00" is not a time of day; write hours and minutes with two digits/],
    [{ at: ['09:00', '24:00'] }, /^\/calendar\/0\/at\/1 "24:00" does not exist; write 00:00 to 23:59/],
    [{ at: '09:00:61' }, /does not exist/],
    [{ at: [] }, /must not be empty/],
    [{}, /^\/calendar\/0\/at /],
    [{ at: '09:00', weekdays: ['someday'] }, /is not a day of the week; write sun, mon/],
    [{ at: '09:00', months: 13 }, /13 is not a month; write 1 to 12/],
    [{ at: '09:00', daysOfMonth: 32 }, /32 is not a day of the month/],
    [{ at: '09:00', daysOfMonth: 31, months: ['feb'] }, /^\/calendar never fires/],
    [{ at: '09:00', nth: 'first' }, /nth counts days of a kind: add weekdays/],
    [{ at: '09:00', nth: 6, weekdays: 'mon' }, /never fires/],
    [{ at: '09:00', nth: 'sixth', weekdays: 'mon' }, /can't be counted; write first/],
    [{ at: '09:00', nth: 1, weekdays: 'mon', daysOfMonth: 3 }, /can't stand beside nth/],
    [{ at: '09:00', holidays: ['2026-12-25'] }, /add businessDays: true/],
    [{ at: '09:00', businessDays: true, holidays: ['2026-02-30'] }, /"2026-02-30" is not a date/],
    [{ at: '09:00', businessDays: false }, /must be true; leave it out otherwise/],
    [{ at: '09:00', businessDays: true, weekdays: ['sat'] }, /no day of the week is left/],
    [{ at: '09:00', weekend: 'fri' }, /add businessDays: true, or use weekdays/],
    [Array.from({ length: 11 }, () => ({ at: '09:00' })), /more than 10 rules/],
    [
      { at: Array.from({ length: 24 }, (_, hour) => `${String(hour).padStart(2, '0')}:00`), businessDays: true, holidays: '2026-01-01' },
      /dates a year, more than 2000; use cron with weekdays/,
    ],
    ['mon', /^\/calendar\/0 must be an object: at/],
    [{ at: '09:00', weekday: 'mon' }, /weekday/],
    [{ at: Array.from({ length: 100_000 }, () => '09:00') }, /more than 24/],
  ];
  for (const [calendar, message] of refusals) {
    const found = problems(calendar);
    assert.ok(
      found.some((problem) => message.test(problem)),
      `${JSON.stringify(calendar).slice(0, 200)}: ${message} among ${JSON.stringify(found).slice(0, 500)}`,
    );
  }
  assert.ok(performance.now() - started < 10_000);
});

test('every rule has the days that a look at each single day finds', () => {
  const names = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
  const some = <Value>(...values: readonly Value[]) => fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 4 });
  const ruleArbitrary = fc.oneof(
    fc.record({ at: fc.constant(['09:00']), weekdays: some(...names), nth: some(1, 2, 3, 4, 5, -1, -2, -5) }),
    fc.record({
      at: fc.constant(['09:00']),
      businessDays: fc.constant(true as const),
      nth: some(1, 2, 10, 20, -1, -3),
      weekend: some(...names),
    }),
    fc.record({
      at: fc.constant(['09:00']),
      daysOfMonth: some(1, 15, 28, 29, 31, -1, -2, -28, -31),
      weekdays: fc.option(some(...names), { nil: undefined }),
    }),
  );
  fc.assert(
    fc.property(ruleArbitrary, fc.option(some(1, 2, 6, 12), { nil: undefined }), (rule, months) => {
      const calendar = { ...rule, ...(months ? { months } : {}) };
      if (problems(calendar).length > 0) return;
      const end = new Date('2029-01-01T00:00:00Z');
      const found = nextSlots(timingFor(calendar), NOW, 2_000, { endAt: end }).map((slot) => slot.toISOString().slice(0, 10));
      assert.deepEqual(found, byLooking(calendar as Parameters<typeof byLooking>[0], NOW, end), JSON.stringify(calendar));
    }),
    { numRuns: 300 },
  );

  type Looked = { weekdays?: string[]; weekend?: string[]; businessDays?: true; months?: number[]; daysOfMonth?: number[]; nth?: number[] };
  function byLooking(rule: Looked, from: Date, to: Date): string[] {
    const matching: string[] = [];
    for (let month = new Date(from); month < to; month = new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1, 1))) {
      const length = new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1, 0)).getUTCDate();
      const all = Array.from({ length }, (_, index) => new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth(), index + 1)));
      const left = all.filter((day) => {
        const name = names[day.getUTCDay()]!;
        const date = day.getUTCDate();
        return (
          (!rule.months || rule.months.includes(day.getUTCMonth() + 1)) &&
          (!rule.weekdays || rule.weekdays.includes(name)) &&
          (!rule.businessDays || !(rule.weekend ?? ['sat', 'sun']).includes(name)) &&
          (!rule.daysOfMonth || rule.daysOfMonth.some((of) => of === date || length + 1 + of === date))
        );
      });
      const chosen = rule.nth ? left.filter((_, index) => rule.nth!.some((nth) => nth === index + 1 || left.length + nth === index)) : left;
      matching.push(...chosen.map((day) => day.toISOString().slice(0, 10)));
    }
    return matching;
  }
});
