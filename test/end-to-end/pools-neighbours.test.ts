/** Executions that share a workflow and what happens to one of them, or to the workflow: the others are none the worse. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

const PER_TARGET = 5;

let almanac: Almanac;
let quick: Receiver;
let hanging: Receiver;
before(async () => {
  quick = await startReceiver();
  hanging = await startReceiver(() => {});
  almanac = await startAlmanac({ settings: { POOL_CALLS_PER_TARGET: String(PER_TARGET) } });
});
after(async () => {
  await almanac?.close();
  await quick?.close();
  await hanging?.close();
});

const create = async (name: string, url: string, more: object = {}): Promise<Body> => {
  const { status, text, body } = await almanac.api.post('/jobs', { name, target: { type: 'http', url }, dispatch: 'pooled', ...more });
  assert.equal(status, 201, text);
  return body;
};
/** Many jobs, some at a time. */
async function createAll(count: number, one: (nth: number) => Promise<Body>): Promise<Body[]> {
  const made: Body[] = [];
  for (let from = 0; from < count; from += 20) {
    made.push(...(await Promise.all(Array.from({ length: Math.min(20, count - from) }, (_, nth) => one(from + nth)))));
  }
  return made;
}
const removeAll = (jobs: Body[]) =>
  createAll(jobs.length, async (nth) => almanac.api.call('DELETE', `/jobs/${jobs[nth].id}?running=cancel`));
const triggerMany = async (job: Body, count: number): Promise<Body[]> => {
  const { status, body, text } = await almanac.api.post(`/schedule/${job.id}/trigger`, {
    inputs: Array.from({ length: count }, (_, n) => n),
  });
  assert.equal(status, 202, text);
  return body.items;
};
const show = async (job: Body, execution: Body): Promise<Body> => (await almanac.api.get(`/executions/${job.id}/${execution.id}`)).body;

test('of 200 members of a slot 40 call a host that hangs: every other one starts at once', async (t) => {
  const schedule = { every: '15s' };
  const jobs = await createAll(200, (nth) =>
    create(`neighbour ${nth}`, `${nth % 5 === 0 ? hanging.url : quick.url}/n${nth % 5}`, { schedule }),
  );
  const since = new Date();
  const [slot] = await until(
    'a whole slot has been begun',
    async () => {
      const { rows } = await almanac.pool.query(
        `SELECT slot, extract(epoch FROM max(started_at) - min(started_at))::float8 AS apart, count(*)::int AS count FROM job_executions
          WHERE trigger = 'schedule' AND slot > $1 AND status = 'succeeded' GROUP BY slot HAVING count(*) = 160`,
        [since],
      );
      return rows.length > 0 && rows;
    },
    40_000,
  );
  assert.ok(slot.apart < 1, `${slot.apart} s between the first and the last`);
  t.diagnostic(`${slot.count} started within ${slot.apart} s`);
  const stuck = jobs.filter((_, nth) => nth % 5 === 0).map((job) => job.id);
  await until('who waits for the host that hangs is nobody’s call meanwhile', async () => {
    const { rows } = await almanac.pool.query(
      `SELECT count(*) FILTER (WHERE status = 'running')::int AS running, max(attempt) AS attempt FROM job_executions WHERE slot = $1 AND job_id = ANY ($2)`,
      [slot.slot, stuck],
    );
    assert.ok(rows[0].attempt <= 1, 'an attempt is a call');
    return rows[0].running <= PER_TARGET;
  });
  await removeAll(jobs);
  await until('all have ended', async () => {
    const { rows } = await almanac.pool.query(`SELECT count(*)::int AS count FROM job_executions WHERE status IN ('queued', 'running')`);
    return rows[0].count === 0;
  });
});

test('cancelling or terminating one member aborts that call alone', async () => {
  const job = await create('one of them', `${hanging.url}/one`, { overlap: 'allow_all', timeout: '6s', retry: { maxAttempts: 1 } });
  const items = await triggerMany(job, 4);
  const its = () => hanging.calls.filter((call) => call.path === '/one');
  await until('all are called', () => its().length === 4);
  const [cancelled, terminated, ...others] = items as [Body, Body, ...Body[]];
  await almanac.api.post(`/executions/${job.id}/${cancelled.id}/cancel`);
  await almanac.api.post(`/executions/${job.id}/${terminated.id}/terminate`);
  assert.equal((await almanac.finished(job.id, cancelled.id, 3_000)).status, 'cancelled');
  assert.equal((await almanac.finished(job.id, terminated.id, 3_000)).status, 'terminated');
  const callOf = ({ id }: Body) => its().find((call) => call.execution === id)!;
  await until('both calls are broken off', () => callOf(cancelled).aborted && callOf(terminated).aborted, 3_000);
  for (const other of others) assert.equal(callOf(other).aborted, false);
  for (const other of others) {
    assert.equal((await almanac.finished(job.id, other.id)).status, 'timed_out');
  }
});

for (const [how, status] of [
  ['cancel', 'cancelled'],
  ['terminate', 'terminated'],
] as const)
  test(`whoever ${how}s the workflow of a pool in Temporal ends its executions, those in their calls and those before`, async () => {
    const path = `/${how}`;
    const job = await create(`workflow ${how}`, `${hanging.url}${path}`, { overlap: 'allow_all' });
    const items = await triggerMany(job, PER_TARGET * 3);
    const its = () => hanging.calls.filter((call) => call.path === path);
    await until('some are called', () => its().length === PER_TARGET);
    const { workflowId } = await show(job, items[0]!);
    assert.match(workflowId, /^group-/);
    await almanac.temporal.workflow.getHandle(workflowId)[how]();
    for (const item of items) {
      const row = await almanac.finished(job.id, item.id, 25_000);
      assert.equal(row.status, status, `${row.reason}`);
      assert.match(row.reason, how === 'cancel' ? /^cancelled in Temporal$/ : /^workflow_terminated$/);
    }
    await until('the calls are broken off', () => its().every((call) => call.aborted), 5_000);
    assert.ok(its().length <= PER_TARGET * 2, `${its().length} calls`);
  });

test('a slot of 1,000 members leaves a history of no more than 200 events', async (t) => {
  const jobs = await createAll(1_000, (nth) => create(`member ${nth}`, `${quick.url}/member`, { schedule: { every: '20s' } }));
  const since = new Date();
  const [{ pool }] = await until(
    'a whole slot has succeeded',
    async () => {
      const { rows } = await almanac.pool.query(
        `SELECT slot, min(workflow_id) AS pool FROM job_executions WHERE job_name LIKE 'member %' AND slot > $1 AND status = 'succeeded'
          GROUP BY slot HAVING count(*) = 1000 AND count(DISTINCT workflow_id) = 1`,
        [since],
      );
      return rows.length > 0 && rows;
    },
    60_000,
  );
  const handle = almanac.temporal.workflow.getHandle(pool);
  await handle.result();
  const { historyLength } = await handle.describe();
  assert.ok(historyLength <= 200, `${historyLength} events`);
  t.diagnostic(`${historyLength} events`);
  await removeAll(jobs);
});

test('a job that is switched between both kinds of dispatch 20 times while it fires has one row for each slot', async (t) => {
  const job = await create('switched', `${quick.url}/switched`, { schedule: { every: '1s' }, overlap: 'allow_all' });
  for (let n = 0; n < 20; n += 1) {
    await sleep(300 + Math.random() * 900);
    const { status, text } = await almanac.api.call('PATCH', `/jobs/${job.id}`, {
      dispatch: n % 2 === 0 ? 'dedicated' : 'pooled',
      priority: 1 + (n % 5),
    });
    assert.equal(status, 200, text);
  }
  const ended = await almanac.api.call('DELETE', `/schedule/${job.id}`);
  assert.equal(ended.status, 200, ended.text);
  const { rows: members } = await almanac.pool.query('SELECT max(valid_to) AS until FROM clock_members WHERE job_id = $1', [job.id]);
  const [from, to] = [Date.parse(job.createdAt), members[0].until.getTime()];
  const expected = Array.from(
    { length: Math.floor(to / 1_000) - Math.floor(from / 1_000) },
    (_, n) => (Math.floor(from / 1_000) + 1 + n) * 1_000,
  );
  const rows = await until(
    'every slot has a row that has ended',
    async () => {
      const { rows } = await almanac.pool.query(
        `SELECT slot, status, reason, dispatch, count(*) OVER (PARTITION BY slot)::int AS rows FROM job_executions WHERE job_id = $1 AND trigger = 'schedule' ORDER BY slot`,
        [job.id],
      );
      return rows.length >= expected.length && rows.every((row) => !['queued', 'running'].includes(row.status)) && rows;
    },
    40_000,
  );
  assert.deepEqual(
    rows.map((row) => row.slot.getTime()),
    expected,
  );
  const calls = quick.calls.filter((call) => call.path === '/switched').map((call) => call.execution);
  assert.deepEqual([calls.length, new Set(calls).size], [rows.filter((row) => row.status === 'succeeded').length, calls.length]);
  t.diagnostic(`${rows.map((row) => `${row.dispatch[0]}${row.reason ? `(${row.reason})` : ''}`).join('')}`);
  await removeAll([job]);
});
