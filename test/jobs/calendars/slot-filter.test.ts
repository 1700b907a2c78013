import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isStopped, nextRunning, rulesOf } from '../../../src/jobs/calendars/slot-filter.ts';
import type { Span } from '../../../src/jobs/calendars/spans.ts';
import { nextSlots } from '../../../src/jobs/time/oracle.ts';
import { scheduleSchema } from '../../../src/jobs/time/schedule-document.ts';
import { timingOf } from '../../../src/jobs/time/timing.ts';

const FROM = new Date('2026-12-01T00:00:00Z');
const TO = new Date('2027-12-01T00:00:00Z');
const at = (text: string) => Date.parse(`2026-12-${text}Z`) / 1_000;
const span = (from: string, to: string): Span => ({ fromS: at(from), toS: at(to) });
const days: [string, Span[]][] = [
  ['second', [span('02T00:00', '03T00:00')]],
  ['third', [span('03T00:00', '04T00:00')]],
  ['mornings', [span('01T00:00', '01T12:00'), span('02T00:00', '02T12:00'), span('03T00:00', '03T12:00')]],
];
const rules = (include: string[] | null, exclude: string[] = []) => rulesOf(include, exclude, new Map(days), FROM, TO);
const timing = (schedule: object) => timingOf(scheduleSchema.parse(schedule), FROM)!;

describe('a slot', () => {
  const stop = (text: string, ...of: Parameters<typeof rules>) => {
    const stopped = isStopped(new Date(at(text) * 1_000), rules(...of));
    return (
      stopped &&
      `${stopped.calendar} until ${stopped.untilS === Number.POSITIVE_INFINITY ? 'ever' : new Date(stopped.untilS * 1_000).toISOString().slice(8, 16)}`
    );
  };

  test('is stopped from the first second of an excluded stretch to the last, and not after', () => {
    assert.deepEqual(
      ['01T23:59:59', '02T00:00:00', '02T23:59:59', '03T00:00:00'].map((text) => stop(text, null, ['second'])),
      [null, 'second until 03T00:00', 'second until 03T00:00', null],
    );
  });

  test('runs inside one of the included calendars, if none that is excluded holds it too', () => {
    assert.equal(stop('01T06:00', ['third', 'mornings']), null);
    assert.equal(stop('01T13:00', ['third', 'mornings']), 'third until 02T00:00');
    assert.equal(stop('03T06:00', ['third', 'mornings'], ['third']), 'third until 04T00:00');
    assert.equal(stop('05T00:00', ['mornings']), 'mornings until ever');
    assert.equal(stop('01T00:00', ['nowhere']), 'nowhere until ever');
    assert.equal(stop('01T00:00', null), null);
  });
});

describe('the next runs', () => {
  const runs = (schedule: object, count: number, ...of: Parameters<typeof rules>) =>
    nextRunning(timing(schedule), FROM, count, {}, {}, rules(...of)).map((run) => run.toISOString().slice(5, 19));

  test('step over what is stopped', () => {
    assert.deepEqual(runs({ cron: '0 */8 * * *' }, 4, null, ['second']), [
      '12-01T08:00:00',
      '12-01T16:00:00',
      '12-03T00:00:00',
      '12-03T08:00:00',
    ]);
    assert.deepEqual(runs({ cron: '0 6 * * *' }, 5, ['mornings'], ['second']), ['12-01T06:00:00', '12-03T06:00:00']);
    assert.deepEqual(runs({ every: '1s' }, 2, ['third']), ['12-03T00:00:00', '12-03T00:00:01']);
    assert.deepEqual(runs({ every: '1s' }, 2, ['nowhere']), []);
    assert.deepEqual(runs({ every: '1s' }, 2, null), ['12-01T00:00:01', '12-01T00:00:02']);
  });

  test('are all the slots that no calendar stops, whatever the calendars look like', () => {
    const timings = [{ every: '1h' }, { every: '37m' }, { cron: '0,30 5-20 * * *' }].map(timing);
    for (let seed = 1; seed <= 60; seed += 1) {
      let state = seed * 7_919;
      const random = (below: number) => {
        state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
        return state % below;
      };
      const spans = (): Span[] => {
        const made: Span[] = [];
        for (let from = FROM.getTime() / 1_000 + random(90_000); made.length < 20; from += 1 + random(90_000)) {
          const toS = from + 1 + random(40_000);
          made.push({ fromS: from, toS });
          from = toS;
        }
        return made;
      };
      const known = new Map([
        ['a', spans()],
        ['b', spans()],
        ['c', spans()],
      ]);
      const some = rulesOf(seed % 3 === 0 ? null : seed % 3 === 1 ? ['a'] : ['a', 'b'], seed % 2 === 0 ? ['c'] : [], known, FROM, TO);
      for (const each of timings) {
        const last = new Date(FROM.getTime() + 15 * 86_400_000);
        const all = nextSlots(each, FROM, 2_000).filter((slot) => slot < last && isStopped(slot, some) === null);
        const found = nextRunning(each, FROM, Math.max(1, all.length), {}, {}, some).filter((slot) => slot < last);
        assert.deepEqual(found, all, `seed ${seed}`);
      }
    }
  });

  test('of a thousand between as many stretches are found in no time', () => {
    const spans = Array.from({ length: 5_000 }, (_, nth) => ({ fromS: at('01T00:00') + nth * 120, toS: at('01T00:00') + nth * 120 + 60 }));
    const every = rulesOf(null, ['a'], new Map([['a', spans]]), FROM, TO);
    const begun = performance.now();
    assert.equal(nextRunning(timing({ every: '1m' }), FROM, 1_000, {}, {}, every).length, 1_000);
    assert.ok(performance.now() - begun < 500, `${performance.now() - begun} ms`);
  });
});
