import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Calendars, createCalendars } from '../../../src/jobs/calendars/calendars.ts';
import { inTransaction } from '../../../src/postgres.ts';
import { ASYNC, actionsOf, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, refused, rows } from '../jobs-under-test.ts';

let it: JobsUnderTest;
let calendars: Calendars;
before(async () => {
  it = await jobsUnderTest();
  calendars = createCalendars({ pool: it.pool });
});
after(() => it.close());

const DAY_MS = 86_400_000;
const dayAhead = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10);
const DAILY = { cron: '0 12 * * *', timezone: 'UTC' };
const jobWith = async (name: string, schedule: object) =>
  (await it.jobs.create(CALLER, { name, schedule: { ...DAILY, ...schedule }, target: HTTP_TARGET }, ASYNC)).value;
const pathsOf = async (work: Promise<unknown>, code = 'invalid_job') =>
  (await refused(work, 'invalid', code)).errors?.map((error) => error.path);
const zonesOf = (name: string) =>
  rows<{ zone: string; version: string; spans_until: Date }>(
    it.pool,
    'SELECT zone, version, spans_until FROM calendar_zones WHERE calendar = $1 ORDER BY zone',
    name,
  );
const spansOf = (name: string, zone: string) =>
  rows<{ from_at: Date; to_at: Date }>(
    it.pool,
    'SELECT from_at, to_at FROM calendar_spans WHERE calendar = $1 AND zone = $2 ORDER BY from_at',
    name,
    zone,
  );

describe('a calendar', () => {
  test('is made, read, changed, listed and taken away, each version kept and each change told', async () => {
    const made = await calendars.create(CALLER, { name: 'life', description: 'd', dates: ['2026-12-24'] });
    assert.deepEqual([made.generation, made.value.dates], [1, ['2026-12-24']]);
    await refused(calendars.create(CALLER, { name: 'life', dates: ['2026-12-24'] }), 'conflict', 'name_taken');
    assert.equal((await calendars.upsert(CALLER, 'life', { ...made.value })).generation, 1, 'what GET returned changes nothing');
    assert.equal((await calendars.patch(CALLER, 'life', { dates: ['12-24'], description: null })).generation, 2);
    await refused(
      calendars.patch(CALLER, 'life', { dates: ['12-25'] }, { ifMatch: (version) => version === 1 }),
      'precondition',
      'version_mismatch',
    );
    assert.deepEqual(await pathsOf(calendars.patch(CALLER, 'life', { name: 'other' }), 'invalid_calendar'), ['/name']);
    const { items } = await calendars.versions(CALLER, 'life', { limit: 10 });
    assert.deepEqual(
      items.map((each) => [each.version, each.document.dates]),
      [
        [2, ['12-24']],
        [1, ['2026-12-24']],
      ],
    );
    assert.deepEqual((await calendars.version(CALLER, 'life', 1)).document, { name: 'life', description: 'd', dates: ['2026-12-24'] });
    const [listed] = (await calendars.list(CALLER, { limit: 10 })).items;
    assert.deepEqual([listed!.name, listed!.version, listed!.parts, listed!.jobs], ['life', 2, ['dates'], 0]);
    await calendars.remove(CALLER, 'life');
    await refused(calendars.get(CALLER, 'life'), 'not_found', 'calendar_not_found');
    assert.equal((await calendars.versions(CALLER, 'life', { limit: 10 })).items.length, 2, 'what was is kept');
    assert.equal((await calendars.create(CALLER, { name: 'life', dates: ['12-25'] })).generation, 3, 'a name that comes back goes on');
    assert.deepEqual(await actionsOf(it.pool, 'life'), ['calendar.created', 'calendar.updated', 'calendar.deleted', 'calendar.created']);
    const [changed] = await rows<{ before: { dates: string[] }; after: { dates: string[] } }>(
      it.pool,
      `SELECT before, after FROM audit_events WHERE action = 'calendar.updated' AND subject_id = 'life'`,
    );
    assert.deepEqual([changed!.before.dates, changed!.after.dates], [['2026-12-24'], ['12-24']]);
  });

  test('belongs to its team', async () => {
    await calendars.create(CALLER, { name: 'ours', dates: ['12-24'] });
    const other = { ...CALLER, team: 'other' };
    await refused(calendars.get(other, 'ours'), 'not_found', 'calendar_not_found');
    await refused(calendars.remove(other, 'ours'), 'not_found', 'calendar_not_found');
    assert.deepEqual((await calendars.list(other, { limit: 10 })).items, []);
    assert.deepEqual(
      await pathsOf(it.jobs.create(other, { name: 'a', schedule: { ...DAILY, exclude: ['ours'] }, target: HTTP_TARGET }, ASYNC)),
      ['/schedule/exclude/0'],
    );
  });

  test('is refused with the place and the cure', async () => {
    const wrong = (document: object) => pathsOf(calendars.create(CALLER, { name: 'wrong', ...document }), 'invalid_calendar');
    assert.deepEqual(await wrong({ dates: ['2026-02-31', '12-24', '02-30'] }), ['/dates/0', '/dates/2']);
    assert.deepEqual(await wrong({ ranges: [{ from: '1999-01-01', to: '2099-12-31' }] }), ['/ranges/0/to'], 'a hundred years');
    assert.deepEqual(await wrong({ ranges: [{ from: '2026-01-02', to: '2026-01-01' }] }), ['/ranges/0/to']);
    assert.deepEqual(await wrong({ ranges: [{ from: '2026-01-01T10:00Z', to: '2026-01-02' }] }), ['/ranges/0/from']);
    assert.deepEqual(
      await wrong({ weekly: [{ days: ['monday'] }, { days: ['mon'], from: '25:00', to: '26:00' }, { days: ['mon'], from: '09:00' }] }),
      ['/weekly/0/days/0', '/weekly/1/from', '/weekly/1/to', '/weekly/2/to'],
    );
    assert.deepEqual(await wrong({ holidays: [{ country: 'DX' }, { country: 'DE', region: 'XX' }] }), [
      '/holidays/0/country',
      '/holidays/1/region',
    ]);
    assert.deepEqual(await wrong({ ics: 'nonsense' }), ['/ics']);
    assert.deepEqual(await wrong({ date: ['12-24'] }), ['/date']);
    assert.deepEqual(await wrong({}), ['']);
    assert.deepEqual(await wrong({ dates: ['12-24'], name: 'a/b' }), ['/name']);
  });

  test('takes the events of a file beside what it has, in place of those of the file before', async () => {
    const file = (day: string) =>
      `BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:${day}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n`;
    assert.equal((await calendars.importIcs(CALLER, 'file', file('20270101'))).created, true);
    await calendars.patch(CALLER, 'file', { dates: ['2027-03-01'] });
    const { value, generation } = await calendars.importIcs(CALLER, 'file', file('20270201'));
    assert.deepEqual([generation, value.dates], [3, ['2027-03-01']]);
    const days = await calendars.days(CALLER, 'file', 'UTC', Date.UTC(2026, 11) / 1_000, Date.UTC(2027, 11) / 1_000);
    assert.deepEqual(
      days.map(({ fromS }) => new Date(fromS * 1_000).toISOString().slice(0, 10)),
      ['2027-02-01', '2027-03-01'],
    );
    assert.equal((await calendars.importIcs(CALLER, 'file', file('20270201'))).generation, 3);
  });
});

describe('a job that names calendars', () => {
  test('is refused for one that does not exist, on every way a job is written, and told the nearest', async () => {
    await calendars.create(CALLER, { name: 'holidays', dates: [dayAhead(2)] });
    const document = (name: string, exclude: string[]) => ({ name, schedule: { ...DAILY, exclude }, target: HTTP_TARGET });
    const error = await refused(it.jobs.create(CALLER, document('a', ['holidays', 'holydays']), ASYNC), 'invalid', 'invalid_job');
    assert.deepEqual(
      error.errors?.map(({ path, code }) => [path, code]),
      [['/schedule/exclude/1', 'unknown_calendar']],
    );
    assert.match(error.message, /"holydays", did you mean "holidays"\?/);
    await it.jobs.create(CALLER, document('a', ['holidays']), ASYNC);
    assert.deepEqual(await pathsOf(it.jobs.patch(CALLER, 'a', { schedule: { include: ['none'] } }, ASYNC)), ['/schedule/include/0']);
    assert.deepEqual(await pathsOf(it.schedules.replace(CALLER, 'a', { ...DAILY, exclude: ['none'] }, ASYNC), 'invalid_schedule'), [
      '/exclude/0',
    ]);
    assert.deepEqual(await pathsOf(it.schedules.preview(CALLER, { schedule: { ...DAILY, exclude: ['none'] } }), 'invalid_preview'), [
      '/schedule/exclude/0',
    ]);
    const batch = await it.jobs.createMany(CALLER, [document('b', ['none']), document('c', ['holidays'])], 'each', ASYNC);
    assert.deepEqual(
      batch.items.map((item) => [item.status, 'errors' in item ? item.errors[0]?.path : null]),
      [
        [422, '/jobs/0/schedule/exclude/0'],
        [201, null],
      ],
    );
    assert.deepEqual(
      await pathsOf(it.jobs.createMany(CALLER, [document('d', ['none']), document('e', ['holidays'])], 'all', ASYNC), 'invalid_batch'),
      ['/jobs/0/schedule/exclude/0'],
    );
    await refused(it.jobs.get(CALLER, 'e'), 'not_found', 'job_not_found');
  });

  test('fires more than once: a single run has its own time, which no calendar moves', async () => {
    const once = { at: new Date(Date.now() + DAY_MS).toISOString(), exclude: ['holidays'] };
    assert.deepEqual(await pathsOf(it.jobs.create(CALLER, { name: 'once', schedule: once, target: HTTP_TARGET }, ASYNC)), [
      '/schedule/exclude',
    ]);
  });

  test('has its days in its zone when it is written, for more than 400 days', async () => {
    const day = dayAhead(30);
    await calendars.create(CALLER, { name: 'zones', dates: [day] });
    assert.deepEqual(await zonesOf('zones'), []);
    await jobWith('zones-1', { exclude: ['zones'], timezone: 'Asia/Tokyo' });
    await it.jobs.createMany(
      CALLER,
      [{ name: 'zones-2', schedule: { ...DAILY, include: ['zones'], timezone: 'Asia/Kathmandu' }, target: HTTP_TARGET }],
      'all',
      ASYNC,
    );
    const zones = await zonesOf('zones');
    assert.deepEqual(
      zones.map(({ zone }) => zone),
      ['Asia/Kathmandu', 'Asia/Tokyo'],
    );
    assert.ok(zones.every(({ spans_until: until }) => until.getTime() > Date.now() + 400 * DAY_MS));
    const midnight = Date.parse(`${day}T00:00:00Z`);
    assert.deepEqual(
      (await spansOf('zones', 'Asia/Tokyo')).map((span) => [span.from_at.getTime(), span.to_at.getTime()]),
      [[midnight - 9 * 3_600_000, midnight + 15 * 3_600_000]],
    );
    await it.schedules.replace(CALLER, 'zones-1', { ...DAILY, exclude: ['zones'], timezone: 'UTC' }, ASYNC);
    assert.deepEqual(
      (await spansOf('zones', 'UTC')).map((span) => span.from_at.getTime()),
      [midnight],
    );
  });

  test('knows at once when it runs next, and shows the runs that its calendars leave', async () => {
    await calendars.create(CALLER, { name: 'soon', dates: [0, 1, 2, 3, 5].map(dayAhead) });
    const job = await jobWith('soon-1', { exclude: ['soon'] });
    const noon = (days: number) => `${dayAhead(days)}T12:00:00Z`;
    assert.deepEqual([job.nextRunAt, job.nextRuns], [noon(4), [4, 6, 7, 8, 9].map(noon)]);
    assert.deepEqual((await it.jobs.get(CALLER, job.id)).nextRuns, job.nextRuns);
    const [row] = await rows<{ unsure: boolean; next: Date }>(
      it.pool,
      'SELECT next_run_unsure AS unsure, next_run_at AS next FROM job_runtime WHERE job_id = $1',
      job.id,
    );
    assert.deepEqual([row!.unsure, row!.next.toISOString().replace('.000Z', 'Z')], [false, noon(4)]);
    assert.deepEqual(
      (await it.jobs.patch(CALLER, 'soon-1', { schedule: { exclude: null, include: ['soon'] } }, ASYNC)).value.nextRuns.slice(-1),
      [noon(5)],
    );
    await it.jobs.createMany(CALLER, [{ name: 'soon-2', schedule: { ...DAILY, exclude: ['soon'] }, target: HTTP_TARGET }], 'all', ASYNC);
    assert.equal((await it.jobs.get(CALLER, 'soon-2')).nextRunAt, noon(4));
    assert.equal((await it.schedules.get(CALLER, 'soon-2')).value.nextRuns[0], noon(4));
  });

  test('whose every slot is stopped is no finished job: it runs when its calendars are known again', async () => {
    await calendars.create(CALLER, { name: 'always', weekly: [{ days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] }] });
    const job = await jobWith('never', { exclude: ['always'] });
    assert.deepEqual([job.state, job.nextRuns], ['active', []]);
    assert.ok(Date.parse(job.nextRunAt!) > Date.now() + 400 * DAY_MS);
  });

  test('is previewed with what is stopped, by which calendar', async () => {
    await calendars.create(CALLER, { name: 'weekend', weekly: [{ days: ['sat', 'sun'] }] });
    const preview = await it.schedules.preview(CALLER, {
      schedule: { ...DAILY, exclude: ['weekend'] },
      count: 2,
      from: '2026-11-20T13:00:00Z',
    });
    assert.deepEqual(
      preview.runs.map(({ slot }) => slot),
      ['2026-11-23T12:00:00Z', '2026-11-24T12:00:00Z'],
    );
    assert.deepEqual(
      preview.excluded.map(({ slot, calendar }) => `${slot} ${calendar}`),
      ['2026-11-21T12:00:00Z weekend', '2026-11-22T12:00:00Z weekend'],
    );
    const never = await it.schedules.preview(CALLER, {
      schedule: { cron: '0 12 * * 6', exclude: ['weekend'] },
      count: 2,
      from: '2026-11-20T13:00:00Z',
    });
    assert.deepEqual([never.runs.length, never.warnings.map(({ kind }) => kind)], [0, ['calendar']]);
    assert.ok(never.excluded.length > 50);
  });

  test('keeps its calendar from being removed, as long as it is there', async () => {
    await calendars.create(CALLER, { name: 'used', dates: ['12-24'] });
    await jobWith('user', { exclude: ['used'] });
    const error = await refused(calendars.remove(CALLER, 'used'), 'conflict', 'calendar_in_use');
    assert.match(error.message, /1 job names it: "user"/);
    await it.jobs.remove(CALLER, 'user', ASYNC);
    await calendars.remove(CALLER, 'used');
    assert.deepEqual(await zonesOf('used'), []);
  });

  test('never names a calendar that somebody removes at the same moment', async () => {
    for (let round = 1; round <= 10; round += 1) {
      const name = `race-${round}`;
      await calendars.create(CALLER, { name, dates: ['12-24'] });
      await Promise.allSettled([
        ...[1, 2, 3].map((nth) => jobWith(`${name}-${nth}`, { exclude: [name] })),
        calendars.remove(CALLER, name),
        it.jobs.createMany(CALLER, [{ name: `${name}-batch`, schedule: { ...DAILY, include: [name] }, target: HTTP_TARGET }], 'all', ASYNC),
      ]);
    }
    const dangling = await rows(
      it.pool,
      `SELECT r.job_name FROM job_runtime r, unnest(coalesce(include_calendars, '{}') || coalesce(exclude_calendars, '{}')) AS u (name)
        WHERE u.name LIKE 'race-%' AND NOT EXISTS (SELECT 1 FROM calendars c WHERE c.name = u.name AND c.deleted_at IS NULL)`,
    );
    assert.deepEqual(dangling, []);
  });

  test('does not begin to read a calendar in a zone while that is being changed', async () => {
    await calendars.create(CALLER, { name: 'held', dates: [dayAhead(10)] });
    let creation: Promise<unknown> = Promise.resolve();
    let created = false;
    await inTransaction(it.pool, async (tx) => {
      await tx.query(`SELECT 1 FROM calendars WHERE name = 'held' FOR UPDATE`);
      creation = jobWith('held-1', { exclude: ['held'] }).then(() => {
        created = true;
      });
      await waitingForLock();
      assert.equal(created, false);
    });
    await creation;
    assert.equal((await zonesOf('held')).length, 1);
  });
});

async function waitingForLock(): Promise<void> {
  for (const until = Date.now() + 8_000; ; ) {
    assert.ok(Date.now() < until, 'nobody waits for a lock');
    const [row] = await rows<{ count: string }>(it.pool, `SELECT count(*) FROM pg_locks WHERE NOT granted`);
    if (Number(row!.count) > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
