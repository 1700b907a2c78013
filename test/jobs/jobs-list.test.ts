import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { JobView } from '../../src/jobs/job-view.ts';
import { type CursorKey, JOB_SORTS, type JobQuery, type JobSort } from '../../src/jobs/jobs-list.ts';
import { ASYNC, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest } from './jobs-under-test.ts';

let it: JobsUnderTest;
const ids = new Map<string, string>();
before(async () => {
  it = await jobsUnderTest();
  await it.services.create(CALLER, { name: 'invoicing', baseUrl: 'https://example.com' });
  const documents = [
    {
      name: 'alpha',
      schedule: { cron: '0 2 * * *' },
      tags: { env: 'prod', owner: 'a' },
      priority: 1,
      category: 'batch',
      service: 'invoicing',
    },
    { name: 'Bravo 100%', schedule: { every: '1h' }, tags: { env: 'dev' } },
    { name: 'charlie_x', schedule: { delay: '3h' } },
    { name: 'delta', enabled: false, schedule: { every: '5m' } },
    { name: 'écho', tags: { env: 'prod' }, dispatch: 'dedicated', input: { quote: `"'\\` } },
    { name: 'foxtrot "quoted" \\', schedule: { every: '2h' } },
    { name: 'golf', schedule: { every: '10m' } },
  ];
  for (const body of documents) {
    const { value } = await it.jobs.create(CALLER, { target: HTTP_TARGET, ...body }, ASYNC);
    ids.set(value.name, value.id);
  }
  await it.schedules.pause(CALLER, 'golf', { reason: 'because' }, ASYNC);
});
after(() => it.close());

type Item = Omit<JobView, 'nextRuns' | 'frozen'>;
const list = async (query: Partial<JobQuery> = {}): Promise<{ items: Item[]; next: CursorKey | null }> => {
  const page = await it.jobs.list(CALLER, { sort: 'name', limit: 50, ...query });
  return { items: page.itemsJson.map((item) => JSON.parse(item) as Item), next: page.next };
};
const namesOf = async (query: Partial<JobQuery>) => (await list(query)).items.map((item) => item.name).sort();

describe('an item of the list', () => {
  test('is the job as GET returns it, without the next runs and what holds it', async () => {
    const { items } = await list();
    assert.equal(items.length, 7);
    for (const item of items) {
      const { nextRuns: _runs, frozen: _frozen, ...view } = await it.jobs.get(CALLER, item.id);
      assert.deepEqual(item, JSON.parse(JSON.stringify(view)));
    }
  });

  test('is synced once Temporal is known to have its clock, or its one run', async () => {
    const pending = (await list()).items.filter((item) => item.sync === 'pending').map((item) => item.name);
    assert.deepEqual(pending.sort(), ['Bravo 100%', 'alpha', 'charlie_x', 'foxtrot "quoted" \\', 'golf'].sort());
    await it.pool.query('UPDATE clocks SET observed_generation = generation WHERE id = $1', [ids.get('alpha')]);
    await it.pool.query(`UPDATE job_executions SET run_id = 'r' WHERE job_id = $1`, [ids.get('charlie_x')]);
    const synced = (await list()).items.filter((item) => item.sync === 'synced').map((item) => item.name);
    assert.deepEqual(synced.sort(), ['alpha', 'charlie_x', 'delta', 'écho'].sort());
  });
});

describe('a filter', () => {
  test('by any column finds what has it and nothing else', async () => {
    assert.deepEqual(await namesOf({ state: 'active' }), ['Bravo 100%', 'alpha', 'charlie_x', 'foxtrot "quoted" \\'].sort());
    assert.deepEqual(await namesOf({ state: 'disabled' }), ['delta']);
    assert.deepEqual(await namesOf({ state: 'paused' }), ['golf']);
    assert.deepEqual(await namesOf({ state: 'on_demand' }), ['écho']);
    assert.deepEqual(await namesOf({ service: 'invoicing' }), ['alpha']);
    assert.deepEqual(await namesOf({ category: 'batch' }), ['alpha']);
    assert.deepEqual(await namesOf({ priority: 1 }), ['alpha']);
    assert.equal((await namesOf({ createdBy: 'tests' })).length, 7);
    assert.deepEqual(await namesOf({ createdBy: 'nobody' }), []);
    assert.deepEqual(await namesOf({ team: 'other' }), []);
    assert.deepEqual(await namesOf({ lastOutcome: 'failed' }), []);
    await it.pool.query(`UPDATE job_runtime SET last_outcome = 'failed' WHERE job_id = $1`, [ids.get('delta')]);
    assert.deepEqual(await namesOf({ lastOutcome: 'failed' }), ['delta']);
  });

  test('by tags needs all of them; by name alone or with its text', async () => {
    assert.deepEqual(await namesOf({ tag: ['env'] }), ['Bravo 100%', 'alpha', 'écho'].sort());
    assert.deepEqual(await namesOf({ tag: ['env:prod'] }), ['alpha', 'écho'].sort());
    assert.deepEqual(await namesOf({ tag: ['env:prod', 'owner'] }), ['alpha']);
    assert.deepEqual(await namesOf({ tag: ["x' OR true --"] }), []);
  });

  test('by part of the name ignores case and knows no wildcards', async () => {
    assert.deepEqual(await namesOf({ q: 'BRAVO' }), ['Bravo 100%']);
    assert.deepEqual(await namesOf({ q: '%' }), ['Bravo 100%']);
    assert.deepEqual(await namesOf({ q: '_' }), ['charlie_x']);
    assert.deepEqual(await namesOf({ q: '\\' }), ['foxtrot "quoted" \\']);
    assert.deepEqual(await namesOf({ q: '"' }), ['foxtrot "quoted" \\']);
  });
});

describe('paging', () => {
  /** All names, page by page; `between` runs after each page. */
  async function walk(sort: JobSort, limit: number, between: () => Promise<unknown> = async () => {}): Promise<Item[]> {
    const seen: Item[] = [];
    let after: CursorKey | undefined;
    for (let page = 0; page < 50; page += 1) {
      const { items, next } = await list({ sort, limit, after });
      seen.push(...items);
      if (!next) return seen;
      after = JSON.parse(JSON.stringify(next)) as CursorKey;
      await between();
    }
    return assert.fail('never ended');
  }

  for (const sort of JOB_SORTS) {
    test(`by ${sort} meets every job once, whatever the page size`, async () => {
      const whole = (await list({ sort })).items.map((item) => item.name);
      assert.equal(new Set(whole).size, 7);
      for (const limit of [1, 2, 3, 6, 7, 8]) {
        assert.deepEqual(
          (await walk(sort, limit)).map((item) => item.name),
          whole,
          `${limit} at a time`,
        );
      }
    });
  }

  test('sorts by next run with those that have none last, in both directions', async () => {
    for (const sort of ['nextRunAt', '-nextRunAt'] as const) {
      const times = (await list({ sort })).items.map((item) => item.nextRunAt);
      const known = times.filter((time) => time !== null);
      assert.deepEqual(times.slice(known.length), [null, null, null]);
      const sorted = known.toSorted();
      assert.deepEqual(known, sort === 'nextRunAt' ? sorted : sorted.toReversed());
    }
  });

  test('leaves no gap and repeats nothing while other jobs come, change and go', async () => {
    for (const sort of JOB_SORTS) {
      let count = 0;
      const seen = await walk(sort, 2, async () => {
        count += 1;
        const { value } = await it.jobs.create(
          CALLER,
          { name: `passing ${sort} ${count}`, target: HTTP_TARGET, schedule: { every: '3h' } },
          ASYNC,
        );
        await it.jobs.patch(CALLER, 'alpha', { description: `${sort} ${count}` }, ASYNC);
        if (count % 2 === 0) await it.jobs.remove(CALLER, value.id, ASYNC);
      });
      const found = seen.map((item) => item.id);
      assert.equal(new Set(found).size, found.length, `${sort}: nothing twice`);
      for (const [name, id] of ids) assert.ok(found.includes(id), `${sort}: ${name} is there`);
      await it.pool.query(`DELETE FROM jobs WHERE name LIKE 'passing%'`);
    }
  });

  test('uses the index of its sort on a full table', async () => {
    await it.pool.query(
      `INSERT INTO jobs (id, team, name, priority, state, generation, document, created_by, created_at, updated_at)
       SELECT 'job_' || gen_random_uuid(), 'default', 'filler ' || n, 3, 'on_demand', 1, '{}', 'filler', now() - make_interval(secs => n), now() FROM generate_series(1, 3000) n`,
    );
    await it.pool.query(
      `INSERT INTO job_runtime (job_id, team, job_name, generation, priority, queue, overlap, catch_up, catch_up_window_ms, max_attempts)
       SELECT id, team, name, 1, 3, 'default', 'skip', 'last', 1, 1 FROM jobs WHERE created_by = 'filler'`,
    );
    await it.pool.query('ANALYZE jobs, job_runtime, clocks');
    const { jobsListStatement } = await import('../../src/jobs/jobs-list.ts');
    for (const sort of JOB_SORTS) {
      const { text, values } = jobsListStatement('default', { sort, limit: 50 });
      const { rows } = await it.pool.query<{ 'QUERY PLAN': string }>(`EXPLAIN ${text}`, values);
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      if (sort !== '-nextRunAt') assert.doesNotMatch(plan, /Seq Scan on jobs/, `${sort}\n${plan}`);
    }
  });
});
