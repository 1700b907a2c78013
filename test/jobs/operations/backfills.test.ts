/** Backfills and what a resume says and runs of the slots that a pause has swallowed. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { backfillSchema, rangeOf } from '../../../src/jobs/operations/backfill-document.ts';
import { resumeDue } from '../../../src/jobs/operations/due-resumes.ts';
import { createLog } from '../../../src/log.ts';
import { inTransaction } from '../../../src/postgres.ts';
import { ASYNC, actionsOf, CALLER, refused, rows } from '../jobs-under-test.ts';
import { madeAt, type OperationsUnderTest, operationsUnderTest } from './operations-under-test.ts';

let it: OperationsUnderTest;
before(async () => {
  it = await operationsUnderTest();
});
after(() => it.close());

const silent = createLog('test', 'silent');
const HOUR_MS = 3_600_000;
/** Jobs fire once an hour, half an hour away from now, so that no slot comes while a test runs. */
const MINUTE = (new Date().getUTCMinutes() + 30) % 60;
const LAST_MS = Math.floor((Date.now() - MINUTE * 60_000) / HOUR_MS) * HOUR_MS + MINUTE * 60_000;
/** The last slot less so many hours. */
const hour = (ago: number) => new Date(LAST_MS - ago * HOUR_MS);
const hourly = (name: string, more: object = {}) => it.job(name, { schedule: { cron: `${MINUTE} * * * *`, timezone: 'UTC' }, ...more });
const text = (at: Date) => at.toISOString().replace('.000Z', 'Z');
const asked = (body: object) => backfillSchema.parse(body);

/** Says of a slot that it was skipped, or that it has run. */
const ledger = (job: string, slot: Date, status: 'skipped' | 'succeeded', reason: string | null) =>
  rows(
    it.pool,
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, reason, max_attempts, priority, queue, dispatch, finished_at)
     VALUES ($2, $1 || '-' || slot_text($2), 'default', $1, 'x', 1, 'schedule', $2, $2, $3, $4, 1, 3, 'default', 'dedicated', now())`,
    job,
    slot,
    status,
    reason,
  );

const executionsOf = (operation: string) =>
  rows<{ partition_at: Date; id: string; trigger: string; slot: Date; status: string }>(
    it.pool,
    'SELECT partition_at, id, trigger, slot, status FROM job_executions WHERE operation_id = $1 ORDER BY created_at, slot',
    operation,
  );
const end = ({ partition_at: at, id }: { partition_at: Date; id: string }) =>
  it.pool.query(`SELECT close_execution('default', $1, $2, 'terminated', NULL, NULL, 'tests')`, [at, id]);

describe('a backfill', () => {
  test('of missed slots leaves out what has run, what policy left out, and what the scheduler has still to deal with; and takes no slot twice', async () => {
    const job = await hourly('missed some');
    await madeAt(it, job, '2026-01-01T00:00:00Z');
    await ledger(job, hour(5), 'skipped', 'missed');
    await ledger(job, hour(4), 'succeeded', null);
    await ledger(job, hour(3), 'skipped', 'skipped_overlap');
    await ledger(job, hour(2), 'skipped', 'missed');
    const request = asked({ from: text(hour(6)), to: text(hour(1)), reason: 'outage' });
    assert.deepEqual(await it.backfills.preview(CALLER, job, request), {
      dryRun: true,
      count: 2,
      first: [text(hour(5)), text(hour(2))],
      last: [],
    });
    const also = asked({ from: text(hour(6)), reasons: ['skipped_overlap'] });
    assert.deepEqual((await it.backfills.preview(CALLER, job, also)).first, [text(hour(3))]);

    const backfill = await it.backfills.request(CALLER, job, request);
    assert.deepEqual([backfill.kind, backfill.jobId, backfill.progress.total, backfill.reason], ['backfill', job, 2, 'outage']);
    await refused(it.backfills.request(CALLER, job, request), 'refused', 'nothing_to_backfill');
    // once aborted, its slots are free again
    await it.operations.abort(CALLER, 'backfills', backfill.id);
    assert.equal((await it.backfills.preview(CALLER, job, request)).count, 2);
    assert.deepEqual((await actionsOf(it.pool, job)).slice(1), ['job.backfill_started']);
  });

  test('runs its slots one after another in the order asked for, each knowing its slot and its backfill', async () => {
    const job = await hourly('one after another');
    const request = asked({ from: text(hour(3)), to: text(hour(0)), only: 'all', order: 'newest' });
    const backfill = await it.backfills.request(CALLER, job, request);
    for (const ago of [1, 2, 3]) {
      const worked = await it.workOff(backfill.id);
      const made = await executionsOf(backfill.id);
      const newest = made.find((one) => one.status === 'queued')!;
      assert.deepEqual([newest.trigger, newest.slot], ['backfill', hour(ago)]);
      assert.equal(worked.done, ago === 3);
      await end(newest);
    }
    const ended = await it.operations.get(CALLER, 'backfills', backfill.id);
    assert.deepEqual([ended.state, ended.progress.results, ended.executions], ['completed', { succeeded: 3 }, { terminated: 3 }]);
  });

  test('of a job that allows all starts them together, as fast as its rate lets it', async () => {
    const job = await hourly('all at once', { overlap: 'allow_all' });
    const range = { from: text(hour(50)), to: text(hour(0)), only: 'all' };
    const fast = await it.backfills.request(CALLER, job, asked(range));
    assert.equal((await it.workOff(fast.id)).done, true);
    assert.equal((await executionsOf(fast.id)).length, 50);
    const slow = await it.backfills.request(CALLER, job, asked({ ...range, ratePerMinute: 600 }));
    const first = await it.workOff(slow.id);
    assert.equal(first.done, false);
    assert.equal((await executionsOf(slow.id)).length, 10, 'a second of it at once');
    assert.ok(first.waitMs > 0 && first.waitMs <= 1_000);
  });

  test('waits while a pause holds back what people ask for, and is refused while that is known', async () => {
    const job = await hourly('held back');
    const request = asked({ from: text(hour(3)), only: 'all' });
    const backfill = await it.backfills.request(CALLER, job, request);
    await it.schedules.pause(CALLER, job, { blockManual: true, reason: 'no' }, ASYNC);
    assert.equal((await it.workOff(backfill.id)).done, false);
    assert.deepEqual(
      [(await executionsOf(backfill.id)).length, (await it.operations.get(CALLER, 'backfills', backfill.id)).waitingFor],
      [0, 'paused'],
    );
    await refused(it.backfills.request(CALLER, job, request), 'refused', 'job_paused');
    await it.schedules.pause(CALLER, job, {}, ASYNC);
    await it.workOff(backfill.id);
    assert.equal((await executionsOf(backfill.id)).length, 1, 'a pause stops slots only');
  });

  test('is refused for what it can not mean, without a long loop', async () => {
    const every = await it.job('every second', { schedule: { every: '1s' } });
    const startedAt = performance.now();
    await refused(it.backfills.preview(CALLER, every, asked({ from: text(hour(24 * 300)), only: 'all' })), 'invalid', 'too_many_slots');
    assert.ok(performance.now() - startedAt < 20_000);
    const now = new Date('2026-11-21T12:00:00Z');
    const codeOf = (body: object) => {
      try {
        rangeOf(asked(body), now);
        return null;
      } catch (error) {
        return (error as { errors: { code: string }[] }).errors[0]?.code;
      }
    };
    assert.equal(codeOf({ from: '1990-01-01T00:00:00Z' }), 'too_long');
    assert.equal(codeOf({ from: '2026-11-21T12:00:00Z' }), 'empty_range');
    assert.equal(codeOf({ from: '2026-11-21T11:59:59Z' }), null);
    assert.equal(codeOf({ from: '2026-11-21T11:00:00Z', to: '2026-11-21T12:00:00Z' }), null);
    assert.equal(codeOf({ from: '2026-11-21T11:00:00Z', to: '2026-11-21T12:00:01Z' }), 'in_the_future');
    assert.equal(codeOf({ from: '2026-11-21T11:00:00Z', only: 'all', reasons: ['missed'] }), 'not_with_all');
    const demand = await it.job('on demand', { schedule: undefined });
    await refused(it.backfills.preview(CALLER, demand, asked({ from: text(hour(3)), only: 'all' })), 'refused', 'no_schedule');
    assert.equal((await it.backfills.preview(CALLER, demand, asked({ from: text(hour(3)) }))).count, 0);
  });

  test('that others start with slots of their own takes those that have not run', async () => {
    const job = await hourly('given slots');
    await ledger(job, hour(3), 'succeeded', null);
    const start = {
      team: 'default',
      jobId: job,
      slots: [hour(2), hour(3), hour(2)],
      only: 'missed',
      ratePerMinute: null,
      order: 'oldest',
      requestedBy: 'almanac',
      reason: null,
    } as const;
    const started = await inTransaction(it.pool, (tx) => it.backfills.start(tx, start));
    assert.equal(started.count, 1);
    assert.deepEqual(await inTransaction(it.pool, (tx) => it.backfills.start(tx, start)), { id: null, count: 0 });
    // all of a range: what the job's schedules had, from its creation on
    const range = { ...start, slots: { from: hour(9), to: hour(0) }, only: 'all' } as const;
    assert.equal((await inTransaction(it.pool, (tx) => it.backfills.start(tx, range))).count, 0);
    await madeAt(it, job, '2026-01-01T00:00:00Z');
    assert.equal((await inTransaction(it.pool, (tx) => it.backfills.start(tx, range))).count, 9);
  });
});

describe('a resume', () => {
  /** A job that has been paused for `hours` hours. */
  async function pausedFor(name: string, hours: number, more: object = {}): Promise<string> {
    const job = await hourly(name, more);
    await madeAt(it, job, '2026-01-01T00:00:00Z');
    await it.schedules.pause(CALLER, job, { reason: 'migration' }, ASYNC);
    await rows(it.pool, `UPDATE slot_ranges SET from_at = $2 WHERE job_id = $1`, job, new Date(hour(hours - 1).getTime() - 1));
    return job;
  }

  test('says how many slots were missed and runs none of them, unless it is asked to', async () => {
    const job = await pausedFor('resumed', 3);
    await ledger(job, hour(0), 'succeeded', null);
    const dry = await it.schedules.resume(CALLER, job, { catchUp: 'all', dryRun: true }, ASYNC);
    assert.deepEqual(dry.value.resumed, {
      dryRun: true,
      missed: 2,
      message: '2 slots were missed',
      catchUp: { policy: 'all', count: 2, first: [text(hour(2)), text(hour(1))], last: [], backfill: null },
    });
    assert.equal(dry.value.state, 'paused');
    const resumed = await it.schedules.resume(CALLER, job, {}, ASYNC);
    assert.deepEqual([resumed.value.state, resumed.value.resumed?.missed, resumed.value.resumed?.catchUp.count], ['active', 2, 0]);
    assert.equal((await it.operations.list(CALLER, 'backfills', { job, limit: 5 })).items.length, 0);
    // later there is the backfill
    assert.equal((await it.backfills.preview(CALLER, job, asked({ from: text(hour(4)) }))).count, 2);
    assert.equal((await it.schedules.resume(CALLER, job, {}, ASYNC)).value.resumed?.message, '0 slots were missed');
  });

  test('runs the last missed slot, or all of them, as a backfill', async () => {
    const last = await pausedFor('last', 3);
    const one = (await it.schedules.resume(CALLER, last, { catchUp: 'last' }, ASYNC)).value.resumed!;
    assert.deepEqual([one.missed, one.catchUp.count, one.catchUp.first], [3, 1, [text(hour(0))]]);
    const all = await pausedFor('all', 3);
    const three = (await it.schedules.resume(CALLER, all, { catchUp: 'all', ratePerMinute: 60 }, ASYNC)).value.resumed!;
    const backfill = await it.operations.get(CALLER, 'backfills', three.catchUp.backfill!);
    assert.deepEqual([backfill.progress.total, backfill.ratePerMinute, backfill.reason], [3, 60, 'missed while paused: migration']);
    await it.workOff(backfill.id);
    assert.deepEqual(
      (await executionsOf(backfill.id)).map((made) => made.slot),
      [hour(2)],
    );
  });

  test('leaves out what was frozen, and what calendars leave out', async () => {
    const frozen = await pausedFor('frozen too', 4);
    await rows(
      it.pool,
      `INSERT INTO freezes (id, team, scope, targets, reason, from_at, to_at, created_by, settled_at) VALUES ('frz_test', 'default', 'jobs', ARRAY[$1], 'x', $2, $3, 'tests', now())`,
      frozen,
      hour(2),
      new Date(hour(1).getTime() + 1),
    );
    const missed = async () => (await it.schedules.resume(CALLER, frozen, { dryRun: true }, ASYNC)).value.resumed?.missed;
    assert.equal(await missed(), 2);
    await rows(it.pool, `UPDATE freezes SET team = 'another', scope = 'global', targets = '{}' WHERE id = 'frz_test'`);
    assert.equal(await missed(), 2, 'a freeze of all teams is one of this team too');
    await rows(it.pool, `DELETE FROM freezes WHERE id = 'frz_test'`);
    const day = text(hour(0)).slice(0, 10);
    await rows(
      it.pool,
      `INSERT INTO calendars (team, name, document, created_by) VALUES ('default', 'off-days', $1, 'tests')`,
      JSON.stringify({ dates: [day] }),
    );
    const closed = await pausedFor('closed', 1, { schedule: { cron: `${MINUTE} * * * *`, timezone: 'UTC', exclude: ['off-days'] } });
    assert.equal((await it.schedules.resume(CALLER, closed, {}, ASYNC)).value.resumed?.missed, 0);
  });

  test('comes by itself when the pause says so, at the time it says, however late somebody looks', async () => {
    const job = await pausedFor('until', 3);
    const until = new Date(hour(1).getTime() + 60_000);
    const soon = new Date(Date.now() + HOUR_MS).toISOString();
    const paused = await it.schedules.pause(CALLER, job, { reason: 'short', until: soon }, ASYNC);
    assert.equal(paused.value.pause?.until, soon);
    assert.equal((await resumeDue(it.pool, silent)).resumed, 0);
    await refused(it.schedules.pause(CALLER, job, { until: '2026-01-01T00:00:00Z' }, ASYNC), 'invalid', 'invalid_pause');

    await rows(it.pool, `UPDATE jobs SET pause = jsonb_set(pause, '{until}', to_jsonb($2::text)) WHERE id = $1`, job, until.toISOString());
    await rows(it.pool, 'UPDATE job_runtime SET resume_at = $2 WHERE job_id = $1', job, until);
    await rows(it.pool, `UPDATE clocks SET checked_until = now(), next_check_at = 'infinity' WHERE id = $1`, job);
    assert.equal((await resumeDue(it.pool, silent)).resumed, 1);
    const awake = await it.jobs.get(CALLER, job);
    assert.deepEqual([awake.state, awake.pause], ['active', null]);
    const [range] = await rows<{ to_at: Date; count: number }>(it.pool, 'SELECT to_at, count FROM slot_ranges WHERE job_id = $1', job);
    assert.deepEqual([range?.to_at, range?.count], [until, 2]);
    const [clock] = await rows<{ checked_until: Date; due: boolean }>(
      it.pool,
      'SELECT checked_until, next_check_at <= now() AS due FROM clocks WHERE id = $1',
      job,
    );
    assert.deepEqual([clock?.checked_until, clock?.due], [until, true], 'slots since then are looked for anew');
    const [told] = await rows<{ actor: string }>(
      it.pool,
      `SELECT actor FROM audit_events WHERE subject_id = $1 AND action = 'job.resumed'`,
      job,
    );
    assert.equal(told?.actor, 'almanac');

    // a little before, so that Temporal is awake for a slot at the very time
    const early = await pausedFor('until soon', 1, { schedule: { every: '1s' }, dispatch: 'dedicated' });
    const end = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 3_000);
    await it.schedules.pause(CALLER, early, { until: end.toISOString() }, ASYNC);
    assert.equal((await resumeDue(it.pool, silent)).resumed, 1);
    const [stretch] = await rows<{ to_at: Date }>(it.pool, 'SELECT to_at FROM slot_ranges WHERE job_id = $1', early);
    const [ahead] = await rows<{ next_run_at: Date; paused: boolean }>(
      it.pool,
      'SELECT r.next_run_at, c.paused FROM job_runtime r JOIN clocks c ON c.id = r.job_id WHERE r.job_id = $1',
      early,
    );
    assert.deepEqual([stretch?.to_at, ahead?.next_run_at, ahead?.paused], [end, end, false], 'slots up to its end stay swallowed');
    // and who pauses it anew meanwhile pauses what comes after that
    await it.schedules.pause(CALLER, early, {}, ASYNC);
    const stretches = await rows<{ from_at: Date; to_at: Date | null }>(
      it.pool,
      'SELECT from_at, to_at FROM slot_ranges WHERE job_id = $1 ORDER BY from_at DESC',
      early,
    );
    assert.deepEqual([stretches[0], stretches[1]?.to_at], [{ from_at: end, to_at: null }, end], 'each slot lies in one stretch');

    // before that its own clock is woken, and sleeps on when the end is put off
    const woken = await pausedFor('until in half a minute', 1, { dispatch: 'dedicated' });
    const clockPaused = async () => (await rows<{ paused: boolean }>(it.pool, 'SELECT paused FROM clocks WHERE id = $1', woken))[0]?.paused;
    await it.schedules.pause(CALLER, woken, { until: new Date(Date.now() + 40_000).toISOString() }, ASYNC);
    assert.equal(await clockPaused(), true);
    assert.deepEqual(await resumeDue(it.pool, silent), { resumed: 0, woken: 1, more: false });
    assert.deepEqual([await clockPaused(), (await it.jobs.get(CALLER, woken)).state], [false, 'paused']);
    assert.equal((await resumeDue(it.pool, silent)).woken, 0);
    await it.schedules.pause(CALLER, woken, { until: soon }, ASYNC);
    assert.equal(await clockPaused(), true);

    // one that was deleted in its pause is looked at once
    const gone = await hourly('deleted in its pause');
    await it.schedules.pause(CALLER, gone, { until: soon }, ASYNC);
    await it.jobs.remove(CALLER, gone, ASYNC);
    await rows(it.pool, 'UPDATE job_runtime SET resume_at = now() WHERE job_id = $1', gone);
    assert.equal((await resumeDue(it.pool, silent)).resumed, 0);
    assert.equal((await rows(it.pool, 'SELECT 1 FROM job_runtime WHERE resume_at <= now()')).length, 0);
  });
});
