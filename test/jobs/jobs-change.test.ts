import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { newExecutionId, partitionAtOf } from '../../src/jobs/ids.ts';
import type { JobView } from '../../src/jobs/job-view.ts';
import { admitTrigger } from '../../src/jobs/trigger-store.ts';
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
  it = await jobsUnderTest({ CATEGORY_QUEUES: 'batch=slow' });
});
after(() => it.close());

const create = async (body: object): Promise<JobView> => (await it.jobs.create(CALLER, { target: HTTP_TARGET, ...body }, ASYNC)).value;
const patch = async (idOrName: string, body: object): Promise<JobView> => (await it.jobs.patch(CALLER, idOrName, body, ASYNC)).value;
const onceOf = (jobId: string) =>
  rows<{
    id: string;
    status: string;
    reason: string | null;
    due_at: Date;
    workflow_id: string;
    run_id: string | null;
    queue: string;
    job_name: string;
  }>(
    it.pool,
    `SELECT id, status, reason, due_at, workflow_id, run_id, queue, job_name FROM job_executions WHERE job_id = $1 AND trigger = 'once' ORDER BY partition_at`,
    jobId,
  );

describe('changing a job', () => {
  test('keeps every version readable, newest first', async () => {
    const { id } = await create({ name: 'versions' });
    for (const priority of [1, 2, 4]) await patch(id, { priority });
    const page = await it.jobs.revisions(CALLER, 'versions', { limit: 3 });
    assert.deepEqual(
      page.items.map((one) => [one.generation, one.document.priority]),
      [
        [4, 4],
        [3, 2],
        [2, 1],
      ],
    );
    assert.equal(page.next, 2);
    const rest = await it.jobs.revisions(CALLER, id, { limit: 3, before: page.next });
    assert.deepEqual([rest.items.map((one) => one.generation), rest.next], [[1], null]);
    await refused(it.jobs.revision(CALLER, id, 5), 'not_found', 'revision_not_found');
    const [event] = await rows<{ before: { priority: number }; after: { priority: number }; actor: string; request_id: string }>(
      it.pool,
      `SELECT before, after, actor, request_id FROM audit_events WHERE subject_id = $1 ORDER BY id DESC LIMIT 1`,
      id,
    );
    assert.deepEqual([event?.before.priority, event?.after.priority, event?.actor, event?.request_id], [2, 4, 'tests', 'req-1']);
  });

  test('with null removes, and brings a default back', async () => {
    const { id } = await create({
      name: 'nulls',
      description: 'd',
      timeout: '1m',
      tags: { a: '1', b: '2' },
      deadline: '1h',
      schedule: { every: '1h' },
    });
    const view = await patch(id, { description: null, timeout: null, tags: { a: null }, deadline: null, schedule: null });
    assert.deepEqual(
      [view.description, view.timeout, view.tags, view.deadline, view.schedule],
      [undefined, '10s', { b: '2' }, undefined, undefined],
    );
    assert.equal(view.state, 'on_demand');
    await refused(patch(id, { target: null }), 'invalid', 'invalid_job');
    await refused(patch(id, { name: null }), 'invalid', 'invalid_job');
    assert.equal((await it.jobs.get(CALLER, id)).generation, 2);
  });

  test('that leaves it as it is writes nothing', async () => {
    const { id } = await create({ name: 'unchanged', schedule: { delay: '1h' } });
    assert.equal((await patch(id, { priority: 3, schedule: { delay: '60m' } })).generation, 1);
    assert.equal((await onceOf(id)).length, 1);
  });

  test('keeps the name unique: a rename onto another is a conflict that names it', async () => {
    const first = await create({ name: 'first' });
    const second = await create({ name: 'second' });
    const error = await refused(patch(second.id, { name: 'first' }), 'conflict', 'name_taken');
    assert.deepEqual(error.extra, { id: first.id, name: 'first' });
    const renamed = await patch('second', { name: 'third' });
    assert.deepEqual([renamed.id, renamed.name, renamed.generation], [second.id, 'third', 2]);
    await refused(it.jobs.get(CALLER, 'second'), 'not_found', 'job_not_found');
    assert.equal((await it.jobs.get(CALLER, 'third')).id, second.id);
    const [runtime] = await rows<{ job_name: string }>(it.pool, 'SELECT job_name FROM job_runtime WHERE job_id = $1', second.id);
    assert.equal(runtime?.job_name, 'third');
  });

  test('20 times at once loses no change', async () => {
    const { id } = await create({ name: 'busy', schedule: { every: '1h' } });
    await Promise.all(
      Array.from({ length: 20 }, (_, index) => patch(id, { tags: { [`t${index}`]: 'x' }, schedule: { every: `${index + 2}h` } })),
    );
    const view = await it.jobs.get(CALLER, id);
    assert.equal(view.generation, 21);
    assert.equal(Object.keys(view.tags).length, 20);
    const members = await membersOf(it.pool, id);
    for (const [index, member] of members.entries()) {
      const next = members[index + 1];
      assert.equal(
        next ? (member.valid_to as Date).getTime() : member.valid_to,
        next ? next.valid_from.getTime() : Number.POSITIVE_INFINITY,
      );
    }
  });

  test('of another team is not found', async () => {
    const { id } = await create({ name: 'ours' });
    const stranger = { ...CALLER, team: 'other' };
    await refused(it.jobs.get(stranger, id), 'not_found', 'job_not_found');
    await refused(it.jobs.patch(stranger, 'ours', { priority: 1 }, ASYNC), 'not_found', 'job_not_found');
    await refused(it.jobs.revisions(stranger, id, { limit: 1 }), 'not_found', 'job_not_found');
    await refused(it.jobs.remove(stranger, id, ASYNC), 'not_found', 'job_not_found');
  });
});

describe('the clock of a job', () => {
  test('is left alone by edits that Temporal need not know', async () => {
    const { id } = await create({ name: 'quiet', schedule: { every: '1h' } });
    const before = await clockOf(it.pool, id);
    const view = await patch(id, {
      priority: 1,
      overlap: 'allow_all',
      catchUp: { policy: 'all' },
      timeout: '5s',
      input: 1,
      schedule: { jitter: '10s' },
    });
    assert.deepEqual(await clockOf(it.pool, id), before);
    assert.equal((await membersOf(it.pool, id)).length, 1);
    assert.equal(view.generation, 2);
  });

  test('is raised by a rename, without a new membership', async () => {
    const { id } = await create({ name: 'old-note', schedule: { every: '1h' } });
    await patch(id, { name: 'new-note' });
    assert.equal((await clockOf(it.pool, id))?.generation, '2');
    assert.equal((await membersOf(it.pool, id)).length, 1);
  });

  test('gets a new membership with another timing: each moment belongs to exactly one', async () => {
    const { id } = await create({ name: 'retimed', schedule: { every: '1h' } });
    const view = await patch(id, { schedule: { every: '2h' } });
    const [first, second, ...more] = await membersOf(it.pool, id);
    assert.equal(more.length, 0);
    assert.deepEqual(first?.valid_to, second?.valid_from);
    assert.equal(second?.valid_to, Number.POSITIVE_INFINITY);
    assert.equal(second?.generation, '2');
    const clock = await clockOf(it.pool, id);
    assert.deepEqual([clock?.generation, clock?.timing_hash], ['2', second?.timing_hash]);
    assert.notEqual(first?.timing_hash, second?.timing_hash);
    assert.equal(new Date(view.nextRunAt!).getUTCHours() % 2, 0);
  });

  test('keeps its generation but gets a new membership with another window', async () => {
    const { id } = await create({ name: 'windowed', schedule: { every: '1h' } });
    await patch(id, { schedule: { endAt: '2090-01-01T00:00:00Z' } });
    const members = await membersOf(it.pool, id);
    assert.deepEqual(
      members.map((member) => member.timing_hash === members[0]!.timing_hash),
      [true, true],
    );
    assert.equal((members[1]!.valid_to as Date).toISOString(), '2090-01-01T00:00:00.001Z');
    assert.equal((await clockOf(it.pool, id))?.generation, '1');
  });

  test('forgets a membership that had not begun', async () => {
    const { id } = await create({ name: 'later', schedule: { every: '1h', startAt: '2090-01-01T00:00:00Z' } });
    await patch(id, { schedule: { every: '2h' } });
    const members = await membersOf(it.pool, id);
    assert.deepEqual(
      members.map((member) => [member.generation, member.valid_from.toISOString()]),
      [['2', '2090-01-01T00:00:00.000Z']],
    );
  });

  test('moves with the category to another queue', async () => {
    const { id } = await create({ name: 'moved', schedule: { every: '1h' } });
    await patch(id, { category: 'batch' });
    // the membership before it is kept unless both were made in the same millisecond
    const open = (await membersOf(it.pool, id)).filter((member) => member.valid_to === Number.POSITIVE_INFINITY);
    assert.deepEqual([(await clockOf(it.pool, id))?.queue, open.length], ['slow', 1]);
  });

  test('is emptied by enabled: false and filled again by enabled: true', async () => {
    const { id } = await create({ name: 'switch', schedule: { every: '1h' } });
    const off = await patch(id, { enabled: false });
    assert.deepEqual([off.state, off.nextRunAt, off.nextRuns], ['disabled', null, []]);
    let clock = await clockOf(it.pool, id);
    assert.ok(clock?.empty_since);
    assert.deepEqual([clock.paused, clock.generation], [true, '2']);
    assert.ok((await membersOf(it.pool, id)).every((member) => member.valid_to !== Number.POSITIVE_INFINITY));
    const on = await patch(id, { enabled: true });
    assert.equal(on.state, 'active');
    clock = await clockOf(it.pool, id);
    assert.deepEqual([clock?.empty_since, clock?.paused, clock?.generation], [null, false, '3']);
    // one that began and ended in the same millisecond is not kept
    const open = (await membersOf(it.pool, id)).filter((member) => member.valid_to === Number.POSITIVE_INFINITY);
    assert.equal(open.length, 1);
  });

  test('comes back when it was taken away while the job was disabled', async () => {
    const { id } = await create({ name: 'gone', schedule: { every: '1h' } });
    await patch(id, { enabled: false });
    await it.pool.query('DELETE FROM clock_members WHERE clock_id = $1', [id]);
    await it.pool.query('DELETE FROM clocks WHERE id = $1', [id]);
    await patch(id, { enabled: true });
    assert.deepEqual([(await clockOf(it.pool, id))?.generation, (await membersOf(it.pool, id)).length], ['1', 1]);
  });

  test('of a finished job is not woken by an edit that gives it no time', async () => {
    const { id } = await create({
      name: 'over',
      dispatch: 'dedicated',
      schedule: { every: '1s', endAt: new Date(Date.now() + 5_000).toISOString() },
    });
    // as the controller leaves a job after its last slot
    await it.pool.query(
      `UPDATE clock_members SET valid_from = now() - interval '2 hours', valid_to = now() - interval '1 hour' WHERE job_id = $1`,
      [id],
    );
    const ended = new Date(Date.now() - 3_600_000).toISOString();
    await it.pool.query(
      `UPDATE jobs SET state = 'finished', document = jsonb_set(document::jsonb, '{schedule,endAt}', to_jsonb($2::text))::json WHERE id = $1`,
      [id, ended],
    );
    await it.pool.query('UPDATE job_runtime SET next_run_at = NULL WHERE job_id = $1', [id]);
    await it.pool.query('UPDATE clocks SET empty_since = now(), paused = true, generation = 2 WHERE id = $1', [id]);
    assert.equal((await patch(id, { description: 'still over' })).state, 'finished');
    assert.deepEqual([(await clockOf(it.pool, id))?.generation, (await membersOf(it.pool, id)).length], ['2', 1]);
    const again = await patch(id, { schedule: { endAt: null } });
    assert.equal(again.state, 'active');
    const clock = await clockOf(it.pool, id);
    assert.deepEqual([clock?.empty_since, clock?.paused, clock?.generation, (await membersOf(it.pool, id)).length], [null, false, '3', 2]);
  });
});

describe('a one-off', () => {
  const inMinutes = (minutes: number) => new Date(Math.floor(Date.now() / 1000) * 1000 + minutes * 60_000).toISOString();

  test('is moved by an UPDATE: same execution, another workflow', async () => {
    const { id } = await create({ name: 'moving', schedule: { at: inMinutes(10) } });
    const later = inMinutes(20);
    const view = await patch(id, { schedule: { at: later }, name: 'has-moved' });
    const [row, ...others] = await onceOf(id);
    assert.equal(others.length, 0);
    assert.equal(row?.due_at.getTime(), Date.parse(later));
    assert.deepEqual([row?.workflow_id, row?.run_id, row?.job_name], [`${row?.id}-g2`, null, 'has-moved']);
    assert.equal(Date.parse(view.nextRunAt!), Date.parse(later));
  });

  test('keeps its workflow when only the job around it changes', async () => {
    const { id } = await create({ name: 'staying', schedule: { at: inMinutes(10) } });
    await it.pool.query(`UPDATE job_executions SET run_id = 'started' WHERE job_id = $1`, [id]);
    const view = await patch(id, { priority: 1 });
    const [row] = await onceOf(id);
    assert.deepEqual([row?.workflow_id, row?.run_id], [row?.id, 'started']);
    assert.deepEqual([view.state, view.sync], ['active', 'synced']);
  });

  test('is cancelled by enabled: false, and made good by enabled: true while its time is ahead', async () => {
    const { id } = await create({ name: 'switched', schedule: { delay: '10m' } });
    assert.equal((await patch(id, { enabled: false })).state, 'disabled');
    const [first] = await onceOf(id);
    assert.deepEqual([first?.status, first?.reason], ['cancelled', 'job_disabled']);
    assert.equal((await patch(id, { enabled: true })).state, 'active');
    const [, second] = await onceOf(id);
    assert.deepEqual([second?.status, second?.due_at], ['queued', first?.due_at]);
  });

  test('becomes a repeating job and back', async () => {
    const { id } = await create({ name: 'turning', schedule: { at: inMinutes(10) } });
    const repeating = await patch(id, { schedule: { at: null, every: '1h' } });
    assert.equal(repeating.state, 'active');
    assert.deepEqual(
      (await onceOf(id)).map((row) => [row.status, row.reason]),
      [['cancelled', 'rescheduled']],
    );
    assert.equal((await it.jobs.get(CALLER, id)).state, 'active');
    assert.ok((await it.jobs.get(CALLER, id)).nextRunAt);
    const once = await patch(id, { schedule: { at: inMinutes(30), every: null } });
    assert.equal(once.state, 'active');
    assert.ok((await clockOf(it.pool, id))?.deleted_at);
    assert.deepEqual(
      (await onceOf(id)).map((row) => row.status),
      ['cancelled', 'queued'],
    );
  });

  test('that has run stays finished through other edits, and runs again at a new time', async () => {
    const { id } = await create({ name: 'ran', schedule: { at: inMinutes(10) } });
    const [row] = await onceOf(id);
    await it.pool.query(`SELECT settle('default', partition_at, id, 'succeeded', NULL, NULL, NULL) FROM job_executions WHERE id = $1`, [
      row?.id,
    ]);
    assert.equal((await it.jobs.get(CALLER, id)).state, 'finished');
    assert.equal((await patch(id, { priority: 1 })).state, 'finished');
    assert.equal((await onceOf(id)).length, 1);
    assert.equal((await patch(id, { schedule: { at: inMinutes(20) } })).state, 'active');
    assert.deepEqual(
      (await onceOf(id)).map((each) => each.status),
      ['succeeded', 'queued'],
    );
  });
});

describe('deleting a job', () => {
  test('frees its name at once and leaves a tombstone, revisions and executions', async () => {
    const { id } = await create({ name: 'doomed', schedule: { every: '1h' } });
    const { value } = await it.jobs.remove(CALLER, 'doomed', ASYNC);
    assert.deepEqual([value.state, value.sync, value.nextRunAt], ['deleting', 'pending', null]);
    await refused(it.jobs.get(CALLER, id), 'not_found', 'job_not_found');
    await refused(it.jobs.remove(CALLER, id, ASYNC), 'not_found', 'job_not_found');
    const clock = await clockOf(it.pool, id);
    assert.ok(clock?.deleted_at);
    assert.equal(clock?.generation, '2');
    assert.ok((await membersOf(it.pool, id)).every((member) => member.valid_to !== Number.POSITIVE_INFINITY));
    assert.equal((await it.jobs.revisions(CALLER, id, { limit: 5 })).items.length, 1);
    assert.deepEqual(await actionsOf(it.pool, id), ['job.created', 'job.deleted']);
    const heir = await create({ name: 'doomed' });
    assert.notEqual(heir.id, id);
    const listed = await it.jobs.list(CALLER, { sort: 'name', limit: 10, state: 'deleting' });
    assert.deepEqual(
      listed.itemsJson.map((item) => (JSON.parse(item) as JobView).id),
      [id],
    );
  });

  test('closes what has not begun, and on request what runs', async () => {
    const { id } = await create({ name: 'in-use', overlap: 'buffer_all' });
    const ids: string[] = [];
    for (let index = 0; index < 3; index += 1) {
      const execution = newExecutionId(id, 'manual');
      ids.push(execution);
      await admitTrigger(it.pool, {
        team: 'default',
        job: id,
        id: execution,
        partitionAt: partitionAtOf(execution)!,
        kind: 'manual',
        slot: null,
        input: null,
        hasInput: false,
        requestedBy: 'tests',
        retryOf: null,
        pinnedGeneration: null,
        timeoutMs: null,
        bufferLimit: 100,
        requestId: 'req-1',
      });
    }
    await it.pool.query(`UPDATE job_executions SET status = 'running', attempt = 1, started_at = now() WHERE id = $1`, [ids[0]]);
    await it.jobs.remove(CALLER, id, { ...ASYNC, running: 'cancel' });
    const found = await rows<{ status: string; reason: string | null; asked: boolean }>(
      it.pool,
      'SELECT status, reason, cancel_requested_at IS NOT NULL AS asked FROM job_executions WHERE job_id = $1 ORDER BY id',
      id,
    );
    assert.deepEqual(found, [
      { status: 'running', reason: null, asked: true },
      { status: 'cancelled', reason: 'job_deleted', asked: false },
      { status: 'cancelled', reason: 'job_deleted', asked: false },
    ]);
    const [runtime] = await rows(it.pool, 'SELECT active, waiting, enabled FROM job_runtime WHERE job_id = $1', id);
    assert.deepEqual(runtime, { active: 1, waiting: 0, enabled: false });
  });

  test('cancels a one-off that is still to run', async () => {
    const { id } = await create({ name: 'never', schedule: { delay: '1h' } });
    await it.jobs.remove(CALLER, id, ASYNC);
    assert.deepEqual(
      (await onceOf(id)).map((row) => [row.status, row.reason]),
      [['cancelled', 'job_deleted']],
    );
    const [job] = await rows<{ state: string }>(it.pool, 'SELECT state FROM jobs WHERE id = $1', id);
    assert.equal(job?.state, 'deleting');
  });
});
