import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Calendar, compileCron } from '../../../src/jobs/time/cron.ts';
import { type Field, valuesOf } from '../../../src/jobs/time/ranges.ts';

const only = (text: string): Calendar => {
  const [calendar, ...more] = compileCron(text);
  assert.equal(more.length, 0, `${text} is one calendar`);
  return calendar!;
};
const values = (text: string, field: Field) => valuesOf(only(text)[field]);

test('five fields begin with the minute and fire at second 0; six begin with the second', () => {
  assert.deepEqual(values('5 2 * * *', 'second'), [0]);
  assert.deepEqual(values('5 2 * * *', 'minute'), [5]);
  assert.deepEqual(values('7 5 2 * * *', 'second'), [7]);
  assert.deepEqual(values('7 5 2 * * *', 'minute'), [5]);
  assert.deepEqual(values('0 0 * * MON#'.replace('#', ''), 'dayOfWeek'), [1]);
});

test('every range has an explicit end and step, 0 included', () => {
  for (const ranges of Object.values(only('0 0 * * *')))
    for (const range of ranges) assert.deepEqual(Object.keys(range), ['start', 'end', 'step']);
  assert.deepEqual(only('0 0 * * *').hour, [{ start: 0, end: 0, step: 1 }]);
});

test('lists, steps, ranges and names mean what crontab says', () => {
  assert.deepEqual(values('*/20 * * * *', 'minute'), [0, 20, 40]);
  assert.deepEqual(values('5/20 * * * *', 'minute'), [5, 25, 45]);
  assert.deepEqual(values('1-10/3,50 * * * *', 'minute'), [1, 4, 7, 10, 50]);
  assert.deepEqual(values('0 0 * jan,Mar-MAY *', 'month'), [1, 3, 4, 5]);
  assert.deepEqual(values('0 0 * * mon-fri', 'dayOfWeek'), [1, 2, 3, 4, 5]);
  assert.deepEqual(values('0 0 * * 7', 'dayOfWeek'), [0]);
  assert.deepEqual(values('0 0 * * 5-7', 'dayOfWeek'), [0, 5, 6]);
  assert.deepEqual(values('0 0 * * FRI-SUN', 'dayOfWeek'), [0, 5, 6]);
  assert.deepEqual(values('0 0 * * 0-7', 'dayOfWeek'), [0, 1, 2, 3, 4, 5, 6]);
  assert.deepEqual(values('0 0 ? * MON', 'dayOfMonth').length, 31);
  assert.deepEqual(compileCron('  0   2 *\t* * '), compileCron('0 2 * * *'));
});

test('aliases stand for their crontab texts', () => {
  const aliases = {
    '@hourly': '0 * * * *',
    '@daily': '0 0 * * *',
    '@midnight': '0 0 * * *',
    '@weekly': '0 0 * * 0',
    '@monthly': '0 0 1 * *',
    '@yearly': '0 0 1 1 *',
    '@annually': '0 0 1 1 *',
  };
  for (const [alias, text] of Object.entries(aliases)) assert.deepEqual(compileCron(alias), compileCron(text), alias);
  assert.deepEqual(compileCron('@Daily'), compileCron('@daily'));
});

test('day of month and day of week both restricted mean either of them', () => {
  const either = compileCron('0 0 13 * FRI');
  assert.deepEqual(
    either.map((calendar) => [valuesOf(calendar.dayOfMonth).length, valuesOf(calendar.dayOfWeek).length]),
    [
      [1, 7],
      [31, 1],
    ],
  );
  // crontab(5): a field that begins with * is not restricted, so that the two are ANDed.
  const both = only('0 0 */2 * MON');
  assert.deepEqual([valuesOf(both.dayOfMonth).length, valuesOf(both.dayOfWeek)], [16, [1]]);
  // The half that never comes is dropped; the other half fires.
  assert.deepEqual(compileCron('0 0 31 2 MON'), compileCron('0 0 * 2 MON'));
});

test('what is misread elsewhere, out of range or never fires is refused with the cure', () => {
  const cures: [string, RegExp][] = [
    ['0 0 * * MON#1', /"#".*not supported; write the days/],
    ['0 0 L * *', /"L".*not supported; write the days/],
    ['0 0 * * 5L', /"L"/],
    ['0 0 15W * *', /"W".*MON-FRI/],
    ['0 0 LW * *', /"L"/],
    ['H 0 * * *', /"H".*use jitter/],
    ['0 0 0 1 1 * 2027', /7 fields.*startAt and endAt/],
    ['0 0 * *', /has 4 fields; write 5/],
    ['nonsense', /has 1 field; write 5/],
    ['CRON_TZ=Europe/Berlin 0 0 * * *', /use timezone/],
    ['TZ=UTC 0 0 * * *', /use timezone/],
    ['@every 5m', /use every/],
    ['@reboot', /not when a machine starts/],
    ['@dayly', /not a known alias; write one of @hourly/],
    ['60 * * * *', /60 in its minute, out of range; write 0 to 59/],
    ['* 24 * * *', /24 in its hour.*0 to 23/],
    ['* * 0 * *', /0 in its day of month.*1 to 31/],
    ['* * 32 * *', /32/],
    ['* * * 13 *', /13 in its month.*1 to 12/],
    ['* * * * 8', /8 in its day of week.*0 to 7/],
    ['* * * 0 *', /0 in its month/],
    ['60 * * * * *', /60 in its second/],
    ['0 22-2 * * *', /goes backwards; write "22-23,0-2"/],
    ['0 0 * * FRI-MON', /goes backwards; write "5-6,0-1"/],
    ['0 0 * NOV-FEB *', /write "11-12,1-2"/],
    ['0 0 * * 7-2', /write "0-2"/],
    ['*/0 * * * *', /step 0.*smallest step is 1/],
    ['*/ * * * *', /no number after "\/"/],
    ['*/90 * * * *', /step 90.*use every: 90m/],
    ['1/2/3 * * * *', /more than one "\/"/],
    ['*/x * * * *', /not a whole number/],
    ['/5 * * * *', /no value before "\/".*\*\/5/],
    ['0 0 * * 1/2', /step without a range.*1-6\/2/],
    ['1,,2 * * * *', /empty part.*extra comma/],
    [',1 * * * *', /empty part/],
    ['1- * * * *', /not "from-to"/],
    ['-1 * * * *', /never negative/],
    ['1-2-3 * * * *', /not "from-to"/],
    ['0 0 30 2 *', /never fires/],
    ['0 0 31 2 *', /never fires/],
    ['0 0 31 4,6,9,11 *', /never fires/],
    ['0 0 31 2 */2', /never fires/],
    ['', /empty; write e\.g\./],
    ['MONDAY * * * *', /"MONDAY".*not a number; write 0 to 59/],
    ['0 0 * * MONDAY', /"MONDAY".*SUN to SAT/],
    ['0 0 * * ١', /not a number/],
    [`${'1,'.repeat(400)}1 * * * *`, /at most 500/],
    ['1.5 * * * *', /not a number/],
  ]; // prettier-ignore
  for (const [text, message] of cures) assert.throws(() => compileCron(text), { name: 'CronError', message }, text);
});

test('29 February fires, in leap years', () => {
  assert.deepEqual([values('0 0 29 2 *', 'dayOfMonth'), values('0 0 29 2 *', 'month')], [[29], [2]]);
});

test('no text, however odd, does anything but compile or be refused', () => {
  const piece = fc.constantFrom(
    '*',
    '/',
    '-',
    ',',
    '?',
    '#',
    'L',
    'W',
    '@',
    ' ',
    '0',
    '5',
    '59',
    '60',
    'MON',
    'JAN',
    'SUN',
    '7',
    '\t',
    '%',
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 14 }).map((parts) => parts.join('')),
      (text) => {
        try {
          for (const calendar of compileCron(text)) for (const ranges of Object.values(calendar)) assert.ok(ranges.length > 0);
        } catch (error) {
          assert.equal((error as Error).name, 'CronError', text);
        }
      },
    ),
    { numRuns: 3_000 },
  );
});
