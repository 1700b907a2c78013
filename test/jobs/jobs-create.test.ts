import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { IdempotencyContext } from '../../src/jobs/idempotency.ts';
import { newJobId } from '../../src/jobs/ids.ts';
import type { JobView } from '../../src/jobs/job-view.ts';
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

const create = async (body: object, options: object = ASYNC): Promise<JobView> =>
  (await it.jobs.create(CALLER, { target: HTTP_TARGET, ...body }, options)).value;

describe('creating a job', () => {
  test('with a cron writes definition, revision, clock, membership and audit event', async () => {
    const view = await create({ name: 'cron', schedule: { cron: '0 2 * * *', jitter: '30s' }, category: 'batch', pauseAfterFailures: 2 });
    assert.equal(view.state, 'active');
    assert.equal(view.sync, 'pending');
    assert.equal(view.generation, 1);
    assert.equal(view.nextRuns.length, 5);
    assert.equal(view.nextRunAt, view.nextRuns[0]);
    assert.match(view.nextRunAt!, /T02:00:00Z$/);

    const [runtime] = await rows<Record<string, unknown>>(it.pool, 'SELECT * FROM job_runtime WHERE job_id = $1', view.id);
    assert.equal(runtime?.queue, 'slow');
    assert.equal(runtime?.max_attempts, 3);
    assert.equal(runtime?.catch_up_window_ms, '3600000');
    assert.equal(runtime?.pause_after_failures, 2);
    assert.ok(Number(runtime?.offset_s) <= 30);
    const [clock] = await rows<Record<string, unknown>>(it.pool, 'SELECT * FROM clocks WHERE id = $1', view.id);
    assert.deepEqual([clock?.generation, clock?.observed_generation, clock?.kind, clock?.queue], ['1', '0', 'dedicated', 'slow']);
    const [member, ...others] = await membersOf(it.pool, view.id);
    assert.equal(others.length, 0);
    assert.equal(member?.valid_to, Number.POSITIVE_INFINITY);
    assert.ok(Math.abs(member!.valid_from.getTime() - Date.parse(view.createdAt)) < 5_000);
    assert.equal(member?.timing_hash, clock?.timing_hash);
    assert.equal((await rows(it.pool, 'SELECT 1 FROM timings WHERE hash = $1', member?.timing_hash)).length, 1);
    assert.deepEqual(await actionsOf(it.pool, view.id), ['job.created']);
    assert.deepEqual((await it.jobs.revision(CALLER, view.id, 1)).document.name, 'cron');
    for (const name of [view.id, 'cron']) assert.deepEqual(await it.jobs.get(CALLER, name), { ...view, frozen: null });
  });

  test('without a schedule makes no clock', async () => {
    const view = await create({ name: 'demand' });
    assert.deepEqual([view.state, view.sync, view.nextRunAt], ['on_demand', 'synced', null]);
    assert.equal(await clockOf(it.pool, view.id), undefined);
  });

  test('that is disabled makes no clock and no one-off either', async () => {
    const view = await create({ name: 'off', enabled: false, schedule: { every: '1m' } });
    const once = await create({ name: 'off-once', enabled: false, schedule: { delay: '1m' } });
    assert.deepEqual([view.state, view.nextRunAt, once.state], ['disabled', null, 'disabled']);
    assert.equal(await clockOf(it.pool, view.id), undefined);
    assert.equal((await rows(it.pool, 'SELECT 1 FROM job_executions WHERE job_id = $1', once.id)).length, 0);
  });

  test('with startAt and endAt bounds its membership, endAt included', async () => {
    const view = await create({
      name: 'window',
      schedule: { every: '1m', startAt: '2090-01-01T00:00:00Z', endAt: '2090-01-01T01:00:00Z' },
    });
    const [member] = await membersOf(it.pool, view.id);
    assert.equal(member?.valid_from.toISOString(), '2090-01-01T00:00:00.000Z');
    assert.equal((member!.valid_to as Date).toISOString(), '2090-01-01T01:00:00.001Z');
    assert.equal(view.nextRunAt, '2090-01-01T00:00:00Z');
  });

  test('as a one-off writes its execution at once, under the time it is due', async () => {
    const at = new Date(Math.ceil(Date.now() / 1000) * 1000 + 600_000);
    const view = await create({ name: 'once', schedule: { at: at.toISOString() }, priority: 1 });
    assert.deepEqual([view.state, view.sync], ['active', 'pending']);
    assert.deepEqual(view.nextRuns, [view.nextRunAt]);
    assert.equal(Date.parse(view.nextRunAt!), at.getTime());
    const [row] = await rows<Record<string, unknown>>(it.pool, 'SELECT * FROM job_executions WHERE job_id = $1', view.id);
    assert.deepEqual([row?.trigger, row?.status, row?.counted, row?.priority, row?.workflow_id], ['once', 'queued', false, 1, row?.id]);
    assert.deepEqual(row?.due_at, at);
    const delayed = await create({ name: 'delayed', schedule: { delay: '10m' } });
    assert.ok(Math.abs(Date.parse(delayed.nextRunAt!) - Date.now() - 600_000) < 10_000);
  });

  test('is refused when its schedule has no time ahead', async () => {
    const past = await refused(create({ name: 'x', schedule: { at: '2020-01-01T00:00:00Z' } }), 'invalid', 'invalid_job');
    assert.deepEqual(
      past.errors?.map((error) => [error.path, error.code]),
      [['/schedule/at', 'in_the_past']],
    );
    const over = await refused(create({ name: 'x', schedule: { every: '1m', endAt: '2020-01-01T00:00:00Z' } }), 'invalid', 'invalid_job');
    assert.deepEqual(
      over.errors?.map((error) => [error.path, error.code]),
      [['/schedule/endAt', 'never_fires']],
    );
  });

  test('is refused by name for addresses, headers and services that are not there', async () => {
    const metadata = create({ name: 'x', target: { type: 'http', url: 'http://169.254.169.254/latest' } });
    assert.equal((await refused(metadata, 'invalid', 'invalid_job')).errors?.[0]?.path, '/target/url');
    const host = create({ name: 'x', target: { ...HTTP_TARGET, headers: { Host: 'x' } } });
    assert.equal((await refused(host, 'invalid', 'invalid_job')).errors?.[0]?.path, '/target/headers/Host');
    const services = create({ name: 'x', service: 'nobody', target: { type: 'http', service: 'nothing', path: '/' } });
    const unknown = await refused(services, 'invalid', 'invalid_job');
    assert.deepEqual(
      unknown.errors?.map((error) => error.path),
      ['/service', '/target/service'],
    );
    await refused(it.jobs.get(CALLER, 'x'), 'not_found', 'job_not_found');
  });

  test('of a handler is refused only when workers are live and none of them offers it', async () => {
    const target = { type: 'handler', name: 'send-report' };
    await create({ name: 'before-any-worker', target });
    const beat = (handlers: string[]) =>
      it.pool.query(
        `INSERT INTO workers (id, queues, handlers) VALUES ('w1', '{default}', $1) ON CONFLICT (id) DO UPDATE SET handlers = excluded.handlers, seen_at = now()`,
        [JSON.stringify(handlers.map((name) => ({ name })))],
      );
    await beat(['send-reports', 'other']);
    const error = await refused(create({ name: 'typo', target }), 'invalid', 'invalid_job');
    assert.deepEqual(
      error.errors?.map(({ path, code }) => [path, code]),
      [['/target/name', 'unknown_handler']],
    );
    assert.match(error.errors![0]!.message, /other, send-reports/);
    await beat(['send-report']);
    await create({ name: 'known', target });
    await it.pool.query('DELETE FROM workers');
  });

  test('20 times at once under one name makes one job and nineteen conflicts that name it', async () => {
    const settled = await Promise.allSettled(Array.from({ length: 20 }, () => create({ name: 'raced', schedule: { every: '1h' } })));
    const made = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const errors = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as { kind: string; extra: { id: string } }] : []));
    assert.equal(made.length, 1);
    assert.equal(errors.length, 19);
    assert.ok(errors.every((error) => error.kind === 'conflict' && error.extra.id === made[0]!.id));
    assert.equal((await rows(it.pool, `SELECT 1 FROM audit_events WHERE after ->> 'name' = 'raced'`)).length, 1);
    assert.equal((await rows(it.pool, `SELECT 1 FROM clocks WHERE id = $1`, made[0]!.id)).length, 1);
  });

  test('with an idempotency key keeps the key and its provisional answer with the job, and neither without the other', async () => {
    const context: IdempotencyContext = {
      team: 'default',
      holder: 'key_1',
      method: 'POST',
      path: '/api/v1/jobs',
      key: 'k1',
      bodyHash: Buffer.from('hash'),
      keepHours: 1,
      render: (value) => ({ status: 201, location: `/api/v1/jobs/${(value as JobView).id}`, body: '{}' }),
    };
    const view = await create({ name: 'keyed' }, { ...ASYNC, idempotency: context });
    const stored = await rows<{ location: string }>(it.pool, `SELECT location FROM idempotency_keys WHERE key = 'k1'`);
    assert.equal(stored[0]?.location, `/api/v1/jobs/${view.id}`);
    await refused(create({ name: 'keyed' }, { idempotency: { ...context, key: 'k2' } }), 'conflict', 'name_taken');
    assert.equal((await rows(it.pool, `SELECT 1 FROM idempotency_keys WHERE key = 'k2'`)).length, 0);
    await assert.rejects(create({ name: 'keyed-again' }, { idempotency: context }), { name: 'IdempotencyKeyTaken' });
    await refused(it.jobs.get(CALLER, 'keyed-again'), 'not_found', 'job_not_found');
  });
});

describe('PUT', () => {
  const put = (idOrName: string, body: object, options: object = ASYNC) =>
    it.jobs.upsert(CALLER, idOrName, { target: HTTP_TARGET, ...body }, options);

  test('by name creates, then replaces; the name may be left out', async () => {
    const made = await put('put', { tags: { a: '1' } });
    assert.deepEqual([made.created, made.generation, made.value.name], [true, 1, 'put']);
    const replaced = await put('put', { tags: { a: '2' } });
    assert.deepEqual([replaced.created, replaced.generation, replaced.value.id], [false, 2, made.value.id]);
  });

  test('20 times at once under one new name makes one job', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, (_, index) => put('put-raced', { tags: { n: String(index) } })));
    assert.equal(all.filter((one) => one.created).length, 1);
    assert.equal(new Set(all.map((one) => one.value.id)).size, 1);
    assert.deepEqual(
      all.map((one) => one.generation).sort((a, b) => a - b),
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
  });

  test('of what GET returned changes nothing: no generation, no revision, no audit event', async () => {
    const view = await create({ name: 'same', schedule: { cron: '0 2 * * *', timezone: 'Europe/Berlin' }, input: { b: 1, a: 2 } });
    const again = await it.jobs.upsert(CALLER, view.id, JSON.parse(JSON.stringify(await it.jobs.get(CALLER, view.id))), ASYNC);
    assert.deepEqual([again.created, again.generation], [false, 1]);
    assert.equal(
      (
        await it.jobs.upsert(
          CALLER,
          'same',
          { target: HTTP_TARGET, input: { a: 2, b: 1 }, schedule: { timezone: 'europe/berlin', cron: '0 2 * * *' } },
          ASYNC,
        )
      ).generation,
      1,
    );
    assert.deepEqual(await actionsOf(it.pool, view.id), ['job.created']);
    assert.equal((await clockOf(it.pool, view.id))?.generation, '1');
  });

  test('refuses the view of one job for another, an unknown id, and a name that is not the address', async () => {
    const view = await create({ name: 'one-of-two' });
    await create({ name: 'two-of-two' });
    await refused(put('two-of-two', { ...view, name: 'two-of-two' }), 'invalid', 'invalid_job');
    await refused(put(newJobId(), { name: 'nobody' }), 'not_found', 'job_not_found');
    await refused(put('nobody', { name: 'somebody' }), 'invalid', 'invalid_job');
  });

  test('with If-Match is refused when the job has changed, or is not there', async () => {
    await put('matched', {});
    const error = await refused(
      put('matched', { priority: 1 }, { ifMatch: (generation: number) => generation === 2 }),
      'precondition',
      'generation_mismatch',
    );
    assert.deepEqual(error.extra, { generation: 1 });
    assert.equal((await put('matched', { priority: 1 }, { ...ASYNC, ifMatch: (generation: number) => generation === 1 })).generation, 2);
    await refused(put('unmatched', {}, { ifMatch: () => true }), 'precondition', 'generation_mismatch');
  });
});
