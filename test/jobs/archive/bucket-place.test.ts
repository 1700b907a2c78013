/** Archives in a bucket, against a real S3-compatible server. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readConfig } from '../../../src/config.ts';
import { createRetention } from '../../../src/controller/retention.ts';
import { createArchives } from '../../../src/jobs/archive/archives.ts';
import { type Place, PlaceError } from '../../../src/jobs/archive/place.ts';
import { createMetrics } from '../../../src/metrics.ts';
import { silent } from '../../controller/room.ts';
import { openTestPool } from '../../support/pool.ts';
import { seedJob } from '../../support/seed.ts';
import { CALLER, refused } from '../jobs-under-test.ts';
import { type BucketServer, startBucketServer } from './bucket.ts';
import { oldSlots } from './old-rows.ts';

let server: BucketServer;
let strict: BucketServer;
before(async () => {
  [server, strict] = await Promise.all([startBucketServer({ anySignature: true }), startBucketServer()]);
});
after(() => Promise.all([server.close(), strict.close()]));

const isPlaceError =
  (words: RegExp, missing = false) =>
  (error: unknown) =>
    error instanceof PlaceError && words.test(error.message) && error.missing === missing;

describe('a bucket', () => {
  test('gives back what was put, lists it under its prefix, and forgets what was removed', async () => {
    const place = server.place();
    const bytes = Buffer.from('ä'.repeat(3_000_000));
    await place.put('2024-03/arc_1/executions-00001-1.ndjson.gz', bytes);
    await place.put('2024-03/arc_1/manifest.json', Buffer.from('{}'));
    await server.place({ prefix: 'other/' }).put('2024-03/arc_1/attempts-00001-1.ndjson.gz', Buffer.from('x'));
    assert.ok((await place.get('2024-03/arc_1/executions-00001-1.ndjson.gz')).equals(bytes));
    assert.deepEqual(await place.list('2024-03/arc_1'), ['2024-03/arc_1/executions-00001-1.ndjson.gz', '2024-03/arc_1/manifest.json']);
    await place.remove('2024-03/arc_1/manifest.json');
    await place.remove('2024-03/arc_1/manifest.json');
    assert.deepEqual(await place.list('2024-03/arc_1'), ['2024-03/arc_1/executions-00001-1.ndjson.gz']);
    await assert.rejects(place.get('2024-03/arc_1/manifest.json'), isPlaceError(/NoSuchKey/, true));
  });

  test('that does not take our key, or is away, says so', async () => {
    await assert.rejects(strict.place({ secret: 'wrong' }).put('a/b', Buffer.from('x')), isPlaceError(/SignatureDoesNotMatch/));
    await strict.place().put('a/b', Buffer.from('x'));
    assert.equal((await strict.place().get('a/b')).toString(), 'x');
    await strict.place().remove('a/b');
    await server.stop();
    await assert.rejects(server.place().put('a/b', Buffer.from('x')), isPlaceError(/ECONNREFUSED/));
    await server.start();
    await server.place().put('a/b', Buffer.from('x'));
  });
});

test('a month that can not reach its bucket stays, leaves when it can, and is read back from there', async () => {
  const { pool, close } = await openTestPool();
  try {
    const job = await seedJob(pool);
    const [first] = await oldSlots(pool, job, { from: new Date('2024-03-01T00:00:00Z'), count: 30 });
    const place = server.place({ prefix: 'story/' });
    const look = async () => {
      const retention = createRetention({ pool, log: silent, metrics: createMetrics('test'), place, months: 12 });
      return (await retention.pass(new Date('2025-04-01T00:00:00Z'), new AbortController().signal)).map(({ state }) => state);
    };
    await server.stop();
    assert.deepEqual(await look(), ['held']);
    assert.equal((await pool.query('SELECT count(*)::int AS n FROM job_executions')).rows[0].n, 30);
    await server.start();
    assert.deepEqual(await look(), ['complete']);
    assert.equal((await pool.query('SELECT count(*)::int AS n FROM job_executions')).rows[0].n, 0);

    const config = readConfig({ DATABASE_URL: 'postgres://nobody' });
    const archives = createArchives({ pool, config, places: { current: place, of: (kind) => (kind === 'bucket' ? place : null) } });
    const found = await archives.execution(CALLER, first!.id);
    assert.equal(found?.row.id, first!.id);
    assert.equal(found?.attempts.length, 1);
    const [archive] = (await archives.list(CALLER, { limit: 10 })).items;
    assert.equal((await archives.executions(CALLER, archive!.id, { limit: 50 })).items.length, 30);
    await server.stop();
    await refused(archives.execution(CALLER, first!.id), 'unavailable', 'archive_unreadable');
    const elsewhere = createArchives({ pool, config, places: { current: null, of: (): Place | null => null } });
    await refused(elsewhere.execution(CALLER, first!.id), 'unavailable', 'archive_unreadable');
    await server.start();
  } finally {
    await close();
  }
});
