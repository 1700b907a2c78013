import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scheduleSchema } from '../../../src/jobs/time/schedule-document.ts';

const problems = (input: unknown): string[] =>
  (scheduleSchema.safeParse(input).error?.issues ?? []).map((issue) => `/${issue.path.join('/')} ${issue.message}`);
const refused = (input: unknown, ...messages: RegExp[]) => {
  const found = problems(input);
  assert.ok(found.length > 0, `${JSON.stringify(input)} is refused`);
  for (const message of messages)
    assert.ok(
      found.some((problem) => message.test(problem)),
      `${JSON.stringify(input)}: ${message} among ${JSON.stringify(found)}`,
    );
};

test('a schedule parses to canonical texts, and that parses to itself', () => {
  const parsed = scheduleSchema.parse({
    cron: [' 0 2 * * 1-5 ', '@daily'],
    every: 'PT15M',
    offset: '300s',
    timezone: 'europe/berlin',
    startAt: '2026-12-01T10:00:00+02:00',
    jitter: '90s',
  });
  assert.deepEqual(parsed, {
    cron: ['0 2 * * 1-5', '@daily'],
    every: '15m',
    offset: '5m',
    timezone: 'Europe/Berlin',
    startAt: '2026-12-01T08:00:00Z',
    jitter: '1m30s',
  });
  assert.deepEqual(scheduleSchema.parse(structuredClone(parsed)), parsed);
  assert.equal(scheduleSchema.parse({ every: '1s' }).timezone, 'UTC');
});

test('dst belongs to what names times of day, spread and jitter are one thing', () => {
  assert.deepEqual(problems({ cron: '@daily', dst: { gap: 'skip', repeat: 'both' } }), []);
  refused({ every: '1h', dst: { gap: 'skip' } }, /^\/dst dst is about times of day.*leave dst out/);
  refused({ at: '2026-12-01T10:00:00Z', dst: {} }, /dst can't stand beside at/);
  refused({ cron: '@daily', dst: { gap: 'later' } }, /must be "skip" or "shift"/);
  refused({ cron: '@daily', dst: { repaet: 'first' } }, /repaet/);
  assert.deepEqual(problems({ cron: '@daily', spread: '10m' }), []);
  refused({ cron: '@daily', spread: '10m', jitter: '5m' }, /^\/spread spread is another word for jitter; keep one/);
  refused({ cron: '@daily', spread: '1.5s' }, /^\/spread spread must be whole seconds.*write spread: 2s/);
  refused({ cron: '@daily', spread: '2d' }, /^\/spread spread is too long; write at most 1d/);
});

test('unknown keys are refused with the nearest known one', () => {
  refused({ cron: '@daily', timezon: 'UTC' }, /unknown key "timezon", did you mean "timezone"\?/);
  refused({ crom: '@daily' }, /did you mean "cron"\?/);
  refused({ every: '1m', ['k'.repeat(5_000)]: 1 }, /unknown key/);
  refused({ calendar: { at: '08:00', weekday: ['mon'] } }, /^\/calendar\/0 unknown key "weekday", did you mean "weekdays"\?/);
  refused({ cron: '@daily', dst: { gaps: 'skip' } }, /^\/dst unknown key "gaps", did you mean "gap"\?/);
});

test('a wrong cron is named by its place in the list', () => {
  refused({ cron: '61 * * * *' }, /^\/cron cron "61 \* \* \* \*" has 61 in its minute/);
  refused({ cron: ['@daily', '* * * * 9'] }, /^\/cron\/1 .*9 in its day of week/);
  refused({ cron: [] }, /at least one/);
  refused({ cron: Array.from({ length: 51 }, () => '@daily') }, /more than 50/);
  refused({ cron: 5 }, /^\/cron must be a cron text/);
  assert.deepEqual(problems({ cron: Array.from({ length: 50 }, () => '@daily') }), []);
});

test('intervals are whole seconds, at least one, and longer than their offset', () => {
  refused({ every: '1.5s' }, /^\/every every must be whole seconds \(is 1\.5 s\); write every: 2s/);
  refused({ every: '999ms' }, /write every: 1s/);
  refused({ every: '0s' }, /at least 1 s/);
  refused({ every: '3654d' }, /at most 10 years/);
  refused({ every: 30 }, /must be a duration in quotes/);
  refused({ every: '5m', offset: '5m' }, /^\/offset offset 5m must be less than every 5m/);
  assert.deepEqual(problems({ every: '5m', offset: '4m59s' }), []);
  refused({ every: '5m', offset: '500ms' }, /offset must be whole seconds/);
  refused({ every: '5m', jitter: '1.2s' }, /jitter must be whole seconds/);
  refused({ every: '5m', jitter: '25h' }, /jitter is too long/);
  refused({ cron: '@daily', offset: '5m' }, /offset belongs to every/);
  refused({ every: '5m', alignTo: 'now' }, /must be "epoch" or "creation"/);
  refused({ every: 'soon' }, /"soon" is not a duration/);
});

test('a one-off stands alone, and at has a time zone offset', () => {
  assert.deepEqual(scheduleSchema.parse({ at: '2026-12-01T10:00:00.250Z' }), { at: '2026-12-01T10:00:00.250Z', timezone: 'UTC' });
  assert.deepEqual(scheduleSchema.parse({ delay: '1500ms' }), { delay: '1s500ms', timezone: 'UTC' });
  refused({ at: '2026-12-01T10:00:00' }, /^\/at .*no time zone offset; add Z/);
  refused({ at: '2026-02-29T10:00:00Z' }, /day that does not exist/);
  refused({ at: '2026-12-01T24:00:00Z' }, /time of day that does not exist/);
  refused({ at: '2026-12-01T10:00:00+25:00' }, /offset that does not exist/);
  refused({ at: '2201-01-01T00:00:00Z' }, /outside the years 1970 to 2200/);
  refused({ at: '0026-12-01T10:00:00Z' }, /outside the years/);
  refused({ at: 'tomorrow' }, /RFC 3339/);
  refused({ delay: '3654d' }, /delay is too long/);
  refused({ at: '2026-12-01T10:00:00Z', delay: '5m' }, /^\/delay delay can't stand beside at/);
  for (const extra of [{ cron: '@daily' }, { every: '5m' }, { startAt: '2026-12-01T10:00:00Z' }, { jitter: '5s' }]) {
    refused({ at: '2026-12-01T10:00:00Z', ...extra }, /can't stand beside at/);
    refused({ delay: '5m', ...extra }, /can't stand beside delay/);
  }
});

test('a window ends after it begins', () => {
  const startAt = '2026-12-01T10:00:00Z';
  refused({ cron: '@daily', startAt, endAt: startAt }, /^\/endAt .*must be after startAt/);
  refused({ cron: '@daily', startAt, endAt: '2026-12-01T10:59:59+01:00' }, /must be after/);
  assert.deepEqual(problems({ cron: '@daily', startAt, endAt: '2026-12-01T10:00:01Z' }), []);
});

test('time zones are IANA names that Temporal can load', () => {
  assert.equal(scheduleSchema.parse({ cron: '@daily', timezone: 'asia/kathmandu' }).timezone, 'Asia/Kathmandu');
  assert.equal(scheduleSchema.parse({ cron: '@daily', timezone: 'Asia/Kolkata' }).timezone, 'Asia/Kolkata');
  assert.equal(scheduleSchema.parse({ cron: '@daily', timezone: 'Etc/UTC' }).timezone, 'UTC');
  refused({ cron: '@daily', timezone: 'Europe/Berlinn' }, /did you mean "Europe\/Berlin"/);
  refused({ cron: '@daily', timezone: '+02:00' }, /is an offset.*Etc\/GMT-2/);
  refused({ cron: '@daily', timezone: '' }, /not a known IANA time zone/);
  refused({ cron: '@daily', timezone: 'Local' }, /not a known IANA time zone/);
});

test('nothing, null and other kinds are refused with a sentence', () => {
  refused({}, /needs cron, every, calendar, at or delay/);
  refused({ timezone: 'UTC' }, /needs cron, every, calendar, at or delay/);
  refused(null, /must be an object/);
  refused('0 2 * * *', /must be an object/);
  refused([], /must be an object/);
  refused({ cron: null }, /cron text/);
});
