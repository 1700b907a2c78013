/** The oracle and the spec we send, held against a real Temporal server. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { encodeScheduleSpec } from '@temporalio/client/lib/schedule-helpers.js';
import fc from 'fast-check';
import { sameAsListed, sameSpec, specForm } from '../../../src/jobs/clocks/spec-form.ts';
import { compileCron } from '../../../src/jobs/time/cron.ts';
import { extrasOf } from '../../../src/jobs/time/extras.ts';
import { toTemporalSpec } from '../../../src/jobs/time/temporal-spec.ts';
import { normaliseTiming, type Timing } from '../../../src/jobs/time/timing.ts';
import { firstDifference, mirror, oracleTimes, serverTimes } from './matching-times.ts';
import { connectTestTemporal, type TestTemporal } from './test-temporal.ts';
import { caseArbitrary } from './timing-arbitrary.ts';

/** Ten thousand take two to five minutes: `oracle-fuzz.ts` asks for as many as one likes. */
const CASES = 300;
const AT_ONCE = 6;

let temporal: TestTemporal;
before(async () => {
  temporal = await connectTestTemporal();
});
after(() => temporal?.close());

const timingIn = (crons: string[], timezone: string, intervals: Timing['intervals'] = []) =>
  normaliseTiming({ calendars: crons.flatMap(compileCron), intervals, timezone });

async function differenceOf(timing: Timing, from: number, to: number): Promise<string | null> {
  const handle = await mirror(temporal.client, timing, from, to);
  try {
    return firstDifference(oracleTimes(timing, from, to), await serverTimes(temporal.client, handle.scheduleId, from, to));
  } finally {
    await handle.delete();
  }
}

test('the oracle has the times of the server, through every kind of offset change', async () => {
  // zone, crons, the day before the change
  const days: [string, string[], string][] = [
    ['America/New_York', ['30 1,2 * * *', '*/20 * * * *'], '2026-03-07'],
    ['America/New_York', ['30 1 * * *'], '2026-10-31'],
    ['America/New_York', ['*/15 * * * *'], '2026-10-31'],
    ['Europe/Berlin', ['30 2 * * *'], '2027-03-27'],
    ['Europe/Berlin', ['0 * * * *'], '2026-10-24'],
    ['Europe/Berlin', ['*/15 * * * *'], '2026-10-24'],
    ['Europe/Berlin', ['30 2 * * *'], '2026-10-24'],
    ['Europe/London', ['*/10 1 * * *'], '2026-10-24'],
    ['Australia/Lord_Howe', ['*/15 * * * *'], '2027-04-02'],
    ['Australia/Lord_Howe', ['*/10 2 * * *'], '2026-10-02'],
    ['America/St_Johns', ['15 * * * *'], '2026-10-31'],
    ['America/Santiago', ['0 12 * * SUN', '30 0 * * *'], '2026-09-04'],
    ['America/Santiago', ['0 12 * * SAT'], '2026-09-04'],
    ['America/Havana', ['*/30 0 * * *'], '2026-03-07'],
    ['Africa/Cairo', ['*/30 * * * FRI'], '2026-04-23'],
    ['Africa/Casablanca', ['*/30 1-4 * * *'], '2025-02-22'],
    ['Africa/Casablanca', ['0 2 * * *'], '2025-04-05'],
    ['Asia/Kathmandu', ['15 5 29 2 *', '0 0 31 * MON'], '2024-01-01'],
    ['Antarctica/Troll', ['20 * * * *'], '2026-10-24'],
    ['America/Goose_Bay', ['4 2 0 * * *', '30 * * * MON-SUN'], '1987-10-24'],
    ['Asia/Beirut', ['0 0 * * *', '30 23 * * *'], '2026-03-27'],
  ]; // prettier-ignore
  const differences = await Promise.all(
    days.map(async ([zone, crons, day]) => {
      const from = Date.parse(`${day}T00:00:00Z`) / 1_000;
      const difference = await differenceOf(timingIn(crons, zone), from, from + 5 * 86_400);
      return difference && `${zone} ${crons.join(' | ')}: ${difference}`;
    }),
  );
  assert.deepEqual(differences.filter(Boolean), []);
});

test("rare days and far intervals are the server's too", async () => {
  const from = Date.parse('1980-01-01T00:00:00Z') / 1_000;
  const to = Date.parse('2037-12-30T00:00:00Z') / 1_000;
  const rare: Timing[] = [
    timingIn(['0 0 29 2 */7'], 'Europe/Berlin'),
    timingIn(['0 0 29 2 MON'], 'America/New_York'),
    timingIn([], 'UTC', [{ everyS: 315_360_000, offsetS: 315_359_999 }]),
  ];
  assert.deepEqual(await Promise.all(rare.map((timing) => differenceOf(timing, from, to))), [null, null, null]);
});

test(`${CASES} random schedules have the server's times`, async (context) => {
  const seed = Date.now() % 1_000_000_007;
  const cases = fc.sample(caseArbitrary(), { numRuns: CASES, seed });
  const waiting = [...cases];
  const differences: string[] = [];
  const worker = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const difference = await differenceOf(next.timing, next.from, next.to);
      if (difference) differences.push(`${JSON.stringify(next)}: ${difference}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  assert.deepEqual(differences, [], `seed ${seed}; again with node test/jobs/time/oracle-fuzz.ts <address> ${CASES} ${seed}`);
  context.diagnostic(`${cases.length} cases`);
});

test('what the server describes is the spec that was sent, dated extras included', async () => {
  const timing = timingIn(['0,17-43/13 */6 1-7,31 JAN,MAR-MAY,DEC *', '5 0 0 13 * FRI', '30 2 * * *'], 'Europe/Berlin', [
    { everyS: 5_400, offsetS: 61 },
  ]);
  const now = Math.floor(Date.now() / 1_000);
  const handle = await mirror(temporal.client, timing, now, now, extrasOf(timing, new Date()));
  try {
    const { spec } = (await temporal.client.workflowService.describeSchedule({ namespace: 'default', scheduleId: handle.scheduleId }))
      .schedule!;
    const wanted = specForm(encodeScheduleSpec(toTemporalSpec(timing, extrasOf(timing, new Date()))));
    assert.ok(wanted.extras.size >= 2, 'one day has the gap, one comes twice');
    assert.ok(sameSpec(specForm(spec), wanted));
    const [extra] = wanted.extras;
    const without = specForm({ ...spec, interval: spec!.interval!.filter(({ interval }) => Number(interval!.seconds) !== extra) });
    assert.ok(!sameSpec(without, wanted), 'one that is missing is drift');
    assert.ok(sameSpec(without, wanted, (extra! + 1) * 1_000), 'one that has passed is not');
    assert.ok(!sameSpec(specForm(spec), { ...wanted, extras: new Set([...wanted.extras].slice(1)) }), 'nor may there be one too many');
    assert.ok(!sameAsListed(without, wanted), 'and the list shows it too');
  } finally {
    await handle.delete();
  }
});
