import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { durationMs, durationSchema, formatDuration, parseDuration } from '../../../src/jobs/time/duration.ts';

test('each form of a duration has its milliseconds', () => {
  const forms: [string, number][] = [
    ['500ms', 500],
    ['30s', 30_000],
    ['15m', 900_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['1w', 604_800_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1_500],
    ['1.1s', 1_100],
    ['0s', 0],
    ['PT5M', 300_000],
    ['P1D', 86_400_000],
    ['P1DT2H', 93_600_000],
    ['PT1H30M', 5_400_000],
    ['P2W', 1_209_600_000],
    ['PT0.5S', 500],
    [' 5m ', 300_000],
  ]; // prettier-ignore
  for (const [text, ms] of forms) assert.equal(parseDuration(text), ms, text);
});

test('a text that is not a duration is refused with the cure', () => {
  const cures: [string, RegExp][] = [
    ['', /empty; write a number and a unit/],
    ['90', /"90" has no unit; write "90s" for seconds or "90m"/],
    ['-5m', /never negative/],
    ['5M', /units?.*\(ms, s, m, h, d, w\)/],
    ['5 minutes', /write a number and a unit/],
    ['30m1h', /largest first/],
    ['1h1h', /each unit once/],
    ['P1Y', /years and months have no fixed length; write days/],
    ['P1M', /write days/],
    ['PT', /ISO 8601/],
    ['P', /ISO 8601/],
    ['P1DT', /ISO 8601/],
    ['0.5ms', /finer than a millisecond/],
    ['101w1d1h200000d', /largest first/],
    ['40000d', /longer than 100 years/],
    ['1e3s', /not a duration/],
  ]; // prettier-ignore
  for (const [text, message] of cures) assert.throws(() => parseDuration(text), { name: 'DurationError', message }, text);
});

test('what is formatted parses to the same milliseconds, and its text is canonical', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 3_153_600_000_000 }), (ms) => {
      const text = formatDuration(ms);
      assert.equal(parseDuration(text), ms);
      assert.equal(formatDuration(parseDuration(text)), text);
    }),
  );
  assert.deepEqual([0, 90_000, 129_600_000, 1_209_600_000].map(formatDuration), ['0s', '1m30s', '1d12h', '2w']);
});

test('the schema keeps a canonical text and answers a wrong one with an issue', () => {
  assert.equal(durationSchema.parse('PT90S'), '1m30s');
  assert.equal(durationMs(durationSchema.parse('90s')), 90_000);
  assert.match(durationSchema.safeParse(undefined).error!.issues[0]!.message, /^is required: a duration/);
  assert.match(durationSchema.safeParse(30).error!.issues[0]!.message, /must be a duration in quotes, e\.g\. "30s" \(is 30\)/);
  assert.match(durationSchema.safeParse('x').error!.issues[0]!.message, /"x" is not a duration/);
  assert.equal(durationSchema.safeParse('9'.repeat(10_000)).success, false);
});
