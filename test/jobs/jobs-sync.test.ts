/** What a write brings about in a real Temporal before it answers. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { ScheduleNotFoundError } from '@temporalio/client';
import pg from 'pg';
import { CLOCKS_CHANNEL } from '../../src/jobs/job-sync.ts';
import { createTestNamespace } from '../support/stack.ts';
import { ASYNC, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest } from './jobs-under-test.ts';

let it: JobsUnderTest;
before(async () => {
  const { address, name } = await createTestNamespace();
  it = await jobsUnderTest({ TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: name, SYNC_BUDGET_MS: '10000' });
});
after(() => it.close());

const describeSchedule = (id: string) => it.temporal.schedule.getHandle(id).describe();

test('a job with a schedule is synced by every write: made, retimed, paused, resumed, renamed and deleted', async () => {
  const made = await it.jobs.create(CALLER, { name: 'synced', target: HTTP_TARGET, schedule: { every: '1h' } });
  const { id } = made.value;
  assert.equal(made.value.sync, 'synced');
  assert.equal((await describeSchedule(id)).spec.intervals?.[0]?.every, 3_600_000);
  assert.equal((await it.jobs.get(CALLER, id)).sync, 'synced');

  const retimed = await it.jobs.patch(CALLER, id, { schedule: { every: '2h' } });
  assert.equal(retimed.value.sync, 'synced');
  assert.equal((await describeSchedule(id)).spec.intervals?.[0]?.every, 7_200_000);

  assert.equal((await it.schedules.pause(CALLER, id, {})).value.sync, 'synced');
  assert.equal((await describeSchedule(id)).state.paused, true);
  assert.equal((await it.schedules.resume(CALLER, id)).value.sync, 'synced');
  assert.equal((await describeSchedule(id)).state.paused, false);

  assert.equal((await it.jobs.patch(CALLER, id, { name: 'synced-anew' })).value.sync, 'synced');
  assert.match((await describeSchedule(id)).state.note ?? '', /synced-anew/);

  assert.equal((await it.jobs.remove(CALLER, id)).value.sync, 'synced');
  await assert.rejects(describeSchedule(id), ScheduleNotFoundError);
});

test('a one-off is a workflow that waits for its time; moved, it waits under another id and the old one is stopped', async () => {
  const made = await it.jobs.create(CALLER, { name: 'once', target: HTTP_TARGET, schedule: { delay: '1h' } });
  assert.equal(made.value.sync, 'synced');
  const read = async () =>
    (
      await it.pool.query<{ workflow_id: string; run_id: string }>('SELECT workflow_id, run_id FROM job_executions WHERE job_id = $1', [
        made.value.id,
      ])
    ).rows[0]!;
  await it.startsNoted();
  const first = await read();
  assert.ok(first.run_id);
  assert.equal((await it.temporal.workflow.getHandle(first.workflow_id).describe()).status.name, 'RUNNING');

  const moved = await it.jobs.patch(CALLER, made.value.id, { schedule: { delay: '2h' } });
  assert.equal(moved.value.sync, 'synced');
  await it.startsNoted();
  const second = await read();
  assert.notEqual(second.workflow_id, first.workflow_id);
  assert.equal((await it.temporal.workflow.getHandle(second.workflow_id).describe()).status.name, 'RUNNING');
  await assert.rejects(it.temporal.workflow.getHandle(first.workflow_id).result(), /moved or cancelled/);
  assert.equal((await it.jobs.get(CALLER, made.value.id)).sync, 'synced');
});

test('respond-async answers pending after the commit and hints the controllers, once for many', async () => {
  const listener = new pg.Client(it.databaseUrl);
  await listener.connect();
  try {
    await listener.query(`LISTEN ${CLOCKS_CHANNEL}`);
    const heard = once(listener, 'notification');
    const all = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        it.jobs.create(CALLER, { name: `async ${index}`, target: HTTP_TARGET, schedule: { every: '1h' } }, ASYNC),
      ),
    );
    assert.ok(all.every((one) => one.value.sync === 'pending'));
    await heard;
    await assert.rejects(describeSchedule(all[0]!.value.id), ScheduleNotFoundError);
  } finally {
    await listener.end();
  }
});
