/** Triggers that share a statement, and executions that share a workflow because they came together. Temporal is asked only where a test says so. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { Client, WorkflowStartOptions } from '@temporalio/client';
import { readConfig } from '../../src/config.ts';
import { executionsUnstarted } from '../../src/controller/execution-watch-store.ts';
import type { Caller } from '../../src/jobs/caller.ts';
import { createExecutionRequests, type RequestedExecution } from '../../src/jobs/execution-requests.ts';
import { createStarter, type Starter } from '../../src/jobs/execution-starts.ts';
import type { ExecutionStart } from '../../src/jobs/execution-store.ts';
import { bucketPoolId, partitionAtOf } from '../../src/jobs/ids.ts';
import { moveToPool } from '../../src/jobs/pool-start-store.ts';
import { beginPool } from '../../src/jobs/pools/pool-store.ts';
import { createLog } from '../../src/log.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { createTemporalClient } from '../../src/temporal.ts';
import { until } from '../support/almanac.ts';
import { countersOf, seedJob } from '../support/seed.ts';
import { createTestDatabase, createTestNamespace } from '../support/stack.ts';
import { refused } from './jobs-under-test.ts';

const caller: Caller = { holder: 'key', name: 'tester', team: 'default', role: 'admin', requestId: 'request' };
const PLAIN: RequestedExecution = { kind: 'manual', input: { n: 1 }, hasInput: true };
const log = createLog('test', 'silent');

let pool: Pool;
let temporal: Client;
let config: ReturnType<typeof readConfig>;
const closing: (() => Promise<unknown>)[] = [];
before(async () => {
  const database = await createTestDatabase();
  const namespace = await createTestNamespace();
  config = readConfig({ DATABASE_URL: database.url, TEMPORAL_ADDRESS: namespace.address, TEMPORAL_NAMESPACE: namespace.name });
  pool = createPool(config, log, 'test');
  temporal = createTemporalClient(config);
  closing.push(
    async () => temporal.connection.close(),
    () => pool.end(),
    database.drop,
  );
});
after(async () => {
  for (const close of closing) await close();
});

/** Requests of a process that starts nothing: it dies between commit and start. */
function requests() {
  const started: ExecutionStart[] = [];
  const starter: Pick<Starter, 'start' | 'startSoon' | 'startPoolAgain' | 'behind'> = {
    start: async (row) => {
      started.push(row);
      return 'started';
    },
    startSoon: (row) => void (row && started.push(row)),
    startPoolAgain: (row) => void started.push(row),
    behind: (work) => work,
  };
  return { ask: createExecutionRequests({ pool, config, starter: starter as Starter }), started };
}

async function poolableJob({ wish = 'auto', poolable = true, ...options }: { wish?: string; poolable?: boolean; overlap?: string } = {}) {
  const job = await seedJob(pool, { overlap: 'allow_all', ...options });
  await pool.query('UPDATE job_runtime SET poolable = $2, dispatch_wish = $3 WHERE job_id = $1', [job.id, poolable, wish]);
  return job.id;
}

type Row = {
  id: string;
  dispatch: string;
  workflow_id: string;
  status: string;
  reason: string | null;
  run_id: string | null;
  input: unknown;
  commit: string;
};
const rowsOf = async (jobId: string) =>
  (
    await pool.query<Row>(
      `SELECT id, dispatch, workflow_id, status, reason, run_id, input, xmin::text AS commit FROM job_executions WHERE job_id = $1 ORDER BY id`,
      [jobId],
    )
  ).rows;
const many = <T>(count: number, make: (nth: number) => T): T[] => Array.from({ length: count }, (_, nth) => make(nth));

test('50 triggers at once share a few commits, and each gets its own execution', async () => {
  const job = await poolableJob();
  const { ask, started } = requests();
  const views = await Promise.all(many(50, (n) => ask.one(caller, job, { ...PLAIN, input: { n } })));
  const rows = await rowsOf(job);
  assert.equal(rows.length, 50);
  assert.ok(new Set(rows.map((row) => row.commit)).size <= 3, 'commits');
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const [n, view] of views.entries()) {
    const row = byId.get(view.id)!;
    assert.deepEqual([row.input, view.input], [{ n }, { n }]);
    assert.deepEqual([view.dispatch, view.workflowId, view.status], [row.dispatch, row.workflow_id, row.status]);
  }
  const events = await pool.query(`SELECT after ->> 'execution' AS id FROM audit_events WHERE subject_id = $1`, [job]);
  assert.deepEqual(new Set(events.rows.map((event) => event.id)), new Set(byId.keys()));
  assert.deepEqual(await countersOf(pool, job), { active: 50, waiting: 0, rowsActive: 50, rowsWaiting: 0 });
  const pools = new Set(rows.map((row) => row.workflow_id));
  await until('every pool is started once', async () => started.length === pools.size);
  assert.deepEqual(new Set(started.map((row) => row.workflowId)), pools);
});

test('who asks for what cannot be had is told so, and the neighbours of the same statement are not', async () => {
  const [good, disabled, paused] = [await poolableJob(), await poolableJob(), await poolableJob()];
  const nobody = `${good.slice(0, -4)}0000`;
  await pool.query('UPDATE job_runtime SET enabled = false WHERE job_id = $1', [disabled]);
  await pool.query(`UPDATE job_runtime SET paused_at = now(), block_manual = true WHERE job_id = $1`, [paused]);
  await pool.query(`UPDATE jobs SET pause = '{"reason": "upgrade"}' WHERE id = $1`, [paused]);
  const { ask } = requests();
  const [, , , , blocked] = await Promise.all([
    ask.one(caller, good, PLAIN),
    refused(ask.one(caller, nobody, PLAIN), 'not_found', 'job_not_found'),
    refused(ask.one(caller, disabled, PLAIN), 'refused', 'job_disabled'),
    ask.one(caller, good, PLAIN),
    refused(ask.one(caller, paused, PLAIN), 'refused', 'job_paused'),
  ]);
  assert.match((blocked as Error).message, /\(upgrade\)/);
  const rows = await rowsOf(good);
  assert.equal(rows.length, 2);
  assert.equal(new Set(rows.map((row) => row.commit)).size, 1, 'one statement');
  assert.deepEqual([await rowsOf(disabled), await rowsOf(paused)], [[], []]);
});

test('data that Postgres does not take fails its own trigger alone', async () => {
  const job = await poolableJob();
  const { ask } = requests();
  const asked = [PLAIN, { ...PLAIN, timeoutMs: 1e30 }, PLAIN].map((one) => ask.one(caller, job, one));
  const answers = await Promise.allSettled(asked);
  assert.deepEqual(
    answers.map((answer) => answer.status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.equal((await rowsOf(job)).length, 2);
});

test('alone: a workflow of its own; in company: a shared one; forced ones as said', async () => {
  const { ask } = requests();
  const one = async (options: Parameters<typeof poolableJob>[0], asked: RequestedExecution = PLAIN) => {
    const job = await poolableJob(options);
    await ask.one(caller, job, asked);
    return (await rowsOf(job))[0]!;
  };
  const alone = await one({});
  assert.deepEqual([alone.dispatch, alone.workflow_id], ['dedicated', alone.id]);
  const forced = await one({ wish: 'pooled' });
  assert.equal(forced.dispatch, 'pooled');
  assert.match(forced.workflow_id, /^group-default-[0-9a-f]{8}-[0-9a-f]{4}-7/);

  const jobs = {
    auto: await poolableJob(),
    dedicated: await poolableJob({ wish: 'dedicated' }),
    long: await poolableJob({ poolable: false }),
    second: await poolableJob(),
  };
  await Promise.all([
    ...Object.values(jobs).map((job) => ask.one(caller, job, PLAIN)),
    ask.one(caller, jobs.auto, { ...PLAIN, timeoutMs: 10_001 }),
    ask.one(caller, jobs.auto, { ...PLAIN, timeoutMs: 10_000 }),
    ask.one(caller, jobs.auto, { ...PLAIN, generation: 1 }),
  ]);
  const dispatches = async (job: string) => (await rowsOf(job)).map((row) => row.dispatch).sort();
  assert.deepEqual(await dispatches(jobs.auto), ['dedicated', 'dedicated', 'pooled', 'pooled']);
  assert.deepEqual(await dispatches(jobs.dedicated), ['dedicated']);
  assert.deepEqual(await dispatches(jobs.long), ['dedicated']);
  assert.deepEqual(await dispatches(jobs.second), ['pooled']);
  const shared = [...(await rowsOf(jobs.auto)), ...(await rowsOf(jobs.second))].filter((row) => row.dispatch === 'pooled');
  assert.equal(new Set(shared.map((row) => row.workflow_id)).size, 1, 'one pool for the queue');
});

test('who asks again and again, faster than Temporal could follow, is in company too', async () => {
  const job = await poolableJob();
  const { ask, started } = requests();
  const began = performance.now();
  for (let n = 0; n < 60; n++) await ask.one(caller, job, PLAIN);
  if (performance.now() - began > 600) return; // a machine so slow proves nothing here
  const rows = await rowsOf(job);
  const own = rows.filter((row) => row.dispatch === 'dedicated').length;
  assert.equal(rows[0]!.dispatch, 'dedicated');
  assert.ok(own >= 1 && own <= 20, `${own} with a workflow of their own`);
  const workflows = new Set(rows.map((row) => row.workflow_id));
  await until('all are started', async () => started.length === workflows.size);
});

test('two that come together but of which one is skipped are no company', async () => {
  const job = await poolableJob({ overlap: 'skip' });
  const { ask } = requests();
  const [first, error] = await Promise.all([ask.one(caller, job, PLAIN), refused(ask.one(caller, job, PLAIN), 'refused', 'overlap')]);
  const rows = await rowsOf(job);
  assert.deepEqual(error.extra, { executionId: first.id, skippedId: rows[1]!.id });
  assert.deepEqual(
    rows.map((row) => [row.dispatch, row.status, row.reason]),
    [
      ['dedicated', 'queued', null],
      ['dedicated', 'skipped', 'skipped_overlap'],
    ],
  );
});

test('groups of one queue are started with a pause between them, however many statements they take', async () => {
  const job = await poolableJob();
  const { ask, started } = requests();
  await Promise.all(many(8, () => ask.one(caller, job, PLAIN)));
  await until('the first group is started', async () => started.length === 1);
  const began = performance.now();
  for (let round = 0; round < 5; round++) await Promise.all(many(3, () => ask.one(caller, job, PLAIN)));
  if (performance.now() - began > 45) return; // a machine so slow proves nothing here
  assert.equal(started.length, 1, 'the others still gather');
  await until('the second group is started', async () => started.length === 2);
  assert.deepEqual(new Set((await rowsOf(job)).map((row) => row.workflow_id)).size, 2);
});

test('a statement that waits for the lock of one job does not keep the triggers of others', async () => {
  const [locked, other] = [await poolableJob(), await poolableJob()];
  const { ask } = requests();
  const holder = await pool.connect();
  let waited = true;
  try {
    await holder.query('BEGIN');
    await holder.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [locked]);
    const first = ask.one(caller, locked, PLAIN).then((view) => {
      waited = false;
      return view;
    });
    await until('its statement waits', async () => {
      const { rows } = await pool.query(
        `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%admit_requests%'`,
      );
      return rows.length === 1;
    });
    assert.equal((await ask.one(caller, other, PLAIN)).status, 'queued');
    assert.ok(waited, 'the first one still waits');
    await holder.query('ROLLBACK');
    assert.equal((await first).status, 'queued');
  } finally {
    holder.release();
  }
});

test('rows of a statement that waited until their group was started have a group of their own', async () => {
  const [locked, other] = [await poolableJob(), await poolableJob()];
  const { ask, started } = requests();
  await Promise.all(many(40, () => ask.one(caller, other, PLAIN)));
  const began = performance.now();
  await until(
    'the first group is started, and the pause after it is over',
    async () => started.length === 1 && performance.now() - began > 60,
  );
  const holder = await pool.connect();
  try {
    await holder.query('BEGIN');
    await holder.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [locked]);
    const slow = Promise.all([ask.one(caller, locked, PLAIN), ask.one(caller, locked, PLAIN)]);
    // its statement goes out in this turn, and waits
    await setImmediate();
    const quick = await ask.one(caller, other, PLAIN);
    await until('the group of both is started', async () => started.some((row) => row.workflowId === quick.workflowId));
    await holder.query('ROLLBACK');
    await slow;
    const late = await until('a group of its own', async () => started.find((row) => row.id.startsWith(locked)));
    assert.notEqual(late.workflowId, quick.workflowId);
    assert.deepEqual(new Set((await rowsOf(locked)).map((row) => row.workflow_id)), new Set([late.workflowId]));
    assert.ok(
      (await rowsOf(other)).every((row) => row.workflow_id !== late.workflowId),
      'the others are where they were',
    );
  } finally {
    await holder.query('ROLLBACK');
    holder.release();
  }
});

test('only rows that nobody has begun are moved to another pool', async () => {
  const job = await poolableJob();
  const { ask } = requests();
  const views = await Promise.all(many(3, () => ask.one(caller, job, PLAIN)));
  const from = views[0]!.workflowId!;
  await pool.query(`UPDATE job_executions SET run_id = 'run-1' WHERE workflow_id = $1`, [from]);
  const ids = (await rowsOf(job)).map((row) => row.id);
  const begun = { team: 'default', pool: from, runId: 'run-1', chunk: '1@test', priority: 3 };
  await beginPool(pool, { ...begun, from: ids[0]!, to: ids[0]! });
  const rows = ids.map((id) => ({ id, partitionAt: partitionAtOf(id)!.toISOString() }));
  assert.equal(await moveToPool(pool, rows, 'group-default-other', 'group-default-to'), 0);
  assert.equal(await moveToPool(pool, rows, from, 'group-default-to'), 2);
  assert.deepEqual(
    (await rowsOf(job)).map((row) => [row.workflow_id, row.run_id]),
    [
      [from, 'run-1'],
      ['group-default-to', null],
      ['group-default-to', null],
    ],
  );
});

test('10,000 inputs are 10,000 rows in a few seconds, in pools, with one event', async () => {
  const job = await poolableJob();
  const { ask, started } = requests();
  const began = performance.now();
  const answer = await ask.batch(
    caller,
    job,
    many(10_000, (n) => ({ kind: 'batch', input: { n }, hasInput: true })),
  );
  const tookMs = performance.now() - began;
  assert.ok(tookMs < 8_000, `${tookMs} ms`);
  assert.deepEqual([answer.accepted, answer.skipped, answer.items.length], [10_000, 0, 10_000]);
  const rows = await rowsOf(job);
  const inputs = new Map(rows.map((row) => [row.id, (row.input as { n: number }).n]));
  assert.deepEqual(
    answer.items.map((item) => inputs.get(item.id)),
    many(10_000, (n) => n),
  );
  assert.ok(rows.every((row) => row.dispatch === 'pooled' && row.status === 'queued'));
  assert.equal(new Set(rows.map((row) => row.commit)).size, 1, 'all or nothing');
  assert.equal(new Set(rows.map((row) => row.workflow_id)).size, 10);
  await until('every pool is started', async () => started.length === 10);
  const events = await pool.query(`SELECT action, after FROM audit_events WHERE subject_id = $1`, [job]);
  assert.deepEqual(
    events.rows.map(({ action, after: { count, accepted } }) => [action, count, accepted]),
    [['job.triggered', 10_000, 10_000]],
  );
});

test('inputs of a job that lets one run at a time: one runs, the rest is skipped; of one that is disabled: nothing', async () => {
  const job = await poolableJob({ overlap: 'skip' });
  const { ask } = requests();
  const inputs = many(5, (n): RequestedExecution => ({ kind: 'batch', input: n, hasInput: true }));
  const answer = await ask.batch(caller, job, inputs);
  assert.deepEqual([answer.accepted, answer.skipped], [1, 4]);
  assert.deepEqual(
    answer.items.map((item) => [item.status, item.reason]),
    [['queued', null], ...many(4, () => ['skipped', 'skipped_overlap'])],
  );
  await pool.query('UPDATE job_runtime SET enabled = false WHERE job_id = $1', [job]);
  await refused(ask.batch(caller, job, inputs), 'refused', 'job_disabled');
  assert.equal((await rowsOf(job)).length, 5);
});

test('rows of a process that died between commit and start are found by the controller, and many rows of a pool cost one start', async () => {
  const job = await poolableJob();
  const { ask } = requests();
  await Promise.all(many(30, () => ask.one(caller, job, PLAIN)));
  const unstarted = async () => (await executionsUnstarted(pool, 0, 20_000)).filter((row) => row.id.startsWith(job));
  const found = await unstarted();
  const byPool = Object.groupBy(await rowsOf(job), (row) => row.workflow_id);
  assert.deepEqual(found.map((row) => row.workflowId).sort(), Object.keys(byPool).sort());
  const asked: string[] = [];
  const starter = createStarter({ pool, temporal: counted(asked), log });
  const starts = found.flatMap((row) => byPool[row.workflowId]!.map(({ id }) => ({ ...row, id })));
  assert.equal(starts.length, 30);
  const answers = await Promise.all(starts.map((row) => starter.start(row)));
  assert.deepEqual(new Set(answers), new Set(['started']));
  for (const row of starts) assert.equal(await starter.start(row), 'started', 'again');
  assert.deepEqual(asked.sort(), Object.keys(byPool).sort(), 'one start for each');
  await starter.drain();
  const rows = await rowsOf(job);
  const pools = new Map(rows.map((row) => [row.workflow_id, row.run_id]));
  assert.ok(pools.size <= 3);
  for (const [id, runId] of pools) {
    const described = await temporal.workflow.getHandle(id).describe();
    assert.deepEqual([described.type, described.runId, described.taskQueue], ['servePool', runId, 'almanac-default:pools']);
  }
  assert.ok(
    rows.every((row) => row.run_id === pools.get(row.workflow_id)),
    'every row knows its run',
  );
  assert.deepEqual(await unstarted(), []);
});

test('a pool that is due later begins a second before; a thousand who join it cost one start, and those who join when it was ended start it anew', async () => {
  const asked: string[] = [];
  const starter = createStarter({ pool, temporal: counted(asked), log });
  const dueAt = new Date(Date.now() + 30_000);
  const row = (nth: number): ExecutionStart => ({
    team: 'default',
    id: `later ${nth}`,
    partitionAt: new Date().toISOString(),
    workflowId: bucketPoolId('default', 'default', dueAt),
    queue: 'default',
    dueAt: dueAt.toISOString(),
    priority: 3,
    jobName: 'later',
    dispatch: 'pooled',
  });
  const join = (count: number) => Promise.all(many(count, (nth) => starter.start(row(nth))));
  assert.deepEqual(new Set(await join(500)), new Set(['started']));
  const handle = temporal.workflow.getHandle(row(1).workflowId);
  const { runId, raw } = await handle.describe();
  const beginsAt = Number(raw.workflowExecutionInfo?.executionTime?.seconds) * 1_000;
  assert.ok(Math.abs(beginsAt - (dueAt.getTime() - 1_000)) <= 1_000, `${beginsAt} for ${dueAt.getTime()}`);
  assert.deepEqual(new Set(await join(500)), new Set(['started']));
  assert.equal(asked.length, 1, 'one start');
  await handle.terminate();
  await until(
    'another run',
    async () => (await join(10)).every((answer) => answer === 'started') && (await handle.describe()).runId !== runId,
    5_000,
  );
  assert.equal(asked.length, 2);
  await starter.drain();
});

/** Writes down which workflows are started. */
function counted(asked: string[]): Client {
  const start = (type: string, options: WorkflowStartOptions) => {
    asked.push(options.workflowId);
    return temporal.workflow.start(type, options);
  };
  return { workflow: { start } } as unknown as Client;
}
