/** Archives over HTTP: what has left the database is still answered. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createRetention } from '../../src/controller/retention.ts';
import { createDirectoryPlace } from '../../src/jobs/archive/directory-place.ts';
import { createMetrics } from '../../src/metrics.ts';
import { createPool, type Pool } from '../../src/postgres.ts';
import { silent } from '../controller/room.ts';
import { type OldRow, oldSlots } from '../jobs/archive/old-rows.ts';
import { type SeededJob, seedJob } from '../support/seed.ts';
import { type Answer, type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
let pool: Pool;
let folder: string;
let jobs: SeededJob[];
let old: OldRow[];
let foreign: OldRow[];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'almanac-archive-'));
  stack = await createApiStack();
  pool = createPool({ DATABASE_URL: stack.databaseUrl, DATABASE_POOL: 5, DATABASE_CONNECT_TIMEOUT_MS: 10_000 }, silent, 'test');
  jobs = [await seedJob(pool), await seedJob(pool), await seedJob(pool)];
  jobs[2]!.team = 'others';
  old = await oldSlots(pool, jobs[0]!, { from: new Date('2024-03-01T00:00:00Z'), count: 25, attempts: 2, status: 'failed' });
  await oldSlots(pool, jobs[1]!, { from: new Date('2024-03-05T00:00:00Z'), count: 5 });
  foreign = await oldSlots(pool, jobs[2]!, { from: new Date('2024-03-05T00:00:00Z'), count: 7 });
  const place = createDirectoryPlace(folder);
  const retention = createRetention({ pool, log: silent, metrics: createMetrics('test'), place, months: 12, chunkBytes: 4_000 });
  api = await stack.start({ ARCHIVE_DIR: folder });
  const before = await api.call('GET', `/api/v1/executions/${jobs[0]!.id}/${old[3]!.id}`);
  asItWas = before.body;
  await retention.pass(new Date('2025-04-01T00:00:00Z'), new AbortController().signal);
});
after(async () => {
  await pool.end();
  await stack.close();
  await rm(folder, { recursive: true, force: true });
});
let asItWas: Answer['body'];

const archiveId = async (): Promise<string> => (await api.call('GET', '/api/v1/archives')).body.items[0]!.id as string;

test('archives are listed with what the team has in them', async () => {
  const { status, body } = await api.call('GET', '/api/v1/archives?limit=1');
  assert.equal(status, 200);
  const [archive] = body.items;
  assert.deepEqual(
    [archive!.month, archive!.state, archive!.executions, archive!.attempts, archive!.place],
    ['2024-03', 'complete', 30, 55, 'directory'],
  );
  assert.equal(body.nextCursor, null);
  const one = await api.call('GET', `/api/v1/archives/${archive!.id}`);
  const manifest = one.body.manifest as { teams: object[]; objects: { sha256: string; team: string }[]; schemaVersion: string };
  assert.deepEqual(manifest.teams, [{ team: 'default', executions: 30, attempts: 55, ranges: 0 }]);
  assert.ok(
    manifest.objects.length >= 2 && manifest.objects.every(({ sha256, team }) => /^[0-9a-f]{64}$/.test(sha256) && team === 'default'),
  );
  assert.match(manifest.schemaVersion, /^\d{4}_/);
  assert.equal((await api.call('GET', '/api/v1/archives/arc_1')).body.code, 'archive_not_found');
});

test('executions are read back page by page, each once, by job and time', async () => {
  const read = async (query: string): Promise<string[]> => {
    const ids: string[] = [];
    for (let cursor = ''; ; ) {
      const { status, body } = await api.call('GET', `/api/v1/archives/${await archiveId()}/executions?limit=4${query}${cursor}`);
      assert.equal(status, 200, JSON.stringify(body));
      ids.push(...body.items.map(({ id }) => id as string));
      if (body.nextCursor === null) return ids;
      cursor = `&cursor=${body.nextCursor}`;
    }
  };
  const all = await read('');
  assert.deepEqual([all.length, new Set(all).size], [30, 30]);
  assert.deepEqual(
    await read(`&jobId=${jobs[0]!.id}`),
    old.map(({ id }) => id),
  );
  assert.deepEqual(
    await read(`&from=2024-03-01T05:00:00Z&to=2024-03-01T08:00:00Z`),
    old.slice(5, 8).map(({ id }) => id),
  );
  assert.deepEqual(await read(`&jobId=${jobs[2]!.id}`), [], "another team's");
});

test('an execution that has left is answered as it was, with its archive', async () => {
  const { status, body } = await api.call('GET', `/api/v1/executions/${jobs[0]!.id}/${old[3]!.id}`);
  assert.equal(status, 200);
  const { archive, ...rest } = body;
  assert.equal(archive, await archiveId());
  assert.deepEqual({ ...rest, live: null }, { ...asItWas, live: null });
  assert.equal((rest.attempts as unknown[]).length, 2);
  const byName = await api.call('GET', `/api/v1/executions/${encodeURIComponent(`old ${jobs[0]!.id}`)}/${old[3]!.id}`);
  assert.equal(byName.status, 200);
});

test('an execution of another team, of another job or of no archive is not found', async () => {
  const of = (job: string, id: string) => api.call('GET', `/api/v1/executions/${job}/${id}`);
  assert.equal((await of(jobs[2]!.id, foreign[0]!.id)).status, 404);
  assert.equal((await of(jobs[1]!.id, old[3]!.id)).status, 404);
  assert.equal((await of(jobs[0]!.id, `${jobs[0]!.id}-2024-03-28T00:00:00Z`)).status, 404);
  assert.equal((await of(jobs[0]!.id, 'nonsense')).status, 404);
});

test('what can no longer be done with an archived execution is 410 and names the archive', async () => {
  for (const action of ['retry', 'cancel', 'terminate']) {
    const { status, body } = await api.call('POST', `/api/v1/executions/${jobs[0]!.id}/${old[3]!.id}/${action}`);
    assert.deepEqual([status, body.code, body.archive, body.status], [410, 'execution_archived', await archiveId(), 410], action);
  }
  const many = await api.call('POST', `/api/v1/executions/${jobs[0]!.id}/retry`, { executionIds: [old[3]!.id] });
  assert.equal(many.status, 410);
  assert.equal((await api.call('POST', `/api/v1/executions/${jobs[2]!.id}/${foreign[0]!.id}/retry`)).status, 404);
});

test('nonsense is refused', async () => {
  const id = await archiveId();
  for (const [query, status] of [
    ['jobId=nightly', 422],
    ['from=yesterday', 422],
    ['from=2024-03-02T00:00:00Z&to=2024-03-01T00:00:00Z', 422],
    ['limit=0', 422],
    ['cursor=abc', 400],
    ['colour=red', 400],
  ] as const) {
    assert.equal((await api.call('GET', `/api/v1/archives/${id}/executions?${query}`)).status, status, query);
  }
  assert.equal((await api.call('GET', `/api/v1/archives/${encodeURIComponent("'; DROP")}/executions`)).status, 404);
});
