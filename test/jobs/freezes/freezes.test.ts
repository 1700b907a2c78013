import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { FreezeView } from '../../../src/jobs/freezes/freeze-document.ts';
import { createFreezes, type FreezePlan, type Freezes } from '../../../src/jobs/freezes/freezes.ts';
import { ASYNC, actionsOf, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, refused } from '../jobs-under-test.ts';

let it: JobsUnderTest;
let freezes: Freezes;
const ids: Record<string, string> = {};
const HOUR_MS = 3_600_000;
const inHours = (hours: number) => new Date(Date.now() + hours * HOUR_MS).toISOString();

before(async () => {
  it = await jobsUnderTest();
  freezes = createFreezes({ pool: it.pool });
  await it.services.create(CALLER, { name: 'invoicing', baseUrl: 'https://invoicing.example.com' });
  const jobs: Record<string, object> = {
    nightly: { schedule: { every: '1h' }, category: 'reports', tags: { env: 'prod', tier: 'gold' } },
    mailer: { schedule: { every: '1m' }, category: 'mail', tags: { env: 'test' }, service: 'invoicing' },
    caller: { target: { type: 'http', service: 'invoicing', path: '/run' }, category: 'mail' },
    manual: {},
  };
  for (const [name, more] of Object.entries(jobs)) {
    ids[name] = (await it.jobs.create(CALLER, { name, target: HTTP_TARGET, ...more }, ASYNC)).value.id;
  }
});
after(() => it.close());

const make = async (body: object): Promise<FreezeView> => (await freezes.create(CALLER, { reason: 'test', ...body })) as FreezeView;
const plan = async (body: object): Promise<FreezePlan> =>
  (await freezes.create(CALLER, { reason: 'test', dryRun: true, ...body })) as FreezePlan;
const errorsOf = async (work: Promise<unknown>) =>
  (await refused(work, 'invalid', 'invalid_freeze')).errors!.map(({ path, code, message }) => ({ path, code, message }));

describe('a freeze', () => {
  test('holds the jobs that its scope means, and a dry run says which before anything changes', async () => {
    const held = async (body: object) => {
      const { jobs } = await plan(body);
      assert.equal(jobs.count, jobs.sample.length);
      return jobs.sample.map(({ name }) => name);
    };
    const all = ['caller', 'mailer', 'manual', 'nightly'];
    assert.deepEqual(await held({ scope: 'global' }), all);
    assert.deepEqual(await held({ scope: 'team' }), all);
    assert.deepEqual(
      await held({ scope: 'service', targets: ['invoicing'] }),
      ['caller', 'mailer'],
      'its own jobs, and those that call it',
    );
    assert.deepEqual(await held({ scope: 'category', targets: ['mail', 'reports'] }), ['caller', 'mailer', 'nightly']);
    assert.deepEqual(await held({ scope: 'tag', targets: ['env'] }), ['mailer', 'nightly']);
    assert.deepEqual(await held({ scope: 'tag', targets: ['env:prod', 'tier:gold'] }), ['nightly']);
    assert.deepEqual(await held({ scope: 'jobs', targets: ['manual', ids.nightly] }), ['manual', 'nightly']);
    assert.deepEqual((await freezes.list(CALLER, { limit: 10 })).items, []);
  });

  test('is in force from now on unless it says from when, and keeps who made it and why', async () => {
    const made = await make({ scope: 'jobs', targets: ['manual', 'manual', ids.manual], reason: 'audit', to: inHours(2) });
    assert.match(made.id, /^frz_[0-9a-f-]{36}$/);
    assert.deepEqual(
      [made.state, made.targets, made.reason, made.createdBy, made.version, made.endedAt, made.drain, made.cancelRunning],
      ['active', [ids.manual], 'audit', 'tests', 1, null, false, false],
    );
    const { counts, ...view } = await freezes.get(CALLER, made.id);
    assert.deepEqual(view, made);
    assert.deepEqual(counts, { jobs: 1, running: 0, cancelled: 0, slots: { count: 0, jobs: 0, exact: true } });
    const ended = await freezes.end(CALLER, made.id);
    assert.deepEqual([ended.state, ended.endedBy, ended.version], ['ended', 'tests', 2]);
    assert.deepEqual(await actionsOf(it.pool, made.id), ['freeze.created', 'freeze.ended']);
    await refused(freezes.end(CALLER, made.id), 'refused', 'freeze_ended');
    await refused(freezes.patch(CALLER, made.id, { reason: 'late' }), 'refused', 'freeze_ended');
    await refused(freezes.remove(CALLER, made.id), 'refused', 'freeze_ended');
  });

  test('that has not begun is taken away, one that has is ended', async () => {
    const planned = await make({ scope: 'team', from: inHours(1), to: inHours(2) });
    assert.equal(planned.state, 'upcoming');
    await refused(freezes.end(CALLER, planned.id), 'refused', 'freeze_upcoming');
    await freezes.remove(CALLER, planned.id);
    await refused(freezes.get(CALLER, planned.id), 'not_found', 'freeze_not_found');
    assert.deepEqual(await actionsOf(it.pool, planned.id), ['freeze.created', 'freeze.deleted']);
    const now = await make({ scope: 'jobs', targets: ['manual'] });
    await refused(freezes.remove(CALLER, now.id), 'refused', 'freeze_in_force');
    await freezes.end(CALLER, now.id);
  });

  test('changes its reason and its end, and nothing else; If-Match keeps two people from undoing each other', async () => {
    const { id } = await make({ scope: 'jobs', targets: ['manual'], to: inHours(1) });
    const longer = await freezes.patch(CALLER, id, { to: inHours(3) }, { ifMatch: (version) => version === 1 });
    assert.equal(longer.version, 2);
    await refused(freezes.patch(CALLER, id, { to: null }, { ifMatch: (version) => version === 1 }), 'precondition', 'version_mismatch');
    assert.equal((await freezes.patch(CALLER, id, { to: longer.to, reason: 'test' })).version, 2, 'nothing has changed');
    const open = await freezes.patch(CALLER, id, { to: null, reason: 'longer than thought' });
    assert.deepEqual([open.to, open.reason, open.version], [null, 'longer than thought', 3]);
    const [past] = await errorsOf(freezes.patch(CALLER, id, { to: inHours(-1) }));
    assert.match(past!.message, /has passed.*\/end ends it now/);
    const fixed = await errorsOf(freezes.patch(CALLER, id, { scope: 'global', reson: 'x' }));
    assert.match(fixed[0]!.message, /scope cannot be changed; end this freeze/);
    assert.match(fixed[1]!.message, /did you mean "reason"/);
    await freezes.end(CALLER, id);
  });

  test('of another team is not there; a global one is seen by all, and changed by its own', async () => {
    const other = { ...CALLER, team: 'other' };
    const own = await make({ scope: 'team' });
    await refused(freezes.get(other, own.id), 'not_found', 'freeze_not_found');
    await freezes.end(CALLER, own.id);
    const global = await make({ scope: 'global' });
    assert.equal((await freezes.get(other, global.id)).id, global.id);
    await refused(freezes.end(other, global.id), 'forbidden', 'not_your_freeze');
    assert.ok((await freezes.list(other, { limit: 50 })).items.every(({ scope }) => scope === 'global'));
    await freezes.end(CALLER, global.id);
  });
});

describe('a freeze is refused', () => {
  test('for a window that is over, empty, too long or too far away', async () => {
    const wrong = async (body: object) =>
      (await errorsOf(freezes.create(CALLER, { scope: 'team', reason: 'x', ...body }))).map(({ path, code }) => `${path} ${code}`);
    assert.deepEqual(await wrong({ to: inHours(-1) }), ['/to in_the_past']);
    assert.deepEqual(await wrong({ from: inHours(-1) }), ['/from in_the_past']);
    assert.deepEqual(await wrong({ from: inHours(2), to: inHours(2) }).then(([first]) => first), '/to empty_range');
    assert.deepEqual(await wrong({ from: inHours(2), to: inHours(1) }), ['/to empty_range']);
    assert.deepEqual(await wrong({ to: inHours(100 * 365 * 24) }), ['/to too_long']);
    assert.deepEqual(await wrong({ from: inHours(10 * 365 * 24) }), ['/from too_far']);
    assert.deepEqual(await wrong({ from: 'tomorrow' }), ['/from invalid']);
  });

  test('for names that mean nothing, with the nearest that does', async () => {
    const said = async (body: object) => (await errorsOf(plan(body))).map(({ path, message }) => `${path} ${message}`);
    assert.match((await said({ scope: 'service', targets: ['invoicng'] }))[0]!, /^\/targets\/0 .*did you mean "invoicing"\?/);
    assert.match((await said({ scope: 'category', targets: ['mail', 'report'] }))[0]!, /^\/targets\/1 .*did you mean "reports"\?/);
    assert.match((await said({ scope: 'tag', targets: ['env:prdo'] }))[0]!, /did you mean "env:prod"\?/);
    assert.match((await said({ scope: 'jobs', targets: ['nigthly'] }))[0]!, /did you mean "nightly"\?/);
    assert.match(
      (await said({ scope: 'jobs', targets: [ids.manual!.replace(/.$/, (last) => (last === '0' ? '1' : '0'))] }))[0]!,
      /there is no job/,
    );
    assert.match((await said({ scope: 'service' }))[0]!, /is required for scope service/);
    assert.match((await said({ scope: 'global', targets: ['x'] }))[0]!, /leave targets out/);
    assert.match((await said({ scope: 'galaxy' }))[0]!, /One of "global"/);
  });

  test('without a reason, and for keys that it does not have', async () => {
    const wrong = async (body: object) => (await errorsOf(freezes.create(CALLER, body))).map(({ path, code }) => `${path} ${code}`);
    assert.deepEqual(await wrong({ scope: 'team' }), ['/reason required']);
    assert.deepEqual(await wrong({ scope: 'team', reason: ' ' }), ['/reason invalid']);
    assert.deepEqual(await wrong({ scope: 'team', reason: 'x', catchUp: 'all' }), ['/catchUp unknown_key']);
    assert.deepEqual(await wrong({ scope: 'team', reason: 'a\0b' }), ['/reason invalid']);
  });
});

test('freezes are found by state, scope and the jobs they cover, page by page', async () => {
  const made = [
    await make({ scope: 'tag', targets: ['env:prod'], from: inHours(5), to: inHours(6) }),
    await make({ scope: 'category', targets: ['mail'], from: inHours(4) }),
    await make({ scope: 'jobs', targets: ['nightly'], drain: true }),
  ];
  const [tag, category, jobs] = made.map(({ id }) => id);
  const found = async (query: object) => (await freezes.list(CALLER, { limit: 50, ...query })).items.map(({ id }) => id);
  assert.deepEqual(await found({ state: ['upcoming'] }), [tag, category]);
  assert.deepEqual(await found({ state: ['active'] }), [jobs], 'also while it drains');
  assert.deepEqual(await found({ state: ['upcoming'], scope: 'category' }), [category]);
  assert.deepEqual(await found({ state: ['upcoming', 'active'], job: 'nightly' }), [tag, jobs]);
  assert.deepEqual(await found({ state: ['upcoming', 'active'], job: ids.caller }), [category]);
  await refused(freezes.list(CALLER, { limit: 1, job: 'nobody' }), 'not_found', 'job_not_found');
  const seen: string[] = [];
  let after: { from: string; id: string } | undefined;
  do {
    const page = await freezes.list(CALLER, { limit: 1, after });
    seen.push(...page.items.map(({ id }) => id));
    after = page.next ?? undefined;
  } while (after);
  assert.deepEqual(seen, await found({}));
  for (const id of [tag!, category!]) await freezes.remove(CALLER, id);
  await freezes.end(CALLER, jobs!);
});
