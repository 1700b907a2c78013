/** A controller that is killed while it archives: the next one goes on, and every row is either in the database or in the archive, and at the end in the archive once. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { openRoom, type Room, until } from '../controller/room.ts';
import { oldSlots } from '../jobs/archive/old-rows.ts';
import { startProcess } from '../support/processes.ts';
import { seedJob } from '../support/seed.ts';

let room: Room;
let folder: string;
before(async () => {
  room = await openRoom();
  folder = await mkdtemp(join(tmpdir(), 'almanac-archive-'));
});
after(async () => {
  await room.close();
  await rm(folder, { recursive: true, force: true });
});

const startController = () =>
  startProcess('controller', {
    DATABASE_URL: room.databaseUrl,
    TEMPORAL_ADDRESS: room.address,
    TEMPORAL_NAMESPACE: room.namespace,
    ARCHIVE_DIR: folder,
    RETENTION_MONTHS: '12',
  });
const one = async <T>(text: string): Promise<T> => (await room.pool.query(text)).rows[0] as T;

test('a controller killed in the middle of a month loses nothing, and the next one goes on behind what was written', async () => {
  const { pool } = room;
  // 4 teams of 2,500 executions: a chunk each, and long lines so that it takes a while
  for (let nth = 0; nth < 4; nth += 1) {
    const job = { ...(await seedJob(pool)), team: `team-${nth}` };
    await oldSlots(pool, job, { from: new Date('2024-03-01T00:00:00Z'), count: 2_500, everyS: 60, attempts: 1 });
  }
  const first = await startController();
  await until('a chunk is noted', async () => (await one<{ n: number }>('SELECT count(*)::int AS n FROM archive_chunks')).n > 0, 60_000);
  await first.kill();
  const { n: written } = await one<{ n: number }>('SELECT count(*)::int AS n FROM archive_chunks');
  const { n: left } = await one<{ n: number }>(`SELECT count(*)::int AS n FROM job_executions WHERE partition_at < '2024-04-01'`);
  const { state } = await one<{ state: string }>('SELECT state FROM archives');
  assert.ok(left === 10_000 || state !== 'writing', 'nothing leaves before everything is written');

  const second = await startController();
  await until('the month has left', async () => (await one<{ state: string }>('SELECT state FROM archives')).state === 'complete', 60_000);
  assert.equal(await second.stop(), 0);
  assert.deepEqual(await one('SELECT executions::int, attempts::int FROM archives'), { executions: 10_000, attempts: 10_000 });
  assert.equal((await one<{ n: number }>(`SELECT count(*)::int AS n FROM job_executions WHERE partition_at < '2024-04-01'`)).n, 0);
  const files = (await readdir(folder, { recursive: true })).filter((name) => name.includes('executions-'));
  const ids = new Set<string>();
  let lines = 0;
  for (const file of files) {
    for (const line of gunzipSync(await readFile(join(folder, file)))
      .toString()
      .trimEnd()
      .split('\n')) {
      lines += 1;
      ids.add(JSON.parse(line).id);
    }
  }
  assert.deepEqual([lines, ids.size], [10_000, 10_000]);
  const names = await one<{ kept: number }>(
    `SELECT count(*)::int AS kept FROM archive_chunks, json_array_elements(objects) o WHERE o ->> 'table' = 'executions' AND o ->> 'name' LIKE '%-1.ndjson.gz'`,
  );
  assert.ok(names.kept >= written, 'what the first had written was kept');
});
