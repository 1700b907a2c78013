/** Old months leave the database for an archive, and nothing is lost whatever comes in between. Time is given; Postgres and the directory are real. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { partitionsEnsure } from '../../src/controller/partitions-ahead.ts';
import { createRetention, retainedFrom } from '../../src/controller/retention.ts';
import { createDirectoryPlace } from '../../src/jobs/archive/directory-place.ts';
import { type Place, PlaceError } from '../../src/jobs/archive/place.ts';
import type { Retired } from '../../src/jobs/archive/retire-month.ts';
import { createMetrics } from '../../src/metrics.ts';
import type { Pool } from '../../src/postgres.ts';
import { oldSlots, oldTrigger, rowsBefore } from '../jobs/archive/old-rows.ts';
import { openTestPool } from '../support/pool.ts';
import { type SeededJob, seedJob } from '../support/seed.ts';
import { silent, until } from './room.ts';

/** Three months of rows; with 12 months of retention, March 2024 alone is old enough at NOW. */
const MARCH = new Date('2024-03-01T00:00:00Z');
const APRIL = new Date('2024-04-01T00:00:00Z');
const NOW = new Date('2025-04-10T12:00:00Z');
const go = new AbortController().signal;

let pool: Pool;
let close: () => Promise<void>;
let folder: string;
let jobs: SeededJob[];

beforeEach(async () => {
  ({ pool, close } = await openTestPool());
  folder = await mkdtemp(join(tmpdir(), 'almanac-archive-'));
  jobs = [await seedJob(pool), await seedJob(pool), await seedJob(pool)];
  jobs[2]!.team = 'others';
});
afterEach(async () => {
  await close();
  await rm(folder, { recursive: true, force: true });
});

/** 40 + 3 + 20 executions of March, some of April. */
async function seedMarch(): Promise<void> {
  await oldSlots(pool, jobs[0]!, { from: new Date('2024-03-01T00:00:00Z'), count: 40, attempts: 2 });
  await oldTrigger(pool, jobs[1]!, new Date('2024-03-15T01:02:03.456Z'));
  await oldSlots(pool, jobs[1]!, { from: new Date('2024-03-31T23:00:00Z'), count: 3, everyS: 1_800 });
  await oldSlots(pool, jobs[2]!, { from: new Date('2024-03-10T00:00:00Z'), count: 20 });
}

/** A stretch in which slots of the first job did not run. */
async function seedRange(from: string, to: string | null, team = 'default'): Promise<void> {
  await pool.query(
    `INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at, count, note) VALUES ($1, $2, 'paused', $3, $4, 3, E'two\nlines')`,
    [team, jobs[0]!.id, from, to],
  );
}
const rangesLeft = async (): Promise<string[]> =>
  (await pool.query<{ from_at: Date }>('SELECT from_at FROM slot_ranges ORDER BY from_at')).rows.map(({ from_at }) =>
    from_at.toISOString().slice(0, 10),
  );

type Options = { place?: Place | null; onStep?: (step: 'written' | 'detached') => Promise<void>; chunkBytes?: number };
const look = ({ place = createDirectoryPlace(folder), ...rest }: Options = {}): Promise<Retired[]> =>
  createRetention({ pool, log: silent, metrics: createMetrics('test'), place, months: 12, chunkBytes: 5_000, ...rest }).pass(NOW, go);

const statesOf = (results: Retired[]) => results.map((result) => (result.state === 'held' ? result.reason : result.state));
const partitions = async (): Promise<string[]> =>
  (
    await pool.query<{ name: string }>(
      `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r' AND c.relname ~ '_2024_' AND NOT i.inhdetachpending ORDER BY 1`,
    )
  ).rows.map(({ name }) => name);
const tables = async (): Promise<string[]> =>
  (
    await pool.query<{ name: string }>(`SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relname ~ '_2024_03' ORDER BY 1`)
  ).rows.map(({ name }) => name);

/** All lines in the directory that the manifests name. */
async function archived(table: 'executions' | 'attempts' | 'ranges'): Promise<string[]> {
  const lines: string[] = [];
  for (const file of await readdir(folder, { recursive: true })) {
    if (!file.endsWith('manifest.json')) continue;
    const manifest = JSON.parse(await readFile(join(folder, file), 'utf8'));
    for (const object of manifest.objects.filter((one: { table: string }) => one.table === table)) {
      const text = gunzipSync(await readFile(join(folder, object.name))).toString();
      lines.push(...text.trimEnd().split('\n'));
    }
  }
  return lines.sort();
}
const inUtc = async (): Promise<void> =>
  void (await pool.query(`ALTER DATABASE ${(await pool.query('SELECT current_database() AS n')).rows[0].n} SET TimeZone = 'UTC'`));
/** JSON lets line breaks go between values, and a line has none. */
const plain = (rows: string[]) => rows.map((row) => JSON.stringify(JSON.parse(row))).sort();

describe('what leaves', () => {
  test('is whole months: between twelve and thirteen of them stay', () => {
    assert.equal(retainedFrom(new Date('2025-03-31T23:59:59.999Z'), 12).toISOString(), '2024-03-01T00:00:00.000Z');
    assert.equal(retainedFrom(new Date('2025-04-01T00:00:00.000Z'), 12).toISOString(), '2024-04-01T00:00:00.000Z');
    assert.equal(retainedFrom(new Date('2025-01-15T00:00:00.000Z'), 1).toISOString(), '2024-12-01T00:00:00.000Z');
  });

  test('is in the archive, every column of it, and its partitions are gone; the month after stays', async () => {
    await inUtc();
    await seedMarch();
    const [executions, attempts] = [await rowsBefore(pool, 'job_executions', APRIL), await rowsBefore(pool, 'job_attempts', APRIL)];
    assert.equal(executions.length, 63);
    assert.deepEqual(statesOf(await look()), ['complete']);
    assert.deepEqual(plain(await archived('executions')), plain(executions));
    assert.deepEqual(plain(await archived('attempts')), plain(attempts));
    assert.deepEqual(await tables(), []);
    assert.deepEqual(await partitions(), ['job_attempts_2024_04', 'job_executions_2024_04']);
    const { rows } = await pool.query('SELECT state, executions::int, attempts::int, place, reason FROM archives');
    assert.deepEqual(rows, [
      { state: 'complete', executions: executions.length, attempts: attempts.length, place: 'directory', reason: null },
    ]);
    const teams = await pool.query('SELECT team, sum(executions)::int AS executions FROM archive_chunks GROUP BY team ORDER BY team');
    assert.deepEqual(teams.rows, [
      { team: 'default', executions: executions.length - 20 },
      { team: 'others', executions: 20 },
    ]);
    assert.deepEqual(statesOf(await look()), []);
  });

  test('is nothing without rows: an empty month goes without an archive', async () => {
    await pool.query('SELECT ensure_partitions($1)', [MARCH]);
    assert.deepEqual(statesOf(await look({ place: null })), ['complete']);
    assert.deepEqual(await tables(), []);
  });
});

describe('partitions', () => {
  test('are there for the months ahead, and for those in which a clock has still to look for its slots', async () => {
    const made = async () =>
      (
        await pool.query<{ n: number }>(
          `SELECT count(*)::int AS n FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r' AND c.relname ~ '^job_executions_'`,
        )
      ).rows[0]!.n;
    const before = await made();
    assert.equal(await partitionsEnsure(pool), 0, 'the migration has made those ahead');
    await pool.query(
      `UPDATE clocks SET checked_until = now() - interval '7 months', next_check_at = now() - interval '7 months' WHERE id = $1`,
      [jobs[0]!.id],
    );
    assert.ok((await partitionsEnsure(pool)) >= 12, 'two tables, and at least six months more');
    await pool.query(`INSERT INTO job_attempts (partition_at, execution_id, attempt, team, status, started_at, finished_at)
                      SELECT now() - make_interval(months => n), 'e', 1, 't', 's', now(), now() FROM generate_series(0, 7) n`);
    assert.ok((await made()) <= before + 9);
    assert.equal(await partitionsEnsure(pool), 0);
    const twice = await pool.query(
      `SELECT indrelid::regclass, indkey::text, indpred::text FROM pg_index WHERE indrelid::regclass::text ~ '^job_executions_2' GROUP BY 1, 2, 3 HAVING count(*) > 1`,
    );
    assert.deepEqual(twice.rows, [], 'each index is there once');
  });
});

describe('memberships that ended before what is kept', () => {
  test('are forgotten when no month before is left, and not before their clock has looked', async () => {
    const member = (from: string, to: string, clock = jobs[0]!.id) =>
      pool.query(
        `INSERT INTO clock_members (job_id, clock_id, team, generation, timing_hash, valid_from, valid_to) VALUES ($1, $2, 'default', 1, $3, $4, $5)`,
        [jobs[0]!.id, clock, jobs[0]!.hash, from, to],
      );
    await member('2024-01-01T00:00:00Z', '2024-03-31T00:00:00Z');
    await member('2024-01-01T00:00:00Z', '2024-03-31T00:00:00Z', jobs[1]!.id);
    await member('2024-03-31T00:00:00Z', '2024-04-01T00:00:00Z');
    await pool.query(`UPDATE clocks SET checked_until = '2024-03-30', next_check_at = '2100-01-01' WHERE id = $1`, [jobs[1]!.id]);
    const left = async () =>
      (
        await pool.query('SELECT clock_id AS clock, valid_to AS to FROM clock_members WHERE job_id = $1 ORDER BY valid_to', [jobs[0]!.id])
      ).rows.map(({ clock, to }) => [jobs.findIndex(({ id }) => id === clock), to instanceof Date ? to.toISOString().slice(0, 10) : to]);
    await pool.query('SELECT ensure_partitions($1)', [MARCH]);
    await oldSlots(pool, jobs[0]!, { from: MARCH, count: 1 });
    await look({ place: null });
    assert.equal((await left()).length, 4);
    await look();
    assert.deepEqual(await left(), [
      [1, '2024-03-31'],
      [0, '2024-04-01'],
      [0, Number.POSITIVE_INFINITY],
    ]);
  });
});

describe('stretches in which slots did not run', () => {
  test('leave with the month in which they ended', async () => {
    await seedMarch();
    await seedRange('2023-12-24T00:00:00Z', '2024-03-01T00:00:00Z');
    await seedRange('2024-03-02T00:00:00Z', '2024-03-31T23:59:59Z', 'others');
    await seedRange('2024-03-03T00:00:00Z', '2024-04-01T00:00:00Z');
    await seedRange('2024-03-04T00:00:00Z', null);
    assert.deepEqual(statesOf(await look({ chunkBytes: 1 })), ['complete']);
    assert.deepEqual(await rangesLeft(), ['2024-03-03', '2024-03-04']);
    const lines = (await archived('ranges')).map((line) => JSON.parse(line));
    assert.deepEqual(lines.map(({ team, reason, count, note }) => [team, reason, count, note]).sort(), [
      ['default', 'paused', 3, 'two\nlines'],
      ['others', 'paused', 3, 'two\nlines'],
    ]);
  });

  test('of which one comes after its month was written leave together', async () => {
    await seedMarch();
    let late = false;
    const onStep = async () => {
      if (!late) await seedRange('2024-03-05T00:00:00Z', '2024-03-06T00:00:00Z');
      late = true;
    };
    assert.deepEqual(statesOf(await look({ onStep })), ['complete']);
    assert.deepEqual([(await archived('ranges')).length, (await archived('executions')).length, await rangesLeft()], [1, 63, []]);
  });

  test('are kept where there is no archive', async () => {
    await pool.query('SELECT ensure_partitions($1)', [MARCH]);
    await seedRange('2024-03-05T00:00:00Z', '2024-03-06T00:00:00Z');
    assert.deepEqual(statesOf(await look({ place: null })), ['no_archive']);
    assert.deepEqual(await rangesLeft(), ['2024-03-05']);
  });
});

describe('a month stays', () => {
  test('when there is no archive, and says so', async () => {
    await seedMarch();
    assert.deepEqual(statesOf(await look({ place: null })), ['no_archive']);
    assert.equal((await rowsBefore(pool, 'job_executions', APRIL)).length, 63);
    assert.deepEqual((await pool.query('SELECT state, reason FROM archives')).rows, [{ state: 'held', reason: 'no_archive' }]);
    assert.deepEqual(statesOf(await look()), ['complete']);
  });

  test('when one of its executions has not ended', async () => {
    await seedMarch();
    const waiting = await oldTrigger(pool, jobs[0]!, new Date('2024-03-20T00:00:00Z'), { status: 'queued' });
    assert.deepEqual(statesOf(await look()), ['unfinished']);
    await pool.query(`UPDATE job_executions SET status = 'cancelled', finished_at = now() WHERE partition_at = $1 AND id = $2`, [
      waiting.at,
      waiting.id,
    ]);
    assert.deepEqual(statesOf(await look()), ['complete']);
  });

  test('when a clock has still to look for its slots: they would run again', async () => {
    await seedMarch();
    await pool.query(`UPDATE clocks SET checked_until = '2024-03-20', next_check_at = '2024-03-20' WHERE id = $1`, [jobs[0]!.id]);
    assert.deepEqual(statesOf(await look()), ['clocks_behind']);
    await pool.query(`UPDATE clocks SET next_check_at = '2100-01-01', deleted_at = now() WHERE id = $1`, [jobs[0]!.id]);
    assert.deepEqual(statesOf(await look()), ['clocks_behind']);
    await pool.query('UPDATE clocks SET checked_until = now() WHERE id = $1', [jobs[0]!.id]);
    assert.deepEqual(statesOf(await look()), ['complete']);
  });

  test('when its place fails, and goes on behind the last chunk when that is back', async () => {
    await seedMarch();
    const whole = createDirectoryPlace(folder);
    const puts: string[] = [];
    let room = 3;
    const full: Place = {
      ...whole,
      put: async (name, bytes) => {
        if (room === 0) throw new PlaceError(`${name}: ENOSPC: no space left on device, write`);
        room -= 1;
        puts.push(name);
        await whole.put(name, bytes);
      },
    };
    assert.deepEqual(statesOf(await look({ place: full })), ['place_failed']);
    assert.equal((await rowsBefore(pool, 'job_executions', APRIL)).length, 63);
    const noted = (await pool.query('SELECT count(*)::int AS n FROM archive_chunks')).rows[0].n;
    assert.equal(noted, 1, 'the second chunk has only one of its two objects');
    room = 1_000;
    assert.deepEqual(statesOf(await look({ place: full })), ['complete']);
    assert.equal(puts.filter((name) => name.includes('executions-00001')).length, 1, 'what was written is not written again');
    assert.equal((await archived('executions')).length, 63);
    const stray = (await readdir(folder, { recursive: true })).filter((name) => name.includes('executions-00002'));
    assert.equal(stray.length, 1, 'what the interrupted chunk has left is removed');
  });

  test('when what is read back is not what was written', async () => {
    await seedMarch();
    const whole = createDirectoryPlace(folder);
    const lying: Place = { ...whole, get: async (name) => (name.includes('attempts-00002') ? Buffer.from('rot') : whole.get(name)) };
    assert.deepEqual(statesOf(await look({ place: lying })), ['place_failed']);
    assert.equal((await tables()).length, 2);
    assert.equal((await rowsBefore(pool, 'job_executions', APRIL)).length, 63);
  });

  test('when the directory can not be written', async () => {
    await seedMarch();
    await writeFile(join(folder, 'a-file'), '');
    assert.deepEqual(statesOf(await look({ place: createDirectoryPlace(join(folder, 'a-file')) })), ['place_failed']);
    assert.match((await pool.query('SELECT detail FROM archives')).rows[0].detail, /ENOTDIR/);
  });
});

describe('in between', () => {
  test('a row that comes after its month was written is archived too', async () => {
    await seedMarch();
    let late = false;
    const onStep = async (step: string) => {
      if (step !== 'written' || late) return;
      late = true;
      await oldSlots(pool, jobs[1]!, { from: new Date('2024-03-05T00:00:00Z'), count: 1 });
    };
    assert.deepEqual(statesOf(await look({ onStep })), ['complete']);
    assert.equal((await archived('executions')).length, 64);
    assert.deepEqual(await tables(), []);
  });

  test('an execution that begins after its month was written keeps it, and is seen by everybody', async () => {
    await seedMarch();
    let late: { id: string; at: Date } | undefined;
    const onStep = async (step: string) => {
      if (step === 'written') late ??= await oldTrigger(pool, jobs[1]!, new Date('2024-03-05T00:00:00Z'), { status: 'queued' });
    };
    assert.deepEqual(statesOf(await look({ onStep })), ['unfinished']);
    const seen = await pool.query('SELECT status FROM job_executions WHERE partition_at = $1 AND id = $2', [late!.at, late!.id]);
    assert.deepEqual(seen.rows, [{ status: 'queued' }]);
    assert.equal((await partitions()).length, 4);
  });

  for (const step of ['written', 'detached'] as const) {
    test(`an end right after it was ${step} costs nothing but the next look`, async () => {
      await seedMarch();
      const killed = async (at: string) => {
        if (at === step) throw new Error('killed');
      };
      await assert.rejects(look({ onStep: killed }), /killed/);
      assert.equal((await tables()).length, 2);
      assert.deepEqual(statesOf(await look()), ['complete']);
      assert.equal((await archived('executions')).length, 63);
      assert.deepEqual(await tables(), []);
    });
  }

  test('a detach that nobody has finished is finished', async () => {
    await seedMarch();
    const holder = await pool.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT count(*) FROM job_executions');
    const detaching = pool.connect().then(async (client) => {
      const pid = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid as number;
      const ended = client
        .query('ALTER TABLE job_executions DETACH PARTITION job_executions_2024_03 CONCURRENTLY')
        .catch((error: Error) => error);
      await until('the detach waits', async () => (await pool.query('SELECT 1 FROM pg_inherits WHERE inhdetachpending')).rowCount);
      await pool.query('SELECT pg_cancel_backend($1)', [pid]);
      await ended;
      client.release();
    });
    await detaching;
    await holder.query('COMMIT');
    holder.release();
    assert.equal((await rowsBefore(pool, 'job_executions', APRIL)).length, 0, 'they are out of sight');
    assert.deepEqual(statesOf(await look()), ['complete']);
    assert.equal((await archived('executions')).length, 63);
  });

  test('two that look at once archive it once', async () => {
    await seedMarch();
    const results = await Promise.allSettled([look(), look(), look()]);
    const states = results.flatMap((result) => (result.status === 'fulfilled' ? statesOf(result.value) : [String(result.reason)]));
    await look();
    assert.deepEqual(
      (await pool.query('SELECT state, executions::int FROM archives')).rows,
      [{ state: 'complete', executions: 63 }],
      states.join(),
    );
    assert.equal((await archived('executions')).length, 63);
    assert.deepEqual(await tables(), []);
  });

  test('nobody who writes waits for it, also when somebody has read for long', async () => {
    await seedMarch();
    const reader = await pool.connect();
    try {
      await reader.query('BEGIN');
      await reader.query('SELECT count(*) FROM job_executions');
      const looked = look();
      await until('the detach waits', async () => (await pool.query('SELECT 1 FROM pg_inherits WHERE inhdetachpending')).rowCount);
      // a month of which nobody has a partition yet
      const written = oldSlots(pool, jobs[0]!, { from: new Date('2024-05-01T00:00:00Z'), count: 1 });
      const first = await Promise.race([written.then(() => 'the writer'), looked.then(() => 'the reader')]);
      await reader.query('COMMIT');
      assert.equal(first, 'the writer');
      assert.deepEqual(statesOf(await looked), ['complete']);
    } finally {
      reader.release();
    }
  });
});
