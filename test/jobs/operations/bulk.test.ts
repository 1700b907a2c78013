/** Bulk operations: what they select, what they do, what is left when somebody dies or aborts. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { BulkRequest } from '../../../src/jobs/operations/operations.ts';
import { actionsOf, CALLER, clockOf, refused, rows } from '../jobs-under-test.ts';
import { type OperationsUnderTest, operationsUnderTest } from './operations-under-test.ts';

let it: OperationsUnderTest;
before(async () => {
  it = await operationsUnderTest();
});
after(() => it.close());

const bulk = (
  action: BulkRequest['action'],
  selection: BulkRequest['selection'],
  params: unknown = {},
  more: Partial<BulkRequest> = {},
) => ({
  action,
  selection,
  params,
  reason: null,
  ratePerMinute: null,
  ...more,
});
const PAUSE = { blockManual: false, until: null };
const tagged = (tag: string) => ({ of: 'jobs' as const, filter: { tag: [tag] } });

test('a bulk pause selects by the filters of the list, pauses each job with its audit event, and says what was so already', async () => {
  const ids: string[] = [];
  for (const nth of [1, 2, 3]) ids.push(await it.job(`pause ${nth}`, { tags: { set: 'pause' } }));
  const other = await it.job('not paused');
  await it.schedules.pause(CALLER, ids[1]!, { reason: 'migration' }, { respondAsync: true });

  const request = bulk('pause', tagged('set:pause'), PAUSE, { reason: 'migration' });
  const preview = await it.operations.preview(CALLER, request);
  assert.deepEqual([preview.count, preview.sample.map((one) => one.jobId)], [3, ids]);
  const operation = await it.operations.create(CALLER, request);
  assert.deepEqual([operation.state, operation.progress.total, operation.progress.pending], ['queued', 3, 3]);
  assert.ok(it.begun.includes(operation.id));
  // the selection is fixed by now
  await it.job('too late', { tags: { set: 'pause' } });

  assert.equal((await it.workOff(operation.id)).done, true);
  assert.deepEqual(await it.itemsOf(operation), ['succeeded', 'unchanged', 'succeeded']);
  const ended = await it.operations.get(CALLER, 'bulk', operation.id);
  assert.deepEqual(
    [ended.state, ended.progress],
    ['completed', { total: 3, done: 3, pending: 0, results: { succeeded: 2, unchanged: 1 } }],
  );
  for (const id of ids) assert.equal((await it.jobs.get(CALLER, id)).pause?.reason, 'migration');
  assert.equal((await it.jobs.get(CALLER, other)).pause, null);
  assert.deepEqual(await actionsOf(it.pool, ids[0]!), ['job.created', 'job.paused']);
  assert.equal((await clockOf(it.pool, ids[0]!))?.paused, true);
  const ranges = await rows(it.pool, `SELECT 1 FROM slot_ranges WHERE job_id = ANY ($1) AND reason = 'paused' AND to_at IS NULL`, ids);
  assert.equal(ranges.length, 3);
  assert.deepEqual(await actionsOf(it.pool, operation.id), ['operation.created', 'operation.completed']);

  const resume = await it.operations.create(
    CALLER,
    bulk('resume', { of: 'jobs', ids: [...ids, other] }, { policy: 'none', order: 'oldest', ratePerMinute: null }),
  );
  await it.workOff(resume.id);
  assert.deepEqual(await it.itemsOf(resume), ['succeeded', 'succeeded', 'succeeded', 'unchanged']);
  const awake = await it.jobs.get(CALLER, ids[0]!);
  assert.deepEqual([awake.state, awake.pause], ['active', null]);
  assert.ok(awake.nextRunAt);
});

test('an operation that dies between two batches goes on where it was, and nothing is done twice', async () => {
  const ids: string[] = [];
  for (const nth of [1, 2, 3, 4]) ids.push(await it.job(`death ${nth}`));
  const operation = await it.operations.create(CALLER, bulk('pause', { of: 'jobs', ids }, PAUSE));
  const whole = it.appliers.pause.batch;
  it.appliers.pause.batch = 2;
  await it.workOff(operation.id, 1);
  assert.deepEqual(await it.itemsOf(operation), ['succeeded', 'succeeded', 'pending', 'pending']);

  // a batch whose transaction is lost leaves nothing behind
  const { apply } = it.appliers.pause;
  it.appliers.pause.apply = async (tx, row, items) => {
    await apply(tx, row, items);
    throw Object.assign(new Error('terminating connection due to administrator command'), { code: '57P01' });
  };
  await assert.rejects(it.workOff(operation.id, 1));
  assert.equal((await it.jobs.get(CALLER, ids[2]!)).pause, null);
  it.appliers.pause.apply = apply;
  it.appliers.pause.batch = whole;

  assert.equal((await it.workOff(operation.id)).done, true);
  assert.deepEqual(await it.itemsOf(operation), ['succeeded', 'succeeded', 'succeeded', 'succeeded']);
  for (const id of ids) assert.deepEqual(await actionsOf(it.pool, id), ['job.created', 'job.paused']);
});

test('an item that goes wrong is the only one that does', async () => {
  const ids: string[] = [];
  for (const nth of [1, 2, 3]) ids.push(await it.job(`blame ${nth}`));
  const operation = await it.operations.create(CALLER, bulk('pause', { of: 'jobs', ids }, PAUSE));
  const { apply } = it.appliers.pause;
  it.appliers.pause.apply = async (tx, row, items) => {
    if (items.some((item) => item.job_id === ids[1])) throw new Error('the second one is cursed');
    return await apply(tx, row, items);
  };
  try {
    assert.equal((await it.workOff(operation.id)).done, true);
  } finally {
    it.appliers.pause.apply = apply;
  }
  assert.deepEqual(await it.itemsOf(operation), ['succeeded', 'failed: failed', 'succeeded']);
  const { items } = await it.operations.items(CALLER, 'bulk', operation.id, { result: ['failed'], limit: 10 });
  assert.deepEqual([items.length, items[0]?.jobId, items[0]?.message], [1, ids[1], 'the second one is cursed']);
});

test('an abort ends what has not had its turn, once', async () => {
  const ids: string[] = [];
  for (const nth of [1, 2, 3]) ids.push(await it.job(`abort ${nth}`));
  const operation = await it.operations.create(CALLER, bulk('pause', { of: 'jobs', ids }, PAUSE, { ratePerMinute: 1 }));
  const first = await it.workOff(operation.id);
  assert.equal(first.done, false);
  assert.ok(first.waitMs > 50_000 && first.waitMs <= 60_000, `one a minute: ${first.waitMs} ms`);
  const aborted = await it.operations.abort(CALLER, 'bulk', operation.id);
  assert.deepEqual([aborted.state, aborted.abortedBy, aborted.progress.results], ['aborted', 'tests', { succeeded: 1, aborted: 2 }]);
  assert.deepEqual(await it.operations.abort(CALLER, 'bulk', operation.id), aborted);
  assert.deepEqual(await it.workOff(operation.id), { passes: 1, done: true, waitMs: 0 });
  assert.equal((await it.jobs.get(CALLER, ids[1]!)).pause, null);
  assert.deepEqual(await actionsOf(it.pool, operation.id), ['operation.created', 'operation.aborted']);
});

test('priority, category and tags of many change as if each were patched', async () => {
  const first = await it.job('change 1', { tags: { a: '1', b: '2' }, priority: 1 });
  const second = await it.job('change 2', { tags: { b: 'x' }, category: 'night', priority: 2 });
  const params = { priority: 1, category: 'night', tags: { set: { b: 'x', c: '3' }, remove: ['a'] } };
  const operation = await it.operations.create(CALLER, bulk('change', { of: 'jobs', ids: [first, second] }, params));
  await it.workOff(operation.id);
  const changed = await it.jobs.get(CALLER, first);
  assert.deepEqual([changed.generation, changed.category, changed.tags, changed.priority], [2, 'night', { b: 'x', c: '3' }, 1]);
  assert.equal((await rows<{ queue: string }>(it.pool, 'SELECT queue FROM job_runtime WHERE job_id = $1', first))[0]?.queue, 'slow');
  const again = await it.operations.create(CALLER, bulk('change', { of: 'jobs', ids: [first, second] }, params));
  await it.workOff(again.id);
  assert.deepEqual(await it.itemsOf(again), ['unchanged', 'unchanged']);
  const many = { tags: { set: Object.fromEntries(Array.from({ length: 50 }, (_, nth) => [`t${nth}`, 'x'])) } };
  const tooMany = await it.operations.create(CALLER, bulk('change', { of: 'jobs', ids: [first] }, many));
  await it.workOff(tooMany.id);
  assert.deepEqual(await it.itemsOf(tooMany), ['refused: invalid_job']);
});

test('what is deleted is gone, and what is not there is refused by name', async () => {
  const id = await it.job('deleted in bulk');
  const unknown = `${id.slice(0, -4)}ffff`;
  const operation = await it.operations.create(CALLER, bulk('delete', { of: 'jobs', ids: [id, unknown] }, { running: null }));
  await it.workOff(operation.id);
  assert.deepEqual(await it.itemsOf(operation), ['succeeded', 'refused: not_found']);
  await refused(it.jobs.get(CALLER, id), 'not_found', 'job_not_found');
});

test('triggers obey overlap, retries go one after another, and executions say which operation asked for them', async () => {
  const idle = await it.job('idle');
  const off = await it.job('off', { enabled: false });
  const both = await it.operations.create(
    CALLER,
    bulk('trigger', { of: 'jobs', ids: [idle, off] }, { hasInput: true, input: { n: 1 }, timeoutMs: null }),
  );
  await it.workOff(both.id);
  assert.deepEqual(await it.itemsOf(both), ['succeeded', 'refused: job_disabled']);
  const busy = await it.operations.create(CALLER, bulk('trigger', { of: 'jobs', ids: [idle] }, { hasInput: false, timeoutMs: null }));
  await it.workOff(busy.id);
  assert.deepEqual(await it.itemsOf(busy), ['skipped: skipped_overlap']);
  const made = await rows<{ id: string; input: unknown; trigger: string }>(
    it.pool,
    'SELECT id, input, trigger FROM job_executions WHERE operation_id = $1',
    both.id,
  );
  assert.deepEqual(
    made.map(({ input, trigger }) => [input, trigger]),
    [[{ n: 1 }, 'manual']],
  );

  const stopped = await it.operations.create(CALLER, bulk('cancel', { of: 'executions', filter: { jobId: idle } }));
  assert.equal(stopped.progress.total, 1, 'only what is unfinished');
  await it.workOff(stopped.id);
  assert.deepEqual(await it.itemsOf(stopped), ['succeeded']);
  const again = await it.operations.create(CALLER, bulk('terminate', { of: 'executions', ids: [made[0]!.id] }));
  await it.workOff(again.id);
  assert.deepEqual(await it.itemsOf(again), ['unchanged']);

  // two failed ones of one job: the second waits until the first retry has ended
  const second = await it.operations.create(CALLER, bulk('trigger', { of: 'jobs', ids: [idle] }, { hasInput: false, timeoutMs: null }));
  await it.workOff(second.id);
  const ended = await it.operations.create(CALLER, bulk('terminate', { of: 'executions', filter: { operationId: second.id } }));
  await it.workOff(ended.id);
  const retry = await it.operations.create(CALLER, bulk('retry', { of: 'executions', filter: { jobId: idle } }, { definition: 'current' }));
  assert.equal(retry.progress.total, 2, 'what was skipped is not retried');
  const waiting = await it.workOff(retry.id);
  assert.equal(waiting.done, false);
  assert.deepEqual(await it.itemsOf(retry), ['succeeded', 'pending']);
  assert.equal((await it.operations.get(CALLER, 'bulk', retry.id)).waitingFor, 'overlap');
  const [running] = await rows<{ partition_at: Date; id: string; input: unknown; retry_of: string }>(
    it.pool,
    'SELECT partition_at, id, input, retry_of FROM job_executions WHERE operation_id = $1',
    retry.id,
  );
  assert.deepEqual([running!.retry_of, running!.input], [made[0]!.id, { n: 1 }]);
  await it.pool.query(`SELECT close_execution('default', $1, $2, 'terminated', NULL, NULL, 'tests')`, [running!.partition_at, running!.id]);
  assert.equal((await it.workOff(retry.id)).done, true);
  assert.deepEqual(await it.itemsOf(retry), ['succeeded', 'succeeded']);
});

test('nothing selected is refused; operations are listed by kind, state and job, page by page', async () => {
  await refused(it.operations.create(CALLER, bulk('pause', tagged('nobody:has'), PAUSE)), 'refused', 'nothing_selected');
  await refused(it.operations.get(CALLER, 'bulk', 'op_unknown'), 'not_found', 'operation_not_found');
  const id = await it.job('listed');
  const made = [];
  for (let nth = 0; nth < 3; nth += 1) made.push((await it.operations.create(CALLER, bulk('pause', { of: 'jobs', ids: [id] }, PAUSE))).id);
  await it.workOff(made[0]!);
  const page = await it.operations.list(CALLER, 'bulk', { job: id, limit: 2 });
  assert.deepEqual(
    page.items.map((one) => one.id),
    [made[2], made[1]],
  );
  const rest = await it.operations.list(CALLER, 'bulk', { job: id, limit: 2, after: page.next! });
  assert.deepEqual([rest.items.map((one) => one.id), rest.next], [[made[0]], null]);
  const completed = await it.operations.list(CALLER, 'bulk', { job: id, kinds: ['pause'], state: ['completed'], limit: 10 });
  assert.deepEqual(
    completed.items.map((one) => one.id),
    [made[0]],
  );
  assert.deepEqual((await it.operations.list(CALLER, 'bulk', { job: id, kinds: ['resume'], limit: 10 })).items, []);
});
