import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Calendars, createCalendars } from '../../../src/jobs/calendars/calendars.ts';
import { holidayJobsReplan } from '../../../src/jobs/calendars/holiday-jobs.ts';
import { nextRunsTake } from '../../../src/jobs/calendars/next-runs.ts';
import { calendarJobsMark, calendarReplanned, calendarsToReplan, zoneKeep, zonesToKeep } from '../../../src/jobs/calendars/span-keeping.ts';
import { inTransaction } from '../../../src/postgres.ts';
import { ASYNC, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, rows } from '../jobs-under-test.ts';

let it: JobsUnderTest;
let calendars: Calendars;
before(async () => {
  it = await jobsUnderTest();
  calendars = createCalendars({ pool: it.pool });
});
after(() => it.close());

const DAY_MS = 86_400_000;
const dayAhead = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10);
const noon = (days: number) => `${dayAhead(days)}T12:00:00Z`;
const documentOf = (name: string, schedule: object) => ({ name, schedule: { cron: '0 12 * * *', ...schedule }, target: HTTP_TARGET });
const jobWith = async (name: string, schedule: object) => (await it.jobs.create(CALLER, documentOf(name, schedule), ASYNC)).value;
const nextRunOf = async (id: string) => (await it.jobs.get(CALLER, id)).nextRunAt;
/** What the controller's loop does in its passes. */
async function settle(): Promise<number> {
  for (const calendar of await calendarsToReplan(it.pool, 100)) {
    await calendarJobsMark(it.pool, calendar);
    await calendarReplanned(it.pool, calendar);
  }
  let settled = 0;
  for (let some = 1; some > 0; settled += some) some = await inTransaction(it.pool, (tx) => nextRunsTake(tx, 200));
  return settled;
}

describe('a change of a calendar', () => {
  test('is shown before it is saved: which slots of which jobs begin and cease to run', async () => {
    await calendars.create(CALLER, { name: 'shown', dates: [dayAhead(3), dayAhead(200)] });
    const excluding = await jobWith('shown-out', { exclude: ['shown'] });
    const including = await jobWith('shown-in', { include: ['shown'] });
    await jobWith('shown-both', { include: ['shown'], exclude: ['shown'] });
    await jobWith('elsewhere', {});
    const dry = await calendars.patch(CALLER, 'shown', { dates: [dayAhead(4), dayAhead(300)] }, { dryRun: true });
    const { items, ...totals } = dry.replan!;
    assert.deepEqual([dry.generation, dry.value.dates], [1, [dayAhead(4), dayAhead(300)]]);
    assert.deepEqual(totals, { until: totals.until, jobs: 3, affectedJobs: 2, added: 2, removed: 2, complete: true });
    assert.deepEqual(items, [
      { jobId: including.id, jobName: 'shown-in', added: 1, addedSlots: [noon(4)], removed: 1, removedSlots: [noon(3)] },
      { jobId: excluding.id, jobName: 'shown-out', added: 1, addedSlots: [noon(3)], removed: 1, removedSlots: [noon(4)] },
    ]);
    assert.equal((await calendars.get(CALLER, 'shown')).generation, 1, 'nothing was saved');
    const same = await calendars.upsert(CALLER, 'shown', { dates: [dayAhead(3), dayAhead(200)] }, { dryRun: true });
    assert.deepEqual([same.replan!.affectedJobs, same.replan!.items], [0, []]);
  });

  test('is shown for business days that are counted by it, too', async () => {
    const at = (month: number, day: number) => new Date(Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth() + month, day));
    const isFree = (day: Date) => [0, 6].includes(day.getUTCDay());
    const later = (day: Date, days: number): Date => new Date(day.getTime() + days * DAY_MS);
    const businessDay = (day: Date): Date => (isFree(day) ? businessDay(later(day, 1)) : day);
    const first = businessDay(at(1, 1));
    const second = businessDay(later(first, 1));
    const nine = (day: Date) => `${day.toISOString().slice(0, 10)}T09:00:00Z`;
    await calendars.create(CALLER, { name: 'bank', dates: ['2020-01-01'] });
    const rule = { at: '09:00', businessDays: true, nth: 'first', months: [first.getUTCMonth() + 1], holidays: 'bank' };
    const job = await jobWith('first-business-day', { cron: undefined, calendar: rule });
    assert.equal(job.nextRunAt, nine(first));
    const dates = { dates: [first.toISOString().slice(0, 10)] };
    const { replan } = await calendars.patch(CALLER, 'bank', dates, { dryRun: true });
    assert.deepEqual(replan!.items, [
      { jobId: job.id, jobName: 'first-business-day', added: 1, addedSlots: [nine(second)], removed: 1, removedSlots: [nine(first)] },
    ]);
    assert.equal((await calendars.list(CALLER, { limit: 100 })).items.find(({ name }) => name === 'bank')?.jobs, 1);
    await calendars.patch(CALLER, 'bank', dates);
    assert.equal(await holidayJobsReplan(it.pool, { team: 'default', name: 'bank' }, () => assert.fail()), 1);
    assert.equal(await nextRunOf(job.id), nine(second));
  });

  test('that comes while a job is written is in the job', async () => {
    await calendars.create(CALLER, { name: 'meanwhile', dates: ['2020-01-01'] });
    const rule = { at: '09:00', businessDays: true, holidays: 'meanwhile' };
    const day = [1, 2, 3].map((days) => new Date(Date.now() + days * DAY_MS)).find((each) => ![0, 6].includes(each.getUTCDay()))!;
    const date = day.toISOString().slice(0, 10);
    let writing: Promise<unknown>[] = [];
    await inTransaction(it.pool, async (tx) => {
      await tx.query(`UPDATE calendars SET version = version + 1, document = $1 WHERE name = 'meanwhile'`, [
        JSON.stringify({ name: 'meanwhile', dates: [date] }),
      ]);
      writing = [
        jobWith('meanwhile-1', { cron: undefined, calendar: rule }),
        it.jobs.createMany(CALLER, [documentOf('meanwhile-2', { cron: undefined, calendar: rule })], 'all', ASYNC),
      ];
      for (let waiting = 0, until = Date.now() + 8_000; waiting < 2; ) {
        assert.ok(Date.now() < until, 'both wait for the calendar');
        waiting = (await rows(it.pool, 'SELECT 1 FROM pg_locks WHERE NOT granted')).length;
      }
    });
    await Promise.all(writing);
    for (const name of ['meanwhile-1', 'meanwhile-2'])
      assert.deepEqual((await it.jobs.get(CALLER, name)).schedule!.calendar![0]!.holidayDates, [date], name);
  });

  test('counts no more than a thousand slots of a job, and says so', async () => {
    await calendars.create(CALLER, { name: 'seconds', dates: [dayAhead(3)] });
    await jobWith('every-second', { cron: undefined, every: '1s', exclude: ['seconds'] });
    const { replan } = await calendars.patch(CALLER, 'seconds', { dates: [dayAhead(4)] }, { dryRun: true });
    assert.deepEqual([replan!.added, replan!.removed, replan!.complete, replan!.items[0]!.addedSlots.length], [1_000, 1_000, false, 5]);
  });

  test('is true for admit in all zones at once, and for the next runs of its jobs a moment later', async () => {
    await calendars.create(CALLER, { name: 'saved', dates: [dayAhead(0), dayAhead(1)] });
    const job = await jobWith('saved-1', { exclude: ['saved'] });
    const paused = await jobWith('saved-paused', { exclude: ['saved'], timezone: 'Asia/Tokyo' });
    await it.schedules.pause(CALLER, paused.id, {}, ASYNC);
    assert.equal(job.nextRunAt, noon(2));
    await calendars.patch(CALLER, 'saved', { dates: [dayAhead(2), dayAhead(3)] });
    const spans = await rows<{ zone: string; days: string }>(
      it.pool,
      `SELECT zone, string_agg(((from_at AT TIME ZONE zone)::date)::text || ' ' || version, ' ') AS days
         FROM calendar_spans s JOIN calendar_zones z USING (team, calendar, zone) WHERE calendar = 'saved' GROUP BY zone ORDER BY zone`,
    );
    assert.deepEqual(spans, [
      { zone: 'Asia/Tokyo', days: `${dayAhead(2)} 2` },
      { zone: 'UTC', days: `${dayAhead(2)} 2` },
    ]);
    assert.ok((await settle()) >= 2);
    const next = await nextRunOf(job.id);
    assert.ok(next === noon(0) || next === noon(1), String(next));
    assert.equal(await nextRunOf(paused.id), null, 'a paused job has no next run');
    assert.equal(await settle(), 0, 'all is certain now');
    assert.deepEqual(await calendarsToReplan(it.pool, 10), []);
  });

  test('leaves a job that somebody writes just now to the next look', async () => {
    await calendars.create(CALLER, { name: 'busy', dates: [dayAhead(1)] });
    const job = await jobWith('busy-1', { exclude: ['busy'] });
    await it.pool.query('UPDATE job_runtime SET next_run_unsure = true WHERE job_id = $1', [job.id]);
    await inTransaction(it.pool, async (tx) => {
      await tx.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [job.id]);
      assert.equal(await inTransaction(it.pool, (other) => nextRunsTake(other, 10)), 0);
    });
    assert.equal(await settle(), 1);
  });

  test('keeps a slot that is due and undecided as the next one, unless a calendar stops it', async () => {
    await calendars.create(CALLER, { name: 'due', dates: ['2020-01-01', dayAhead(0)] });
    const job = await jobWith('due-1', { cron: '* * * * *', exclude: ['due'] });
    const minutesAgo = new Date(Math.floor(Date.now() / 60_000 - 3) * 60_000);
    const unsure = (exclude: string[] | null) =>
      it.pool.query(
        'UPDATE job_runtime SET next_run_unsure = true, next_run_at = $2, exclude_calendars = $3, calendar_zone = $4 WHERE job_id = $1',
        [job.id, minutesAgo, exclude, exclude && 'UTC'],
      );
    await unsure(null);
    await settle();
    assert.equal(Date.parse((await nextRunOf(job.id))!), minutesAgo.getTime());
    await unsure(['due']);
    await settle();
    assert.equal(
      await nextRunOf(job.id),
      `${new Date(Math.ceil((Date.now() + 1) / DAY_MS) * DAY_MS).toISOString().slice(0, 10)}T00:00:00Z`,
    );
  });
});

describe('stretches', () => {
  const zonesOf = (name: string) =>
    rows<{ zone: string; spans_from: Date; spans_until: Date }>(
      it.pool,
      'SELECT zone, spans_from, spans_until FROM calendar_zones WHERE calendar = $1 ORDER BY zone',
      name,
    );
  const keep = async () => {
    for (const zone of await zonesToKeep(it.pool, 100)) await zoneKeep(it.pool, zone);
  };

  test('are kept more than 400 days ahead, and those who run behind their end are looked at again', async () => {
    await calendars.create(CALLER, {
      name: 'kept',
      dates: [dayAhead(410)],
      weekly: [{ days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'], from: '00:00', to: '23:59' }],
    });
    const job = await jobWith('kept-1', { exclude: ['kept'] });
    await keep();
    // as if 40 days had passed
    await it.pool.query(
      `UPDATE calendar_zones SET spans_from = spans_from - interval '40 days', spans_until = spans_until - interval '40 days' WHERE calendar = 'kept'`,
    );
    await it.pool.query(`DELETE FROM calendar_spans WHERE calendar = 'kept' AND from_at > now() + interval '390 days'`);
    assert.deepEqual(
      (await zonesToKeep(it.pool, 10)).map(({ calendar }) => calendar),
      ['kept'],
    );
    await keep();
    const [zone] = await zonesOf('kept');
    assert.ok(zone!.spans_until.getTime() > Date.now() + 400 * DAY_MS && zone!.spans_from.getTime() < Date.now() - 30 * DAY_MS);
    const [last] = await rows<{ last: Date }>(it.pool, `SELECT max(to_at) AS last FROM calendar_spans WHERE calendar = 'kept'`);
    assert.ok(last!.last.getTime() > Date.now() + 400 * DAY_MS);
    const [row] = await rows<{ unsure: boolean }>(it.pool, 'SELECT next_run_unsure AS unsure FROM job_runtime WHERE job_id = $1', job.id);
    assert.equal(row!.unsure, true);
    assert.deepEqual(await zonesToKeep(it.pool, 10), []);
  });

  test('go when no job reads them in their zone any more, as soon as they would have to be written anew', async () => {
    await calendars.create(CALLER, { name: 'left', dates: [dayAhead(10)] });
    await jobWith('left-1', { exclude: ['left'], timezone: 'Asia/Tokyo' });
    await jobWith('left-2', { exclude: ['left'], timezone: 'Europe/Paris' });
    await it.jobs.patch(CALLER, 'left-1', { schedule: { exclude: null } }, ASYNC);
    await it.pool.query(`UPDATE calendar_zones SET spans_until = now() WHERE calendar = 'left'`);
    await keep();
    assert.deepEqual(
      (await zonesOf('left')).map(({ zone }) => zone),
      ['Europe/Paris'],
    );
    assert.equal((await rows(it.pool, `SELECT 1 FROM calendar_spans WHERE calendar = 'left' AND zone = 'Asia/Tokyo'`)).length, 0);
  });

  test('that are of another version than the calendar are written anew', async () => {
    await calendars.create(CALLER, { name: 'stale', dates: [dayAhead(10)] });
    await jobWith('stale-1', { exclude: ['stale'] });
    await it.pool.query(`UPDATE calendar_zones SET version = 0 WHERE calendar = 'stale'`);
    await it.pool.query(`DELETE FROM calendar_spans WHERE calendar = 'stale'`);
    await keep();
    assert.equal((await rows(it.pool, `SELECT 1 FROM calendar_spans WHERE calendar = 'stale'`)).length, 1);
  });
});
