/** Many jobs with one request, and single ones that are asked for at the same time. Temporal is absent: what is acknowledged must be true in Postgres without it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { IdempotencyContext } from '../../src/jobs/idempotency.ts';
import { pooledClockId } from '../../src/jobs/ids.ts';
import type { Batch, BatchItem, BatchMode } from '../../src/jobs/job-batch.ts';
import { jobsInsert } from '../../src/jobs/job-batch-insert.ts';
import { parseJobDocument } from '../../src/jobs/job-document.ts';
import { draftOf } from '../../src/jobs/job-draft.ts';
import type { JobView } from '../../src/jobs/job-view.ts';
import { ASYNC, actionsOf, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest, membersOf, refused, rows } from './jobs-under-test.ts';

let it: JobsUnderTest;
before(async () => {
  it = await jobsUnderTest({ CATEGORY_QUEUES: 'batch=slow' });
});
after(() => it.close());

const RULES = { team: 'default', inputLimitBytes: 1_000, urlProblem: () => null, headerProblems: () => [] };
const many = <T>(count: number, make: (nth: number) => T): T[] => Array.from({ length: count }, (_, nth) => make(nth));
const document = (name: string, more: object = {}) => ({ name, target: HTTP_TARGET, ...more });
const createMany = (documents: unknown[], mode: BatchMode = 'all', options: object = ASYNC): Promise<Batch> =>
  it.jobs.createMany(CALLER, documents, mode, options);
const idOf = (item: BatchItem): string => ('id' in item ? item.id : assert.fail(JSON.stringify(item)));
const count = async (text: string, ...values: unknown[]): Promise<number> =>
  (await rows<{ n: number }>(it.pool, `SELECT count(*)::int AS n FROM ${text}`, ...values))[0]!.n;
/** Everything that creating a job writes. */
const written = async (): Promise<number[]> =>
  Promise.all(
    ['jobs', 'job_runtime', 'job_revisions', 'clocks', 'clock_members', 'timings', 'job_executions', 'audit_events'].map((table) =>
      count(table),
    ),
  );
const pathsOf = (error: { errors?: { path: string; code: string }[] | undefined }) => error.errors?.map(({ path, code }) => [path, code]);

describe('a batch', () => {
  test('of all kinds writes for each what a single one writes', async () => {
    const common = { category: 'batch', tags: { env: 'prod' }, priority: 2 };
    const documents = [
      document('b demand', common),
      document('b own', {
        ...common,
        schedule: { cron: '0 2 * * *', jitter: '30s', endAt: '2090-01-01T00:00:00Z' },
        pauseAfterFailures: 2,
      }),
      document('b pooled', { ...common, schedule: { cron: '0 3 * * *' }, dispatch: 'pooled' }),
      document('b often', { ...common, schedule: { every: '5s' } }),
      document('b once', { ...common, schedule: { delay: '1h' }, dispatch: 'dedicated' }),
      document('b off', { ...common, schedule: { every: '1m' }, enabled: false }),
    ];
    const batch = await createMany(documents);
    assert.deepEqual([batch.created, batch.refused], [6, 0]);
    for (const [index, item] of batch.items.entries()) {
      const single = (await it.jobs.create(CALLER, { ...documents[index], name: `single ${index}` }, ASYNC)).value;
      const view = await it.jobs.get(CALLER, idOf(item));
      const told = ({ id, name, createdAt, updatedAt, nextRunAt, nextRuns, sync, frozen, ...rest }: JobView) => ({
        ...rest,
        runs: nextRuns.length,
        next: !!nextRunAt,
      });
      assert.deepEqual(told(view), told(single), view.name);
      assert.deepEqual(item, { index, status: 201, id: view.id, name: view.name, sync: view.sync, dispatchChoice: view.dispatchChoice });
      const row = async (text: string, id: string) => {
        const found = await rows<{ row: Record<string, unknown> }>(it.pool, text, id);
        return found.map(
          ({
            row: {
              job_id,
              job_name,
              id: _,
              clock_id,
              created_at,
              next_run_at,
              offset_s,
              valid_from,
              slot,
              due_at,
              workflow_id,
              partition_at,
              document: d,
              next_check_at,
              checked_until,
              reconcile_at,
              at,
              subject_id,
              after,
              request_id,
              expect_since,
              ...same
            },
          }) => same,
        );
      };
      for (const text of [
        'SELECT to_json(r) AS row FROM job_runtime r WHERE job_id = $1',
        'SELECT to_json(r) AS row FROM job_revisions r WHERE job_id = $1',
        'SELECT to_json(r) AS row FROM clock_members r WHERE job_id = $1',
        'SELECT to_json(r) AS row FROM job_executions r WHERE job_id = $1',
        'SELECT to_json(r) AS row FROM clocks r WHERE id = $1',
      ])
        assert.deepEqual(await row(text, view.id), await row(text, single.id), `${view.name}: ${text}`);
      assert.deepEqual(await actionsOf(it.pool, view.id), ['job.created']);
      assert.deepEqual(
        (await it.jobs.revision(CALLER, view.id, 1)).document,
        (await rows<{ document: object }>(it.pool, 'SELECT document FROM jobs WHERE id = $1', view.id))[0]!.document,
      );
    }
  });

  test('of 1,000 jobs is one commit, with an audit event and a revision each and one clock', async () => {
    const batch = await createMany(many(1_000, (n) => document(`thousand ${n}`, { schedule: { cron: '0 4 * * *' }, dispatch: 'pooled' })));
    assert.equal(batch.created, 1_000);
    assert.deepEqual(
      batch.items.map((item) => item.index),
      many(1_000, (n) => n),
    );
    const found = await rows<{ name: string; commit: string; clock: string }>(
      it.pool,
      `SELECT j.name, j.xmin::text AS commit, j.clock_id AS clock FROM jobs j JOIN unnest($1::text[]) WITH ORDINALITY i (id, nth) ON i.id = j.id ORDER BY i.nth`,
      batch.items.map(idOf),
    );
    assert.deepEqual(
      found.map(({ name }) => name),
      many(1_000, (n) => `thousand ${n}`),
    );
    assert.deepEqual([new Set(found.map(({ commit }) => commit)).size, new Set(found.map(({ clock }) => clock)).size], [1, 1]);
    const ids = batch.items.map(idOf);
    for (const table of ['job_revisions', 'clock_members', 'job_runtime'])
      assert.equal(await count(`${table} WHERE job_id = ANY ($1)`, ids), 1_000);
    assert.equal(await count(`audit_events WHERE subject_id = ANY ($1) AND action = 'job.created'`, ids), 1_000);
  });

  test('with bad documents writes nothing and names every one of them', async () => {
    const before = await written();
    const documents: unknown[] = many(20, (n) => document(`mixed ${n}`, { schedule: { every: '1h' } }));
    documents[3] = document('mixed 3', { target: { type: 'http', url: 'http://169.254.169.254/' } });
    documents[7] = 'nonsense';
    documents[9] = document('mixed 9', { schedule: { at: '2020-01-01T00:00:00Z' } });
    documents[11] = document('mixed 11', { service: 'nobody' });
    documents[12] = document('mixed 12', { colour: 'red' });
    documents[17] = document('mixed 2');
    const error = await refused(createMany(documents), 'invalid', 'invalid_batch');
    assert.deepEqual(pathsOf(error), [
      ['/jobs/3/target/url', 'address_refused'],
      ['/jobs/7', 'invalid_type'],
      ['/jobs/9/schedule/at', 'in_the_past'],
      ['/jobs/11/service', 'unknown_service'],
      ['/jobs/12/colour', 'unknown_key'],
      ['/jobs/17/name', 'name_twice'],
    ]);
    assert.match(error.message, /^6 of the jobs are not valid, so none was created/);
    assert.deepEqual(await written(), before);
    const services = await refused(createMany([document('s 0'), document('s 1', { service: 'nobody' })]), 'invalid', 'invalid_batch');
    assert.deepEqual(pathsOf(services), [['/jobs/1/service', 'unknown_service']]);
    assert.deepEqual(await written(), before);
  });

  test('with taken names writes nothing and names every one of them', async () => {
    const holder = (await it.jobs.create(CALLER, document('taken a'), ASYNC)).value;
    await it.jobs.create(CALLER, document('taken b'), ASYNC);
    const before = await written();
    const names = ['free a', 'taken a', 'free b', 'taken b'];
    const error = await refused(createMany(names.map((name) => document(name, { schedule: { every: '5s' } }))), 'conflict', 'name_taken');
    assert.deepEqual(pathsOf(error), [
      ['/jobs/1/name', 'name_taken'],
      ['/jobs/3/name', 'name_taken'],
    ]);
    assert.match(error.errors![0]!.message, new RegExp(holder.id));
    assert.deepEqual(await written(), before);
  });

  test('with each by itself creates the good ones and says what is wrong with the others', async () => {
    const holder = (await it.jobs.create(CALLER, document('each taken'), ASYNC)).value;
    const batch = await createMany(
      [
        document('each 0', { service: 'nobody' }),
        document('each 1'),
        document('each 1', { priority: 1 }),
        document('each taken'),
        document('each 4', { timeout: 'soon' }),
        document('each 0'),
      ],
      'each',
    );
    assert.deepEqual([batch.created, batch.refused], [2, 4]);
    assert.deepEqual(
      batch.items.map((item) => [item.index, item.status, ...('code' in item ? [item.code, item.errors[0]?.path] : [])]),
      [
        [0, 422, 'invalid_job', '/jobs/0/service'],
        [1, 201],
        [2, 409, 'name_taken', '/jobs/2/name'],
        [3, 409, 'name_taken', '/jobs/3/name'],
        [4, 422, 'invalid_job', '/jobs/4/timeout'],
        // the one before it has not been created
        [5, 201],
      ],
    );
    assert.equal((batch.items[3] as { existingId?: string }).existingId, holder.id);
    assert.equal((batch.items[2] as { existingId?: string }).existingId, idOf(batch.items[1]!));
    assert.equal((await it.jobs.get(CALLER, 'each 1')).priority, 3);
    assert.equal((await it.jobs.get(CALLER, 'each 0')).id, idOf(batch.items[5]!));
  });

  test('of handlers asks the live workers once and refuses what none of them offers', async () => {
    const handler = (name: string) => ({ target: { type: 'handler', name } });
    await it.pool.query(`INSERT INTO workers (id, queues, handlers) VALUES ('w1', '{default}', '[{"name":"report"}]')`);
    const error = await refused(
      createMany([document('h 0', handler('report')), document('h 1', handler('reprot')), document('h 2'), document('h 3', handler('x'))]),
      'invalid',
      'invalid_batch',
    );
    assert.deepEqual(pathsOf(error), [
      ['/jobs/1/target/name', 'unknown_handler'],
      ['/jobs/3/target/name', 'unknown_handler'],
    ]);
    await it.pool.query('DELETE FROM workers');
  });

  test('repeated with its idempotency key has one effect, whichever of its repeats comes first', async () => {
    const context = (key: string): IdempotencyContext => ({
      team: 'default',
      holder: 'key_1',
      method: 'POST',
      path: '/api/v1/jobs/batch',
      key,
      bodyHash: Buffer.from('hash'),
      keepHours: 1,
      render: (value) => ({ status: 201, location: null, body: JSON.stringify(value) }),
    });
    for (const mode of ['all', 'each'] as const) {
      const documents = many(20, (n) => document(`keyed ${mode} ${n}`, { schedule: { every: '1h' } }));
      const answers = await Promise.allSettled(many(8, () => createMany(documents, mode, { ...ASYNC, idempotency: context(mode) })));
      const made = answers.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
      assert.equal(made.length, 1, mode);
      const [key] = await rows<{ body: string }>(
        it.pool,
        `SELECT body FROM idempotency_keys WHERE path = '/api/v1/jobs/batch' AND key = $1`,
        mode,
      );
      assert.deepEqual(JSON.parse(key!.body), made[0]);
      const others = answers.flatMap((one) =>
        one.status === 'rejected' ? [(one.reason as Error & { code?: string }).code ?? (one.reason as Error).name] : [],
      );
      assert.ok(
        others.every((code) => code === (mode === 'all' ? 'name_taken' : 'IdempotencyKeyTaken')),
        others.join(),
      );
      assert.equal(await count('jobs WHERE name LIKE $1', `keyed ${mode} %`), 20);
    }
    await refused(createMany([document('keyed all 0')], 'all', { ...ASYNC, idempotency: context('refused') }), 'conflict', 'name_taken');
    assert.equal(await count(`idempotency_keys WHERE key = 'refused'`), 0);
  });

  test('of one-offs puts those of one second and queue into one pool, and the others into workflows of their own', async () => {
    const at = (s: number) => new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 600_000 + s * 1_000).toISOString();
    const [one, two] = [at(0), at(5)];
    const batch = await createMany([
      document('once 0', { schedule: { at: one } }),
      document('once 1', { schedule: { at: one } }),
      document('once 2', { schedule: { at: two } }),
      document('once 3', { schedule: { at: one }, category: 'batch' }),
      document('once 4', { schedule: { at: one }, dispatch: 'dedicated' }),
      document('once 5', { schedule: { at: two }, dispatch: 'pooled', category: 'batch' }),
      document('once 6', { schedule: { delay: '500ms' }, dispatch: 'pooled' }),
    ]);
    const found = await rows<{ id: string; workflow_id: string; dispatch: string }>(
      it.pool,
      'SELECT id, workflow_id, dispatch FROM job_executions e JOIN unnest($1::text[]) WITH ORDINALITY i (job, nth) ON i.job = e.job_id ORDER BY i.nth',
      batch.items.map(idOf),
    );
    const second = (text: string) => text.replace('.000Z', 'Z');
    const bucket = (queue: string, text: string) => `once-default:${queue}-${second(text)}`;
    assert.deepEqual(
      found.slice(0, 6).map((row) => (row.workflow_id === row.id ? 'own' : row.workflow_id)),
      [bucket('default', one), bucket('default', one), 'own', 'own', 'own', bucket('slow', two)],
    );
    assert.match(found[6]!.workflow_id, /^group-default-/);
    assert.deepEqual(
      batch.items.map((item) => ('id' in item ? item.dispatchChoice.dispatch : '')),
      found.map((row) => row.dispatch),
    );
    const later = await createMany([document('once 7', { schedule: { at: two } })]);
    assert.equal('id' in later.items[0]! && later.items[0].dispatchChoice.reason, 'auto: another one-off is due in the same second');
  });

  test('is company for those of the same timing in it, and joins the company that is there', async () => {
    const schedule = { cron: '7 5 * * *' };
    const alone = await createMany([document('co 0', { schedule }), document('co 1', { schedule })]);
    assert.deepEqual(
      alone.items.map((item) => 'id' in item && item.dispatchChoice.dispatch),
      ['dedicated', 'dedicated'],
    );
    const led = await createMany([document('co 2', { schedule }), document('co 3', { schedule, dispatch: 'pooled' })]);
    const later = await createMany([document('co 4', { schedule }), document('co 5', { schedule, dispatch: 'dedicated' })]);
    const choices = [...led.items, ...later.items].map((item) => 'id' in item && item.dispatchChoice.dispatch);
    assert.deepEqual(choices, ['pooled', 'pooled', 'pooled', 'dedicated']);
  });

  test('that makes a shared clock says so once, so that Temporal is asked once', async () => {
    const drafts = many(3, (n) =>
      draftOf(CALLER, parseJobDocument(document(`raises ${n}`, { schedule: { every: '17s' } }), RULES), () => 'default'),
    );
    const outcomes = await jobsInsert(it.pool, drafts);
    assert.deepEqual(
      outcomes.map(({ created, joined }) => [created, joined?.generation, joined?.observedGeneration, joined?.raised]),
      [
        [true, 1, 0, true],
        [true, 1, 0, false],
        [true, 1, 0, false],
      ],
    );
  });

  test('of a pooled clock fires: its jobs are the members of one slot', async () => {
    const batch = await createMany(many(50, (n) => document(`fires ${n}`, { schedule: { every: '13s' } })));
    const ids = batch.items.map(idOf).sort();
    const [clock] = await rows<{ id: string; hash: string; n: number }>(
      it.pool,
      'SELECT clock_id AS id, min(timing_hash) AS hash, count(*)::int AS n FROM clock_members WHERE job_id = ANY ($1) GROUP BY clock_id',
      ids,
    );
    assert.deepEqual([clock?.id, clock?.n], [pooledClockId(clock!.hash), 50]);
    const period = Math.floor(Date.now() / 13_000) * 13_000;
    // as if they had been there for a while
    await it.pool.query(`UPDATE clock_members SET valid_from = valid_from - interval '1 minute' WHERE clock_id = $1`, [clock!.id]);
    const nominal = new Date(period);
    const slot = `${nominal.toISOString().slice(0, 19)}Z`;
    await it.pool.query(`SELECT admit_slot('default', $1, $2, $3, NULL, $4, 'run-1', 1000)`, [
      clock!.id,
      nominal,
      clock!.hash,
      `${clock!.id}-${slot}`,
    ]);
    const fired = await rows<{ job_id: string; workflow_id: string; status: string }>(
      it.pool,
      'SELECT job_id, workflow_id, status FROM job_executions WHERE job_id = ANY ($1) ORDER BY job_id',
      ids,
    );
    assert.deepEqual(
      fired,
      ids.map((job_id) => ({ job_id, workflow_id: `${clock!.id}-${slot}`, status: 'queued' })),
    );
  });
});

describe('single creates at the same time', () => {
  const commitsOf = async (ids: string[]) =>
    new Set(
      (await rows<{ commit: string }>(it.pool, 'SELECT xmin::text AS commit FROM jobs WHERE id = ANY ($1)', ids)).map((row) => row.commit),
    ).size;

  test('share a few commits; the bad one among them is refused by itself', async () => {
    const holder = (await it.jobs.create(CALLER, document('group taken'), ASYNC)).value;
    const good = many(30, (n) => it.jobs.create(CALLER, document(`group ${n}`, { schedule: { every: '7s' } }), ASYNC));
    const bad = [
      refused(it.jobs.create(CALLER, document('group taken'), ASYNC), 'conflict', 'name_taken'),
      refused(it.jobs.create(CALLER, document('group x', { service: 'nobody' }), ASYNC), 'invalid', 'invalid_job'),
    ];
    const [taken, service] = await Promise.all(bad);
    assert.deepEqual(taken?.extra, { id: holder.id, name: 'group taken' });
    assert.deepEqual(pathsOf(service!), [['/service', 'unknown_service']]);
    const views = (await Promise.all(good)).map(({ value }) => value);
    assert.ok((await commitsOf(views.map(({ id }) => id))) <= 3);
    for (const [n, view] of views.entries()) {
      assert.equal(view.name, `group ${n}`);
      // a slot may have passed since
      const { nextRuns, ...shown } = await it.jobs.get(CALLER, view.id);
      assert.deepEqual({ ...shown, nextRuns: view.nextRuns }, { ...view, frozen: null });
      assert.equal(nextRuns.length, 5);
      assert.equal((await membersOf(it.pool, view.id)).length, 1);
    }
  });

  test('of which one holds what Postgres does not take fail alone', async () => {
    const caller = { ...CALLER, name: 'no\0body' };
    const [first, broken, last] = await Promise.allSettled([
      it.jobs.create(CALLER, document('beside 0'), ASYNC),
      it.jobs.create(caller, document('beside 1'), ASYNC),
      it.jobs.create(CALLER, document('beside 2'), ASYNC),
    ]);
    assert.deepEqual([first.status, broken.status, last.status], ['fulfilled', 'rejected', 'fulfilled']);
  });
});
