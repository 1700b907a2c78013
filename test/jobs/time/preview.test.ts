import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jitterOffsetS } from '../../../src/jobs/time/jitter.ts';
import { previewSchedule } from '../../../src/jobs/time/preview.ts';
import { type ScheduleInput, scheduleSchema } from '../../../src/jobs/time/schedule-document.ts';

const preview = (input: ScheduleInput, from: string, count = 3, jobId?: string) =>
  previewSchedule(scheduleSchema.parse(input), { from: new Date(from), count, ...(jobId ? { jobId } : {}) });
const messages = (result: ReturnType<typeof preview>) => result.warnings.map((warning) => warning.message);

test('a preview shows each run in UTC and in the zone', () => {
  const result = preview({ cron: '30 9 * * *', timezone: 'Asia/Kathmandu' }, '2026-11-21T00:00:00Z', 2);
  assert.deepEqual(result, {
    timezone: 'Asia/Kathmandu',
    runs: [
      { slot: '2026-11-21T03:45:00Z', local: '2026-11-21T09:30:00+05:45', due: '2026-11-21T03:45:00Z' },
      { slot: '2026-11-22T03:45:00Z', local: '2026-11-22T09:30:00+05:45', due: '2026-11-22T03:45:00Z' },
    ],
    skipped: [],
    excluded: [],
    jitterOffset: '0s',
    warnings: [],
  });
});

test("a run is due its job's own jitter after the slot; without a job the preview says so", () => {
  const schedule = { every: '1h', jitter: '10m' };
  const offset = jitterOffsetS('job_a', 600_000);
  const [run] = preview(schedule, '2026-11-21T00:00:00Z', 1, 'job_a').runs;
  assert.equal(Date.parse(run!.due) - Date.parse(run!.slot), offset * 1_000);
  const anonymous = preview(schedule, '2026-11-21T00:00:00Z');
  assert.equal(anonymous.jitterOffset, null);
  assert.match(messages(anonymous)[0]!, /within 10m after its slot/);
  assert.match(
    messages(preview({ every: '5m', jitter: '5m' }, '2026-11-21T00:00:00Z', 3, 'job_a'))[0]!,
    /not shorter than the 5m between two slots/,
  );
});

test('the days on which clocks change are warned of, only when they matter', () => {
  assert.deepEqual(messages(preview({ cron: '30 2 * * *', timezone: 'Europe/Berlin' }, '2026-03-27T00:00:00Z')), [
    'On 2026-03-29 in Europe/Berlin clocks jump from 02:00 to 03:00; 02:30 does not exist and runs at 03:30.',
  ]);
  assert.deepEqual(messages(preview({ cron: '30 1 * * *', timezone: 'America/New_York' }, '2026-10-31T12:00:00Z')), [
    'On 2026-11-01 in America/New_York clocks go back from 02:00 to 01:00; 01:30 comes twice and runs the first time.',
  ]);
  assert.deepEqual(messages(preview({ cron: '30 12 * * *', timezone: 'Europe/Berlin' }, '2026-03-27T00:00:00Z')), []);
  assert.deepEqual(messages(preview({ every: '1h', timezone: 'Europe/Berlin' }, '2026-03-28T00:00:00Z', 100)), []);
});

test('days on which clocks change are marked at each run, and what is left out is shown', () => {
  const days = (dst: ScheduleInput['dst'], from: string) => {
    const { runs, skipped } = preview({ cron: '30 2 * * *', timezone: 'Europe/Berlin', dst }, from, 2);
    return [runs.map((run) => `${run.local} ${run.dst ?? 'ordinary'}`), skipped.map((slot) => `${slot.local} ${slot.reason}`)];
  };
  assert.deepEqual(days(undefined, '2026-03-28T12:00:00Z'), [
    ['2026-03-29T03:30:00+02:00 shifted', '2026-03-30T02:30:00+02:00 ordinary'],
    [],
  ]);
  assert.deepEqual(days({ gap: 'skip' }, '2026-03-28T00:00:00Z'), [
    ['2026-03-28T02:30:00+01:00 ordinary', '2026-03-30T02:30:00+02:00 ordinary'],
    ['2026-03-29T03:30:00+02:00 dst_gap'],
  ]);
  assert.deepEqual(days({ repeat: 'last' }, '2026-10-24T12:00:00Z'), [
    ['2026-10-25T02:30:00+01:00 repeated', '2026-10-26T02:30:00+01:00 ordinary'],
    ['2026-10-25T02:30:00+02:00 dst_repeat'],
  ]);
  assert.deepEqual(days({ repeat: 'both' }, '2026-10-24T12:00:00Z')[0], [
    '2026-10-25T02:30:00+02:00 repeated',
    '2026-10-25T02:30:00+01:00 repeated',
  ]);
});

test('a gap that swallows the only run of a window is warned of', () => {
  const result = preview(
    { cron: '30 2 * * *', timezone: 'Europe/Berlin', dst: { gap: 'skip' }, startAt: '2026-03-28T12:00:00Z', endAt: '2026-03-29T12:00:00Z' },
    '2026-03-01T00:00:00Z',
  );
  assert.deepEqual(result.runs, []);
  assert.deepEqual(
    result.warnings.map((warning) => warning.kind),
    ['no_runs', 'dst_gap'],
  );
});

test('one-offs have one run; a past one has none and a warning', () => {
  const from = '2026-11-21T00:00:00Z';
  assert.deepEqual(preview({ at: '2026-12-01T10:00:00Z', timezone: 'Europe/Berlin' }, from).runs, [
    { slot: '2026-12-01T10:00:00Z', local: '2026-12-01T11:00:00+01:00', due: '2026-12-01T10:00:00Z' },
  ]);
  assert.equal(preview({ delay: '90s' }, from).runs[0]!.slot, '2026-11-21T00:01:30Z');
  assert.match(messages(preview({ at: '2026-01-01T00:00:00Z' }, from))[0]!, /in the past/);
  assert.match(messages(preview({ cron: '@daily', endAt: '2026-01-01T00:00:00Z' }, from))[0]!, /no slot is left before endAt/);
});

test('a preview holds 1 to 1,000 runs', () => {
  assert.equal(preview({ every: '1s' }, '2026-11-21T00:00:00Z', 1_000).runs.length, 1_000);
  for (const count of [0, 1_001, 1.5]) assert.throws(() => preview({ every: '1s' }, '2026-11-21T00:00:00Z', count), RangeError);
});

test('a hundred years of a yearly schedule in any zone are previewed in no time', () => {
  const started = performance.now();
  assert.ok(preview({ cron: '30 2 25 10 *', timezone: 'Europe/Berlin' }, '1971-01-01T00:00:00Z', 1_000).runs.length > 120);
  assert.ok(performance.now() - started < 500);
});
