/** Business days that leave out the days of a shared calendar: written into the job, and kept true when the calendar changes. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Calendars, createCalendars } from '../../../src/jobs/calendars/calendars.ts';
import { holidayJobsReplan } from '../../../src/jobs/calendars/holiday-jobs.ts';
import type { JobView } from '../../../src/jobs/job-view.ts';
import { ASYNC, actionsOf, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, refused, rows } from '../jobs-under-test.ts';

let it: JobsUnderTest;
let calendars: Calendars;
before(async () => {
  it = await jobsUnderTest();
  calendars = createCalendars({ pool: it.pool });
  await calendars.create(CALLER, {
    name: 'bank',
    dates: [first, `${year + 1}-12-25`],
    ranges: [{ from: `${year + 1}-05-04`, to: `${year + 1}-05-06` }],
  });
});
after(() => it.close());

const year = new Date().getUTCFullYear();
/** The first of next year's February, March or April that is no day of the weekend. */
const first = ['02', '03', '04', '05', '06', '07']
  .map((month) => `${year + 1}-${month}-01`)
  .find((day) => ![0, 6].includes(new Date(day).getUTCDay()))!;
const monthOf = Number(first.slice(5, 7));
const schedule = (more: object = {}) => ({
  calendar: { at: '09:00', businessDays: true, nth: 'first', months: [monthOf], holidays: 'bank', ...more },
  timezone: 'Europe/Berlin',
});
let made = 0;
const document = (more?: object) => ({ name: `bank ${++made}`, target: HTTP_TARGET, schedule: schedule(more) });
const dayOf = (job: Pick<JobView, 'nextRunAt'>) => job.nextRunAt?.slice(0, 10);
const nextDay = (day: string): string => {
  const next = new Date(Date.parse(day) + 86_400_000);
  return [0, 6].includes(next.getUTCDay()) ? nextDay(next.toISOString()) : next.toISOString().slice(0, 10);
};
const replan = (name: string | null) => holidayJobsReplan(it.pool, name === null ? null : { team: 'default', name }, () => assert.fail());

test('a job runs on the first day that is no holiday of the calendar, however it was written', async () => {
  const alone = (await it.jobs.create(CALLER, document(), ASYNC)).value;
  assert.equal(dayOf(alone), nextDay(first));
  const batch = await it.jobs.createMany(CALLER, [document()], 'all', ASYNC);
  assert.equal(dayOf(await it.jobs.get(CALLER, (batch.items[0] as { id: string }).id)), nextDay(first));
  const [rule] = alone.schedule!.calendar!;
  assert.ok(rule!.holidayDates!.includes(first));
  assert.ok(rule!.holidayDates!.includes(`${year + 1}-05-05`), 'ranges too');
  assert.equal(rule!.holidays, 'bank');
  const { runs } = await it.schedules.preview(CALLER, { schedule: schedule(), count: 1 });
  assert.equal(runs[0]!.slot.slice(0, 10), nextDay(first));
});

test('what GET shows can be sent again and changes nothing', async () => {
  const { value, generation } = await it.jobs.create(CALLER, document(), ASYNC);
  const again = await it.schedules.replace(CALLER, value.id, value.schedule, ASYNC);
  assert.equal(again.generation, generation);
  const without = { ...value.schedule!, calendar: value.schedule!.calendar!.map(({ holidayDates: _, ...rule }) => rule) };
  assert.equal((await it.schedules.replace(CALLER, value.id, without, ASYNC)).generation, generation);
});

test('a change of the calendar gives its jobs other dates and clocks something to learn, and leaves all others alone', async () => {
  const job = (await it.jobs.create(CALLER, document(), ASYNC)).value;
  const other = (await it.jobs.create(CALLER, document({ holidays: [first] }), ASYNC)).value;
  assert.equal(await replan('bank'), 0, 'all are right');
  const hash = async () =>
    (
      await rows<{ hash: string; generation: string }>(it.pool, 'SELECT timing_hash AS hash, generation FROM clocks WHERE id = $1', job.id)
    )[0]!;
  const before = await hash();

  await calendars.patch(CALLER, 'bank', { dates: ['12-24', '12-25', '12-26'] });
  assert.ok((await replan('bank')) >= 1);
  const redated = await it.jobs.get(CALLER, job.id);
  assert.equal(dayOf(redated), first);
  assert.equal(redated.generation, job.generation + 1);
  assert.notEqual((await hash()).hash, before.hash);
  assert.ok(Number((await hash()).generation) > Number(before.generation));
  assert.ok((await actionsOf(it.pool, job.id)).includes('job.redated'));
  assert.equal((await it.jobs.get(CALLER, other.id)).generation, 1);
  assert.equal(await replan(null), 0, 'once');

  const later = new Date(Date.UTC(year + 1, 0, 2));
  assert.ok((await holidayJobsReplan(it.pool, null, () => assert.fail(), later)) >= 1, 'another year is written with the year');
  assert.ok((await it.jobs.get(CALLER, job.id)).schedule!.calendar![0]!.holidayDates!.every((day) => day >= `${year + 1}-`));
});

test('a calendar that is counted by must exist, and is not taken away', async () => {
  const { errors } = await refused(it.jobs.create(CALLER, document({ holidays: 'bnak' }), ASYNC), 'invalid', 'invalid_job');
  assert.deepEqual(
    errors?.map(({ path }) => path),
    ['/schedule/calendar/0/holidays'],
  );
  assert.match(errors![0]!.message, /did you mean "bank"/);
  await refused(it.jobs.create(CALLER, document({ holidays: [first], holidayDates: [first] }), ASYNC), 'invalid', 'invalid_job');
  await refused(it.schedules.preview(CALLER, { schedule: schedule({ holidays: 'bnak' }) }), 'invalid', 'invalid_preview');
  await refused(calendars.remove(CALLER, 'bank'), 'conflict', 'calendar_in_use');
});
