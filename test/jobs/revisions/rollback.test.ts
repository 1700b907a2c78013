/** Versions of a job: compared, gone back to; and edits that come at once. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createRollback, type Rollback } from '../../../src/jobs/revisions/rollback.ts';
import { ASYNC, actionsOf, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, refused, rows } from '../jobs-under-test.ts';

let it: JobsUnderTest;
let rollback: Rollback;
before(async () => {
  it = await jobsUnderTest();
  rollback = createRollback({ pool: it.pool, jobs: it.jobs });
});
after(() => it.close());

const create = async (body: object): Promise<string> =>
  (await it.jobs.create(CALLER, { schedule: { cron: '0 2 * * *' }, target: HTTP_TARGET, ...body }, ASYNC)).value.id;
const patch = (id: string, body: object) => it.jobs.patch(CALLER, id, body, ASYNC);
const revisionsOf = async (id: string): Promise<number> => (await it.jobs.revisions(CALLER, id, { limit: 200 })).items.length;

describe('a difference', () => {
  test('is told against the version before, or any other', async () => {
    const id = await create({ name: 'differs', priority: 3 });
    await patch(id, { priority: 1 });
    await patch(id, { priority: 2, tags: { env: 'prod' } });
    const last = await it.jobs.difference(CALLER, 'differs', 3, undefined);
    assert.deepEqual([last.from, last.to, last.mergePatch], [2, 3, { priority: 2, tags: { env: 'prod' } }]);
    const back = await it.jobs.difference(CALLER, id, 1, 3);
    assert.deepEqual(back.patch, [
      { op: 'remove', path: '/tags/env' },
      { op: 'replace', path: '/priority', value: 3 },
    ]);
    const first = await it.jobs.difference(CALLER, id, 1, undefined);
    assert.deepEqual([first.from, (first.mergePatch as { name: string }).name], [null, 'differs']);
    await refused(it.jobs.difference(CALLER, id, 3, 9), 'not_found', 'revision_not_found');
    await refused(it.jobs.difference({ ...CALLER, team: 'others' }, id, 3, 2), 'not_found', 'job_not_found');
  });
});

describe('a rollback', () => {
  test('makes a next generation with the old document, and the audit trail calls it so', async () => {
    const id = await create({ name: 'returns', priority: 3 });
    await patch(id, { priority: 1, schedule: { cron: '0 5 * * *' } });
    const { value, from, to, diff } = await rollback(CALLER, 'returns', 1, ASYNC);
    assert.deepEqual([from, to, value.generation, value.priority], [2, 1, 3, 3]);
    assert.deepEqual((await it.jobs.revision(CALLER, id, 3)).document, (await it.jobs.revision(CALLER, id, 1)).document);
    assert.equal((diff.mergePatch as { priority: number }).priority, 3);
    assert.deepEqual(await actionsOf(it.pool, id), ['job.created', 'job.updated', 'job.rolled_back']);
    const [clock] = await rows<{ generation: string }>(it.pool, 'SELECT generation FROM clocks WHERE id = $1', id);
    assert.equal(clock?.generation, '3', 'the clock has something to learn each time');
  });

  test('to what the job is already writes nothing', async () => {
    const id = await create({ name: 'stays' });
    const { value, diff } = await rollback(CALLER, id, 1, ASYNC);
    assert.deepEqual([value.generation, diff.patch], [1, []]);
    assert.equal(await revisionsOf(id), 1);
  });

  test('as a dry run tells all and writes nothing', async () => {
    const id = await create({ name: 'rehearsed', priority: 3 });
    await patch(id, { priority: 5 });
    const plan = await rollback(CALLER, id, 1, { ...ASYNC, dryRun: true });
    assert.deepEqual([plan.from, plan.to, plan.value.generation, plan.value.priority, plan.diff.mergePatch], [2, 1, 3, 3, { priority: 3 }]);
    assert.deepEqual([await revisionsOf(id), (await it.jobs.get(CALLER, id)).priority], [2, 5]);
    assert.deepEqual(await actionsOf(it.pool, id), ['job.created', 'job.updated']);
  });

  test('leaves a pause as it is', async () => {
    const id = await create({ name: 'paused-meanwhile', priority: 3 });
    await patch(id, { priority: 1 });
    await it.pool.query(
      `UPDATE jobs SET pause = '{"reason": "why", "by": "me", "at": "2026-01-01T00:00:00Z", "blockManual": false, "automatic": false}', state = 'paused' WHERE id = $1`,
      [id],
    );
    const { value } = await rollback(CALLER, id, 1, ASYNC);
    assert.deepEqual([value.state, value.pause?.reason, value.priority], ['paused', 'why', 3]);
  });

  test('is refused when what the old document names is gone, also as a dry run', async () => {
    const { value: service } = await it.services.create(CALLER, { name: 'left', baseUrl: 'https://left.example.com' });
    const id = await create({ name: 'of-a-service', service: 'left' });
    await patch(id, { service: null });
    await it.services.remove(CALLER, service.id);
    for (const dryRun of [false, true]) {
      const error = await refused(rollback(CALLER, id, 1, { ...ASYNC, dryRun }), 'invalid', 'invalid_job');
      assert.deepEqual(
        error.errors?.map(({ path, code }) => [path, code]),
        [['/service', 'unknown_service']],
      );
    }
    assert.equal(await revisionsOf(id), 2);
  });

  test('is refused when the old document is not valid by the rules of today', async () => {
    const id = await create({ name: 'of-old-rules' });
    await patch(id, { priority: 1 });
    await it.pool.query(
      `UPDATE job_revisions SET document = (document::jsonb || '{"colour": "red"}')::json WHERE job_id = $1 AND generation = 1`,
      [id],
    );
    const error = await refused(rollback(CALLER, id, 1, ASYNC), 'invalid', 'invalid_job');
    assert.match(error.message, /Revision 1 is no longer a valid job/);
    assert.deepEqual([error.errors?.[0]?.path, error.extra?.generation], ['/colour', 1]);
  });

  test('is refused when the time of a one-off has passed', async () => {
    const id = await create({ name: 'once', schedule: { at: new Date(Date.now() + 3_600_000).toISOString() } });
    await patch(id, { schedule: { at: new Date(Date.now() + 7_200_000).toISOString() } });
    await it.pool.query(
      `UPDATE job_revisions SET document = jsonb_set(document::jsonb, '{schedule,at}', '"2020-01-01T00:00:00Z"')::json WHERE job_id = $1 AND generation = 1`,
      [id],
    );
    const error = await refused(rollback(CALLER, id, 1, ASYNC), 'invalid', 'invalid_job');
    assert.equal(error.errors?.[0]?.code, 'in_the_past');
  });

  test('is refused when another job has the old name now', async () => {
    const id = await create({ name: 'name-of-old' });
    await patch(id, { name: 'name-of-now' });
    const other = await create({ name: 'name-of-old' });
    const error = await refused(rollback(CALLER, id, 1, ASYNC), 'conflict', 'name_taken');
    assert.equal(error.extra?.id, other);
  });

  test('is refused when the job has changed since it was read', async () => {
    const id = await create({ name: 'read-before', priority: 3 });
    await patch(id, { priority: 1 });
    await refused(rollback(CALLER, id, 1, { ...ASYNC, ifMatch: (generation) => generation === 1 }), 'precondition', 'generation_mismatch');
    assert.equal((await rollback(CALLER, id, 1, { ...ASYNC, ifMatch: (generation) => generation === 2 })).value.generation, 3);
  });

  test('does not bring a deleted job back, and says how', async () => {
    const id = await create({ name: 'deleted' });
    await it.jobs.remove(CALLER, id, ASYNC);
    const error = await refused(rollback(CALLER, id, 1, ASYNC), 'gone', 'job_deleted');
    assert.match(error.message, /POST the document/);
    await refused(rollback(CALLER, 'deleted', 1, ASYNC), 'not_found', 'job_not_found');
    await refused(rollback({ ...CALLER, team: 'others' }, id, 1, ASYNC), 'not_found', 'job_not_found');
  });
});

describe('edits that come at once', () => {
  test('of different fields are all kept, without If-Match', async () => {
    const id = await create({ name: 'edited-by-many' });
    const fields = Array.from({ length: 20 }, (_, nth) => `field-${nth}`);
    const written = await Promise.all(fields.map((field) => patch(id, { tags: { [field]: 'set' } })));
    assert.deepEqual(
      written.map(({ generation }) => generation).sort((a, b) => a - b),
      Array.from({ length: 20 }, (_, nth) => nth + 2),
    );
    assert.deepEqual(Object.keys((await it.jobs.get(CALLER, id)).tags).sort(), fields.sort());
    assert.equal(await revisionsOf(id), 21);
  });

  test('of the same version by If-Match are one, and the others are told', async () => {
    const id = await create({ name: 'edited-by-one' });
    const edits = await Promise.allSettled(
      Array.from({ length: 20 }, (_, nth) =>
        it.jobs.patch(CALLER, id, { tags: { [`field-${nth}`]: 'set' } }, { ...ASYNC, ifMatch: (generation) => generation === 1 }),
      ),
    );
    assert.equal(edits.filter(({ status }) => status === 'fulfilled').length, 1);
    for (const edit of edits) if (edit.status === 'rejected') assert.equal(edit.reason.code, 'generation_mismatch');
    assert.equal(Object.keys((await it.jobs.get(CALLER, id)).tags).length, 1);
  });

  test('and rollbacks come one after the other', async () => {
    const id = await create({ name: 'raced', priority: 3 });
    await patch(id, { priority: 1 });
    await Promise.all([
      ...Array.from({ length: 5 }, () => rollback(CALLER, id, 1, ASYNC)),
      ...Array.from({ length: 5 }, (_, nth) => patch(id, { tags: { [`t${nth}`]: 'x' } })),
    ]);
    const { items } = await it.jobs.revisions(CALLER, id, { limit: 50 });
    assert.deepEqual(
      items.map(({ generation }) => generation),
      items.map((_, nth) => items.length - nth),
    );
  });
});
