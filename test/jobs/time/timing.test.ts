import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ScheduleInput, scheduleSchema } from '../../../src/jobs/time/schedule-document.ts';
import { onceAt, sameTiming, timingHash, timingOf } from '../../../src/jobs/time/timing.ts';

const CREATED = new Date('2026-11-21T10:07:13.900Z');
const timing = (input: ScheduleInput) => timingOf(scheduleSchema.parse(input), CREATED)!;
const hash = (input: ScheduleInput) => timingHash(timing(input), 'default', 'billing');

test('a schedule has one hash, however it is spelt and ordered', () => {
  const same: [ScheduleInput, ScheduleInput][] = [
    [{ cron: '0 2 * * 1-5' }, { cron: '0 0 2 * JAN-DEC MON,TUE,WED,THU,FRI' }],
    [{ cron: ['@daily', '0 12 * * *'] }, { cron: ['0 12 * * *', '0 0 * * *', '@midnight'] }],
    [{ cron: '*/15 * * * *' }, { cron: '0,15,30,45 * * * *' }],
    [{ cron: '0 0 * * 0' }, { cron: '0 0 * * 7' }],
    [{ cron: ['* * * * *', '5 * * * *'] }, { cron: '* * * * *' }],
    [{ every: '90s' }, { every: 'PT1M30S' }],
    [{ every: '1h', timezone: 'Europe/Berlin' }, { every: '1h' }],
    [
      { cron: '@daily', timezone: 'europe/berlin' },
      { cron: '@daily', timezone: 'Europe/Berlin' },
    ],
    [{ cron: '@daily', jitter: '30s', startAt: '2026-12-01T00:00:00Z', endAt: '2027-12-01T00:00:00Z' }, { cron: '@daily' }],
    [{ cron: '0 0 13 * FRI' }, { cron: ['0 0 * * FRI', '0 0 13 * *'] }],
  ]; // prettier-ignore
  for (const [a, b] of same) {
    assert.equal(hash(a), hash(b), JSON.stringify([a, b]));
    assert.ok(sameTiming(timing(a), timing(b)));
  }
});

test('other slots, another queue or another team is another hash', () => {
  const all: ScheduleInput[] = [
    { cron: '@daily' },
    { cron: '@daily', timezone: 'Europe/Berlin' },
    { cron: '0 1 * * *' },
    { every: '1d' },
    { every: '1d', offset: '1h' },
    { cron: '@daily', every: '1d' },
    { every: '1d', alignTo: 'creation' },
  ]; // prettier-ignore
  assert.equal(new Set(all.map(hash)).size, all.length);
  const daily = timing({ cron: '@daily' });
  assert.equal(new Set([timingHash(daily, 'q', 't'), timingHash(daily, 'q', 'u'), timingHash(daily, 'r', 't')]).size, 3);
  assert.match(timingHash(daily, 'q', 't'), /^[0-9a-f]{32}$/);
});

test('a timing survives JSON, and its hash never changes between versions', () => {
  const daily = timing({ cron: ['0 2 * * 1-5', '30 4 1 * *'], every: '15m', offset: '5m', timezone: 'Europe/Berlin' });
  assert.equal(timingHash(JSON.parse(JSON.stringify(daily)), 'default', 'billing'), timingHash(daily, 'default', 'billing'));
  assert.equal(timingHash(daily, 'default', 'billing'), '59e2754b9d7a993104bc06d96dc4d600');
});

test('aligned to its creation an interval begins one interval after it', () => {
  const { intervals } = timing({ every: '1h', alignTo: 'creation' });
  assert.deepEqual(intervals, [{ everyS: 3_600, offsetS: 7 * 60 + 13 }]);
  assert.deepEqual(timing({ every: '1h', offset: '59m', alignTo: 'creation' }).intervals, [{ everyS: 3_600, offsetS: 6 * 60 + 13 }]);
  assert.deepEqual(timing({ every: '1h', offset: '5m' }).intervals, [{ everyS: 3_600, offsetS: 300 }]);
});

test('a one-off has a moment and no timing', () => {
  const at = scheduleSchema.parse({ at: '2026-12-01T10:00:00+01:00' });
  assert.equal(timingOf(at, CREATED), null);
  assert.equal(onceAt(at, CREATED)?.toISOString(), '2026-12-01T09:00:00.000Z');
  assert.equal(onceAt(scheduleSchema.parse({ delay: '10m' }), CREATED)?.toISOString(), '2026-11-21T10:17:13.900Z');
  assert.equal(onceAt(scheduleSchema.parse({ cron: '@daily' }), CREATED), null);
});
