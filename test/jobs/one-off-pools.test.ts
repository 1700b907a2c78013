/** One-offs that are due in the same second share a workflow, from the second one on (semantics.md 17). */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { beginQueued } from '../../src/jobs/beginning-store.ts';
import { bucketPoolId, partitionAtOf } from '../../src/jobs/ids.ts';
import type { JobView } from '../../src/jobs/job-view.ts';
import { countersOf } from '../support/seed.ts';
import { ASYNC, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, rows } from './jobs-under-test.ts';

let it: JobsUnderTest;
const stopped: string[] = [];
before(async () => {
  it = await jobsUnderTest({ CATEGORY_QUEUES: 'batch=slow' }, stopped);
});
after(() => it.close());

const create = async (body: object): Promise<JobView> => (await it.jobs.create(CALLER, { target: HTTP_TARGET, ...body }, ASYNC)).value;
const patch = async (idOrName: string, body: object): Promise<JobView> => (await it.jobs.patch(CALLER, idOrName, body, ASYNC)).value;
type Once = { id: string; dispatch: string; workflow_id: string; run_id: string | null; status: string };
const onceOf = async (jobId: string): Promise<Once> =>
  (
    await rows<Once>(
      it.pool,
      `SELECT id, dispatch, workflow_id, run_id, status FROM job_executions WHERE job_id = $1 AND trigger = 'once'`,
      jobId,
    )
  )[0]!;

let minutes = 10;
/** A whole second that no other test has. */
const nextSecond = (): Date => new Date(Math.ceil(Date.now() / 1000) * 1000 + ++minutes * 60_000);
const bucketOf = (at: Date, queue = 'default') => `once-default:${queue}-${at.toISOString().slice(0, 19)}Z`;

test('the first of a second has its own workflow, the others share one', async () => {
  const at = nextSecond();
  const jobs: JobView[] = [];
  for (const [n, ms] of [0, 999, 500].entries()) {
    const schedule = { at: new Date(at.getTime() + ms).toISOString() };
    jobs.push(await create({ name: `second ${n}`, schedule }));
  }
  const next = await create({ name: 'next second', schedule: { at: new Date(at.getTime() + 1_000).toISOString() } });
  const first = await onceOf(jobs[0]!.id);
  assert.deepEqual([first.dispatch, first.workflow_id], ['dedicated', first.id]);
  for (const { id } of jobs.slice(1)) {
    const row = await onceOf(id);
    assert.deepEqual([row.dispatch, row.workflow_id], ['pooled', bucketOf(at)]);
  }
  assert.deepEqual(
    [...jobs, next].map((job) => job.dispatchChoice.reason),
    [
      'auto: a schedule and workflows of its own',
      'auto: another one-off is due in the same second',
      'auto: another one-off is due in the same second',
      'auto: a schedule and workflows of its own',
    ],
  );
});

test('a team and a queue whose names could be cut at another place have a pool of their own', () => {
  const at = nextSecond();
  assert.notEqual(bucketPoolId('north', 'sea-slow', at), bucketPoolId('north-sea', 'slow', at));
});

test('another queue, a longer call or a wish of its own keeps it apart', async () => {
  const at = nextSecond();
  const schedule = { at: at.toISOString() };
  await create({ name: 'apart', schedule });
  const kept = [
    await create({ name: 'apart queue', schedule, category: 'batch' }),
    await create({ name: 'apart long', schedule, timeout: '11s' }),
    await create({ name: 'apart own', schedule, dispatch: 'dedicated' }),
  ];
  for (const { id } of kept) assert.equal((await onceOf(id)).dispatch, 'dedicated');
  const asked = await create({ name: 'asked', schedule: { at: nextSecond().toISOString() }, dispatch: 'pooled' });
  assert.match((await onceOf(asked.id)).workflow_id, /^once-default:default-/);
  assert.deepEqual(asked.dispatchChoice, { dispatch: 'pooled', reason: 'asked for' });
});

test('nobody joins the pool of a second that is about to be served', async () => {
  const at = new Date(Math.ceil(Date.now() / 1000) * 1000 + 60_000);
  const soon = { at: new Date(Date.now() + 1_500).toISOString() };
  await create({ name: 'soon first', schedule: { at: at.toISOString() } });
  await it.pool.query(`UPDATE job_executions SET due_at = $1, slot = $1 WHERE job_name = 'soon first'`, [soon.at]);
  const auto = await create({ name: 'soon auto', schedule: soon });
  assert.equal((await onceOf(auto.id)).dispatch, 'dedicated');
  const asked = await create({ name: 'soon asked', schedule: soon, dispatch: 'pooled' });
  const row = await onceOf(asked.id);
  assert.equal(row.dispatch, 'pooled');
  assert.match(row.workflow_id, /^group-default-/);
});

test('one moves out of its pool and into another, and is cancelled, without touching the pool', async () => {
  const [at, later] = [nextSecond(), nextSecond()];
  await create({ name: 'there', schedule: { at: at.toISOString() } });
  await create({ name: 'later', schedule: { at: later.toISOString() } });
  const { id } = await create({ name: 'moves', schedule: { at: at.toISOString() } });
  await it.pool.query(`UPDATE job_executions SET run_id = 'pool run' WHERE job_id = $1`, [id]);
  const before = await onceOf(id);

  await patch(id, { priority: 1 });
  assert.deepEqual(await onceOf(id), before, 'an edit that is none of its business leaves it there');
  await patch(id, { timeout: '30s' });
  const own = await onceOf(id);
  assert.deepEqual([own.dispatch, own.workflow_id, own.run_id], ['dedicated', `${own.id}-g3`, null]);
  await patch(id, { timeout: '10s' });
  assert.equal((await onceOf(id)).dispatch, 'dedicated', 'and one that allows the pool again does not force it');
  const moved = await patch(id, { schedule: { at: later.toISOString() } });
  assert.equal(moved.sync, 'pending');
  const second = await onceOf(id);
  assert.deepEqual([second.id, second.dispatch, second.workflow_id], [before.id, 'pooled', bucketOf(later)]);
  await patch(id, { schedule: { at: nextSecond().toISOString() } });
  assert.equal((await onceOf(id)).workflow_id, `${own.id}-g6`);
  await patch(id, { schedule: { at: at.toISOString() } });
  assert.equal((await onceOf(id)).workflow_id, bucketOf(at));
  await it.jobs.remove(CALLER, id, ASYNC);
  assert.equal((await onceOf(id)).status, 'cancelled');
  assert.deepEqual(stopped, [`${own.id}-g3`, `${own.id}-g6`], 'only workflows that it had to itself are stopped');
});

test('one that is held by a freeze has one run all the same when it is given another time, and keeps it when something else is changed', async () => {
  const job = await create({ name: 'held', schedule: { at: nextSecond().toISOString() } });
  const { id } = await onceOf(job.id);
  const key = { team: 'default', partitionAt: partitionAtOf(id)!, id };
  await it.pool.query(`UPDATE job_executions SET due_at = now() - interval '1 second' WHERE id = $1`, [id]);
  await it.pool.query(
    `INSERT INTO freezes (id, team, scope, reason, from_at, created_by) VALUES ('frz_once', 'default', 'team', 'x', now() - interval '1 minute', 'tests')`,
  );
  const hold = async () => {
    const { workflow_id: workflowId } = await onceOf(job.id);
    return await beginQueued(it.pool, { ...key, workflowId, runId: 'run', bufferLimit: 10, shortMs: 10_000 });
  };
  assert.equal((await hold())?.decision, 'wait');
  assert.equal((await patch(job.id, { description: 'the same run' })).state, 'active');
  assert.equal((await hold())?.decision, 'wait');
  const later = nextSecond();
  await patch(job.id, { schedule: { at: later.toISOString() } });
  assert.deepEqual(
    await rows(it.pool, `SELECT id, due_at, waiting, counted, reason, status FROM job_executions WHERE job_id = $1`, job.id),
    [{ id, due_at: later, waiting: false, counted: false, reason: null, status: 'queued' }],
  );
  assert.deepEqual(await countersOf(it.pool, job.id), { active: 0, waiting: 0, rowsActive: 0, rowsWaiting: 0 });
  await it.pool.query('DELETE FROM freezes');
});
