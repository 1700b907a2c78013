import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ASYNC, actionsOf, CALLER, type JobsUnderTest, jobsUnderTest, refused, rows } from './jobs-under-test.ts';

let it: JobsUnderTest;
before(async () => {
  it = await jobsUnderTest();
});
after(() => it.close());

const baseUrl = 'https://example.com/internal';

describe('a service', () => {
  test('is created, read by id and name, changed and removed, each with an audit event', async () => {
    const { value } = await it.services.create(CALLER, { name: 'invoicing', baseUrl, headers: { 'X-Team': 'a' } });
    assert.match(value.id, /^svc_/);
    assert.deepEqual((await it.services.get(CALLER, 'invoicing')).value, value);
    assert.deepEqual((await it.services.get(CALLER, value.id)).value, value);
    const patched = await it.services.patch(CALLER, 'invoicing', { description: 'd', headers: { 'X-Team': null } });
    assert.deepEqual([patched.generation, patched.value.description, patched.value.headers], [2, 'd', {}]);
    assert.equal((await it.services.patch(CALLER, 'invoicing', { description: 'd' })).generation, 2);
    await it.services.remove(CALLER, 'invoicing');
    await refused(it.services.get(CALLER, value.id), 'not_found', 'service_not_found');
    assert.deepEqual(await actionsOf(it.pool, value.id), ['service.created', 'service.updated', 'service.deleted']);
  });

  test('is refused for addresses and headers that targets are refused for', async () => {
    const wrong = async (body: object) =>
      (await refused(it.services.create(CALLER, { name: 'x', baseUrl, ...body }), 'invalid', 'invalid_service')).errors?.map(
        (error) => error.path,
      );
    assert.deepEqual(await wrong({ baseUrl: 'http://169.254.169.254/' }), ['/baseUrl']);
    assert.deepEqual(await wrong({ baseUrl: 'https://u:p@example.com' }), ['/baseUrl']);
    assert.deepEqual(await wrong({ baseUrl: 'https://example.com/?x=1' }), ['/baseUrl']);
    assert.deepEqual(await wrong({ headers: { Host: 'x' } }), ['/headers/Host']);
    assert.deepEqual(await wrong({ name: 'svc_1' }), ['/name']);
    assert.deepEqual(await wrong({ baseURL: '' }), ['/baseURL']);
  });

  test('has a name of its own', async () => {
    const { value } = await it.services.create(CALLER, { name: 'taken', baseUrl });
    assert.deepEqual((await refused(it.services.create(CALLER, { name: 'taken', baseUrl }), 'conflict', 'name_taken')).extra, {
      id: value.id,
      name: 'taken',
    });
    await it.services.create(CALLER, { name: 'free', baseUrl });
    await refused(it.services.patch(CALLER, 'free', { name: 'taken' }), 'conflict', 'name_taken');
    assert.equal((await it.services.patch(CALLER, 'free', { name: 'freed' })).value.name, 'freed');
  });

  test('is put by name: created, then replaced; what GET returned changes nothing', async () => {
    const made = await it.services.upsert(CALLER, 'put', { baseUrl });
    assert.deepEqual([made.created, made.generation], [true, 1]);
    const same = await it.services.upsert(CALLER, 'put', { ...made.value });
    assert.deepEqual([same.created, same.generation], [false, 1]);
    assert.equal((await it.services.upsert(CALLER, made.value.id, { name: 'put', baseUrl: 'https://other.example' })).generation, 2);
    await refused(
      it.services.upsert(CALLER, 'put', { baseUrl }, { ifMatch: (generation) => generation === 1 }),
      'precondition',
      'generation_mismatch',
    );
    await refused(it.services.upsert(CALLER, 'new', { baseUrl }, { ifMatch: () => true }), 'precondition', 'generation_mismatch');
  });

  test('is neither renamed nor removed while jobs belong to it or call it', async () => {
    await it.services.create(CALLER, { name: 'used', baseUrl });
    const owner = await it.jobs.create(CALLER, { name: 'owned', service: 'used', target: { type: 'http', url: baseUrl } }, ASYNC);
    const user = await it.jobs.create(CALLER, { name: 'calling', target: { type: 'http', service: 'used', path: '/x' } }, ASYNC);
    assert.match((await refused(it.services.remove(CALLER, 'used'), 'conflict', 'service_in_use')).message, /"calling", "owned"/);
    await refused(it.services.patch(CALLER, 'used', { name: 'other' }), 'conflict', 'service_in_use');
    await it.jobs.remove(CALLER, owner.value.id, ASYNC);
    await it.jobs.patch(CALLER, user.value.id, { target: { service: null, path: null, url: baseUrl } }, ASYNC);
    await it.services.remove(CALLER, 'used');
    const gone = it.jobs.patch(CALLER, user.value.id, { service: 'used' }, ASYNC);
    assert.equal((await refused(gone, 'invalid', 'invalid_job')).errors?.[0]?.code, 'unknown_service');
  });

  test('removed while jobs are created that name it leaves no job without its service', async () => {
    for (let round = 0; round < 10; round += 1) {
      const name = `raced-${round}`;
      await it.services.create(CALLER, { name, baseUrl });
      await Promise.allSettled([
        ...Array.from({ length: 4 }, (_, index) =>
          it.jobs.create(CALLER, { name: `${name}-${index}`, target: { type: 'http', service: name, path: '/' } }, ASYNC),
        ),
        it.services.remove(CALLER, name),
      ]);
    }
    const orphans = await rows(
      it.pool,
      `SELECT j.name FROM jobs j WHERE j.name LIKE 'raced-%' AND NOT EXISTS (SELECT 1 FROM services s WHERE s.name = j.document #>> '{target,service}')`,
    );
    assert.deepEqual(orphans, []);
  });

  test('is listed by name, page by page, for its own team only', async () => {
    for (const name of ['l-1', 'l-2', 'l-3']) await it.services.create(CALLER, { name, baseUrl });
    const all: string[] = [];
    for (let after: string | null = null; ; ) {
      const page = await it.services.list(CALLER, { limit: 2, after });
      all.push(...page.items.map((service) => service.name));
      if (page.next === null) break;
      after = page.next;
    }
    assert.deepEqual(all, all.toSorted());
    assert.deepEqual(
      all.filter((name) => name.startsWith('l-')),
      ['l-1', 'l-2', 'l-3'],
    );
    const stranger = { ...CALLER, team: 'other' };
    assert.deepEqual((await it.services.list(stranger, { limit: 10 })).items, []);
    await refused(it.services.get(stranger, 'l-1'), 'not_found', 'service_not_found');
  });
});
