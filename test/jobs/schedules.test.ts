import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { JobView } from '../../src/jobs/job-view.ts';
import { durationMs } from '../../src/jobs/time/duration.ts';
import {
  ASYNC,
  actionsOf,
  CALLER,
  clockOf,
  HTTP_TARGET,
  type JobsUnderTest,
  jobsUnderTest,
  membersOf,
  refused,
  rows,
} from './jobs-under-test.ts';

let it: JobsUnderTest;
before(async () => {
  it = await jobsUnderTest();
});
after(() => it.close());

const create = async (body: object): Promise<JobView> => (await it.jobs.create(CALLER, { target: HTTP_TARGET, ...body }, ASYNC)).value;
type Range = { from_at: Date; to_at: Date | null; count: number | null; by: string; note: string | null };
const rangesOf = (jobId: string) =>
  rows<Range>(
    it.pool,
    `SELECT from_at, to_at, count, by, note FROM slot_ranges WHERE job_id = $1 AND reason = 'paused' ORDER BY from_at`,
    jobId,
  );

describe('the schedule of a job', () => {
  test('is shown with its next times, in the zone it was written in', async () => {
    const { id } = await create({ name: 'shown', schedule: { cron: '30 2 * * *', timezone: 'Europe/Berlin', jitter: '1m' } });
    const { value, generation } = await it.schedules.get(CALLER, 'shown');
    assert.deepEqual([value.jobId, value.jobName, value.state, generation], [id, 'shown', 'active', 1]);
    assert.deepEqual(value.schedule, { cron: '30 2 * * *', timezone: 'Europe/Berlin', jitter: '1m' });
    assert.equal(value.nextRuns.length, 5);
    assert.equal(Date.parse(value.nextStartAt!) - Date.parse(value.nextRunAt!), durationMs(value.jitterOffset!));
    assert.match(value.jitterOffset ?? '', /^\d+s$|^1m$/);
    assert.equal((await it.schedules.get(CALLER, (await create({ name: 'none' })).id)).value.schedule, null);
    await refused(it.schedules.get(CALLER, 'nobody'), 'not_found', 'job_not_found');
  });

  test('is replaced whole as a new generation, and taken away', async () => {
    const { id } = await create({ name: 'replaced', schedule: { every: '1h' }, deadline: '1h' });
    const replaced = await it.schedules.replace(CALLER, id, { cron: '@daily' }, ASYNC);
    assert.deepEqual([replaced.generation, replaced.value.schedule], [2, { cron: '@daily', timezone: 'UTC' }]);
    assert.equal((await it.schedules.replace(CALLER, id, { timezone: 'utc', cron: '@daily' }, ASYNC)).generation, 2);
    const removed = await it.schedules.remove(CALLER, id, ASYNC);
    assert.deepEqual([removed.generation, removed.value.schedule, removed.value.state, removed.value.nextRuns], [3, null, 'on_demand', []]);
    assert.ok((await clockOf(it.pool, id))?.deleted_at);
    assert.ok((await membersOf(it.pool, id)).every((member) => member.valid_to !== Number.POSITIVE_INFINITY));
    const back = await it.schedules.replace(CALLER, id, { cron: '@daily' }, ASYNC);
    assert.equal(back.value.state, 'active');
    assert.equal((await clockOf(it.pool, id))?.deleted_at, null);
    const { document } = await it.jobs.revision(CALLER, id, 2);
    assert.equal(JSON.stringify(document), JSON.stringify((await it.jobs.revision(CALLER, id, 4)).document));
  });

  test('is refused with paths into the block that was sent', async () => {
    const { id } = await create({ name: 'refusing' });
    const syntax = await refused(it.schedules.replace(CALLER, id, { cron: 'x', foo: 1 }, ASYNC), 'invalid', 'invalid_schedule');
    assert.deepEqual(
      syntax.errors?.map((error) => error.path),
      ['/cron', '/foo'],
    );
    const past = await refused(it.schedules.replace(CALLER, id, { at: '2020-01-01T00:00:00Z' }, ASYNC), 'invalid', 'invalid_schedule');
    assert.deepEqual(
      past.errors?.map((error) => error.path),
      ['/at'],
    );
    const stale = it.schedules.replace(CALLER, id, { every: '1m' }, { ifMatch: () => false });
    await refused(stale, 'precondition', 'generation_mismatch');
  });
});

describe('a pause', () => {
  test('opens a stretch, and resuming ends it with the slots that lie in it', async () => {
    const { id } = await create({ name: 'pausing', dispatch: 'dedicated', schedule: { every: '1s' } });
    const paused = await it.schedules.pause(CALLER, id, { reason: 'maintenance', blockManual: true }, ASYNC);
    assert.equal(paused.generation, 1);
    assert.deepEqual(
      [paused.value.state, paused.value.sync, paused.value.nextRunAt, paused.value.nextRuns],
      ['paused', 'pending', null, []],
    );
    assert.deepEqual(
      { ...paused.value.pause, at: '' },
      { reason: 'maintenance', by: 'tests', at: '', blockManual: true, automatic: false, until: null },
    );
    const [runtime] = await rows<Record<string, unknown>>(
      it.pool,
      'SELECT paused_at, block_manual, next_run_at FROM job_runtime WHERE job_id = $1',
      id,
    );
    assert.deepEqual(
      [(runtime!.paused_at as Date).toISOString(), runtime?.block_manual, runtime?.next_run_at],
      [paused.value.pause?.at, true, null],
    );
    assert.deepEqual([(await clockOf(it.pool, id))?.paused, (await clockOf(it.pool, id))?.generation], [true, '2']);
    const [open] = await rangesOf(id);
    assert.deepEqual(
      [open?.from_at.toISOString(), open?.to_at, open?.by, open?.note],
      [paused.value.pause?.at, null, 'tests', 'maintenance'],
    );

    // ten seconds of pause without waiting for them
    const from = new Date(Math.floor(Date.now() / 1000) * 1000 - 10_000);
    await it.pool.query('UPDATE slot_ranges SET from_at = $2 WHERE job_id = $1', [id, from]);
    await it.pool.query(`UPDATE clock_members SET valid_from = $2::timestamptz - interval '1 hour' WHERE job_id = $1`, [id, from]);
    const resumed = await it.schedules.resume(CALLER, id, {}, ASYNC);
    assert.deepEqual([resumed.value.state, resumed.value.pause, resumed.generation, resumed.value.nextRuns.length], ['active', null, 1, 5]);
    const [range] = await rangesOf(id);
    assert.equal(range?.count, Math.floor((range!.to_at!.getTime() - 1) / 1000) - from.getTime() / 1000 + 1);
    assert.deepEqual([(await clockOf(it.pool, id))?.paused, (await clockOf(it.pool, id))?.generation], [false, '3']);
    assert.deepEqual(await actionsOf(it.pool, id), ['job.created', 'job.paused', 'job.resumed']);
    assert.equal((await it.jobs.revisions(CALLER, id, { limit: 5 })).items.length, 1);
  });

  test('counts slots by the timings the job had meanwhile, half-open', async () => {
    const { id } = await create({ name: 'counting', schedule: { every: '1h' } });
    await it.schedules.pause(CALLER, id, {}, ASYNC);
    const start = Date.UTC(2020, 0, 1);
    const at = (hours: number) => new Date(start + hours * 3_600_000);
    await it.jobs.patch(CALLER, id, { schedule: { every: '30m' } }, ASYNC);
    const [first, second] = await membersOf(it.pool, id);
    await it.pool.query(
      'UPDATE clock_members SET valid_from = $3, valid_to = $4 WHERE job_id = $1 AND valid_from = (SELECT min(valid_from) FROM clock_members WHERE job_id = $1) AND timing_hash = $2',
      [id, first?.timing_hash, at(0), at(10)],
    );
    await it.pool.query('UPDATE clock_members SET valid_from = $3, valid_to = $4 WHERE job_id = $1 AND timing_hash = $2', [
      id,
      second?.timing_hash,
      at(10),
      at(20),
    ]);
    await it.pool.query('UPDATE slot_ranges SET from_at = $2 WHERE job_id = $1', [id, at(8)]);
    await it.schedules.resume(CALLER, id, {}, ASYNC);
    // 8:00 and 9:00 of the hourly timing, then 10:00 to 19:30 every half hour; 20:00 is no longer a member's
    assert.equal((await rangesOf(id))[0]?.count, 2 + 20);
  });

  test('done twice changes reason and blockManual but goes on from where it began', async () => {
    const { id } = await create({ name: 'twice', schedule: { every: '1h' } });
    const first = await it.schedules.pause(CALLER, id, { reason: 'a' }, ASYNC);
    assert.deepEqual((await it.schedules.pause(CALLER, id, { reason: 'a' }, ASYNC)).value.pause, first.value.pause);
    const second = await it.schedules.pause(CALLER, id, { reason: 'b', blockManual: true }, ASYNC);
    assert.deepEqual([second.value.pause?.at, second.value.pause?.reason], [first.value.pause?.at, 'b']);
    assert.equal((await rangesOf(id)).length, 1);
    assert.equal((await clockOf(it.pool, id))?.generation, '2');
    await it.schedules.resume(CALLER, id, {}, ASYNC);
    await it.schedules.resume(CALLER, id, {}, ASYNC);
    assert.deepEqual(await actionsOf(it.pool, id), ['job.created', 'job.paused', 'job.paused', 'job.resumed']);
  });

  test('survives edits, a new timing and being disabled and enabled', async () => {
    const { id } = await create({ name: 'kept', schedule: { every: '1h' } });
    await it.schedules.pause(CALLER, id, {}, ASYNC);
    const retimed = (await it.jobs.patch(CALLER, id, { schedule: { every: '2h' } }, ASYNC)).value;
    assert.deepEqual([retimed.state, retimed.nextRunAt, (await clockOf(it.pool, id))?.paused], ['paused', null, true]);
    assert.equal((await it.jobs.patch(CALLER, id, { enabled: false }, ASYNC)).value.state, 'disabled');
    assert.equal((await it.jobs.patch(CALLER, id, { enabled: true }, ASYNC)).value.state, 'paused');
    assert.equal((await clockOf(it.pool, id))?.paused, true);
    assert.equal((await it.schedules.resume(CALLER, id, {}, ASYNC)).value.state, 'active');
    assert.equal((await clockOf(it.pool, id))?.paused, false);
  });

  test('that Almanac itself made after failures is ended by a resume', async () => {
    const { id } = await create({ name: 'failing', schedule: { every: '1h' }, pauseAfterFailures: 1 });
    await it.pool.query(`SELECT pause_after_failures('default', $1, 1)`, [id]);
    const view = await it.jobs.get(CALLER, id);
    assert.deepEqual([view.state, view.pause?.automatic, view.pause?.by], ['paused', true, 'almanac']);
    const resumed = await it.schedules.resume(CALLER, id, {}, ASYNC);
    assert.equal(resumed.value.state, 'active');
    assert.ok((await rangesOf(id)).every((range) => range.to_at !== null));
    const [runtime] = await rows<Record<string, unknown>>(it.pool, 'SELECT paused_at FROM job_runtime WHERE job_id = $1', id);
    assert.equal(runtime?.paused_at, null);
  });

  test('holds a one-off and a job on demand too', async () => {
    const once = await create({ name: 'once', schedule: { delay: '1h' } });
    assert.equal((await it.schedules.pause(CALLER, once.id, {}, ASYNC)).value.state, 'paused');
    const resumed = await it.schedules.resume(CALLER, once.id, {}, ASYNC);
    assert.deepEqual([resumed.value.state, resumed.value.nextRunAt], ['active', once.nextRunAt]);
    const demand = await create({ name: 'demand' });
    assert.equal((await it.schedules.pause(CALLER, demand.id, { blockManual: true }, ASYNC)).value.state, 'paused');
    assert.equal((await it.schedules.resume(CALLER, demand.id, {}, ASYNC)).value.state, 'on_demand');
  });
});

describe('a preview', () => {
  test('shows the next times by the code that checks and fires them', async () => {
    const preview = await it.schedules.preview(CALLER, { schedule: { cron: '0 2 * * *' }, count: 3, from: '2026-12-01T00:00:00Z' });
    assert.deepEqual(
      preview.runs.map((run) => run.slot),
      ['2026-12-01T02:00:00Z', '2026-12-02T02:00:00Z', '2026-12-03T02:00:00Z'],
    );
    assert.equal((await it.schedules.preview(CALLER, { schedule: { every: '1m' } })).runs.length, 5);
  });

  test('refuses what a job would be refused for, and counts out of range', async () => {
    const wrong = async (body: unknown) =>
      (await refused(it.schedules.preview(CALLER, body), 'invalid', 'invalid_preview')).errors?.map((error) => error.path);
    assert.deepEqual(await wrong({ schedule: { cron: '0 0 31 2 *' } }), ['/schedule/cron']);
    assert.deepEqual(await wrong({ schedule: { every: '1m' }, count: 1_001 }), ['/count']);
    assert.deepEqual(await wrong({ shedule: {} }), ['/schedule', '/shedule']);
    assert.deepEqual(await wrong(null), ['']);
  });

  test('refuses nonsense with its cure, at once', async () => {
    const nonsense: [object, RegExp][] = [
      [{ cron: '0 0 31 2 *' }, /never fires.*write a day that exists/],
      [{ cron: '61 * * * * *' }, /61 in its second, out of range; write 0 to 59/],
      [{ cron: '0 0 30 2 * 2026' }, /fields|out of range|write/],
      [{ cron: '@daily', timezone: 'Mars/Olympus' }, /not a known IANA time zone/],
      [{ every: '1.5s' }, /must be whole seconds.*write every: 2s/],
      [{ every: '36500d' }, /every is too long; write at most 10 years/],
      [{ every: '200000d' }, /longer than 100 years/],
      [{ cron: '@daily', startAt: '1969-01-01T00:00:00Z' }, /outside the years 1970 to 2200/],
      [{ calendar: { at: '25:00' } }, /does not exist; write 00:00 to 23:59/],
      [{ calendar: { at: '09:00', daysOfMonth: 31, months: [2, 4] } }, /never fires/],
      [{ calendar: { at: '09:00', weekdays: 'mon', nth: 6 } }, /never fires/],
      [{ every: '1h', dst: { gap: 'skip' } }, /leave dst out/],
      [{ cron: '@daily', jitter: '1m', spread: '1m' }, /keep one of them/],
    ];
    const started = performance.now();
    for (const [schedule, message] of nonsense) {
      const { errors } = await refused(it.schedules.preview(CALLER, { schedule }), 'invalid', 'invalid_preview');
      assert.ok(
        errors?.some((error) => message.test(error.message)),
        `${JSON.stringify(schedule)}: ${JSON.stringify(errors)}`,
      );
    }
    const rare = { schedule: { cron: '0 0 29 2 */7', startAt: '1970-01-01T00:00:00Z', endAt: '2200-01-01T00:00:00Z' }, count: 1_000 };
    const { runs } = await it.schedules.preview(CALLER, { ...rare, from: '1970-01-01T00:00:00Z' });
    assert.deepEqual(
      runs.map((run) => run.slot.slice(0, 4)),
      ['1976', '2004', '2032', '2060', '2088'],
    );
    assert.ok(performance.now() - started < 10_000);
  });
});

test('the status counts jobs by state, pending clocks, lateness and backlog', async () => {
  const under = await jobsUnderTest();
  try {
    const made = await under.jobs.create(CALLER, { name: 'a', target: HTTP_TARGET, schedule: { every: '1h' } }, ASYNC);
    await under.jobs.create(CALLER, { name: 'b', target: HTTP_TARGET }, ASYNC);
    await under.pool.query(
      `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, due_at, status, max_attempts, priority, queue, dispatch, started_at)
       SELECT now(), $1 || '-manual-' || n, 'default', $1, 'a', 1, 'manual', now() - make_interval(secs => n), CASE WHEN n = 100 THEN 'queued' ELSE 'succeeded' END, 3, 3,
              'default', 'dedicated', CASE WHEN n < 100 THEN now() END FROM generate_series(1, 100) n`,
      [made.value.id],
    );
    const status = await under.schedules.status(CALLER);
    assert.deepEqual(status.jobs, { total: 2, byState: { active: 1, on_demand: 1 } });
    assert.equal(status.drift.clocksPending, 1);
    assert.ok(status.drift.oldestPendingAgeS !== null && status.drift.oldestPendingAgeS < 60);
    assert.deepEqual(status.lateness, { executions: 99, p50Ms: 50_000, p99Ms: 98_020 });
    const [queue, ...others] = status.queues;
    assert.equal(others.length, 0);
    assert.deepEqual(
      { ...queue, oldestQueuedAgeS: 100 },
      { queue: 'default', queued: 1, running: 0, oldestQueuedAgeS: 100, temporalBacklog: null },
    );
    assert.equal((await under.schedules.status({ ...CALLER, team: 'other' })).jobs.total, 0);
  } finally {
    await under.close();
  }
});
