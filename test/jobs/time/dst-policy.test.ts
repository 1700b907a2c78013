/** Days on which clocks change, held against the language's own Temporal, which knows nothing of our walk: each wall time runs exactly as the policy says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileCron } from '../../../src/jobs/time/cron.ts';
import { type DstPolicy, nextSlots, runsUnder, slotsBetween } from '../../../src/jobs/time/oracle.ts';
import { normaliseTiming } from '../../../src/jobs/time/timing.ts';
import { type ZoneChange, zoneOf } from '../../../src/jobs/time/zone.ts';
import { ODD_ZONES } from './timing-arbitrary.ts';

/** Zones in which a whole day was left out are none of these. */
const changing = ODD_ZONES.flatMap((zone) => {
  const changes = zoneOf(zone).changes(Date.UTC(1985, 0, 1) / 1_000, Date.UTC(2037, 0, 1) / 1_000);
  return changes.filter(({ before, after }) => Math.abs(after - before) < 20_000).map((change) => ({ zone, change }));
});

type Times = { hours: number[] | 'every'; minutes: number[]; weekdays: number[] };
type Case = { zone: string; change: ZoneChange; schedules: Times[]; policy: DstPolicy };

const few = (most: number) => fc.uniqueArray(fc.integer({ min: 0, max: most }), { minLength: 1, maxLength: 4 });
const hours = fc.oneof(
  fc.constant('every' as const),
  few(23),
  fc.uniqueArray(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 3 }),
);
/** None: every day. */
const weekdays = fc.oneof(fc.constant<number[]>([]), few(6));
const caseArbitrary: fc.Arbitrary<Case> = fc
  .record({
    at: fc.constantFrom(...changing),
    schedules: fc.array(fc.record({ hours, minutes: few(59), weekdays }), { minLength: 1, maxLength: 3 }),
    policy: fc.record({
      gap: fc.constantFrom(undefined, 'skip' as const, 'shift' as const),
      repeat: fc.constantFrom(undefined, 'first' as const, 'last' as const, 'both' as const),
    }),
  })
  .map(({ at, ...rest }) => ({ ...at, ...rest }));

/** The moments at which a wall time runs. */
function momentsOf(wall: Temporal.PlainDateTime, zone: string, everyHour: boolean, { gap, repeat }: DstPolicy): number[] {
  const at = (disambiguation: 'earlier' | 'later') => wall.toZonedDateTime(zone, { disambiguation });
  const [first, last] = [at('earlier'), at('later')];
  if (!last.toPlainDateTime().equals(wall)) return gap === 'skip' ? [] : [last.epochMilliseconds];
  const which = repeat ?? (everyHour ? 'both' : 'first');
  const both = [first.epochMilliseconds, last.epochMilliseconds];
  return which === 'both' ? both : which === 'first' ? [both[0]!] : [both[1]!];
}

function expected({ zone, change, schedules, policy }: Case): string[] {
  const middle = Temporal.Instant.fromEpochMilliseconds(change.at * 1_000)
    .toZonedDateTimeISO(zone)
    .toPlainDate();
  const found = new Set<number>();
  for (const day of [-2, -1, 0, 1, 2].map((days) => middle.add({ days })))
    for (const { hours: on, minutes } of schedules.filter(
      (each) => each.weekdays.length === 0 || each.weekdays.includes(day.dayOfWeek % 7),
    ))
      for (const hour of on === 'every' ? Array.from({ length: 24 }, (_, index) => index) : on)
        for (const minute of minutes)
          for (const moment of momentsOf(day.toPlainDateTime({ hour, minute }), zone, on === 'every' || on.length === 24, policy))
            found.add(moment);
  const [from, to] = around(change);
  return [...found]
    .filter((moment) => moment > from.getTime() && moment <= to.getTime())
    .sort((a, b) => a - b)
    .map(iso);
}
const around = ({ at }: ZoneChange): [Date, Date] => [new Date((at - 100_000) * 1_000), new Date((at + 100_000) * 1_000)];
const iso = (moment: number): string => new Date(moment).toISOString();

test('on days when clocks change every wall time runs as the policy says, in any zone', () => {
  fc.assert(
    fc.property(caseArbitrary, (one) => {
      const calendars = one.schedules.flatMap(({ hours: on, minutes, weekdays: days }) =>
        compileCron(`${minutes.join()} ${on === 'every' ? '*' : on.join()} * * ${days.length === 0 ? '*' : days.join()}`),
      );
      const timing = normaliseTiming({ calendars, intervals: [], timezone: one.zone });
      const [from, to] = around(one.change);
      const runs = nextSlots(timing, from, 100_000, { endAt: to }, one.policy).map((slot) => iso(slot.getTime()));
      assert.deepEqual(runs, expected(one));
      const left = slotsBetween(timing, from, to, 100_000).filter((slot) => runsUnder(timing, slot, one.policy) === null);
      assert.deepEqual(
        left.map((slot) => iso(slot.getTime())),
        runs,
        'a clock that many share fires it too',
      );
    }),
    { numRuns: 1_000 },
  );
});
