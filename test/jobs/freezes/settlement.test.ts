import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { clockPurge } from '../../../src/controller/ending-store.ts';
import { createFreezeSettlement, type FreezeSettlement } from '../../../src/jobs/freezes/freeze-settlement.ts';
import { newFreezeId, slotExecutionId } from '../../../src/jobs/ids.ts';
import { createBackfills } from '../../../src/jobs/operations/backfills.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { type SeededJob, seedJob } from '../../support/seed.ts';

let pool: Pool;
let close: () => Promise<void>;
let settlement: FreezeSettlement;
before(async () => {
  ({ pool, close } = await openTestPool());
  settlement = createFreezeSettlement({ pool, backfills: createBackfills({ pool }) });
});
after(() => close());
beforeEach(() => pool.query('UPDATE freezes SET settled_at = now() WHERE settled_at IS NULL'));

const MINUTE_MS = 60_000;
/** A slot of every ten minutes, about an hour ago: the freezes of these tests began then. */
const start = (Math.floor(Date.now() / (10 * MINUTE_MS)) - 6) * 10 * MINUTE_MS;
const at = (minutes: number) => new Date(start + minutes * MINUTE_MS);

async function freeze(from: number, to: number | null, { scope = 'team', targets = [] as string[] } = {}): Promise<string> {
  const id = newFreezeId();
  await pool.query(
    `INSERT INTO freezes (id, team, scope, targets, reason, from_at, to_at, created_by) VALUES ($1, 'default', $2, $3, 'test', $4, $5, 'tests')`,
    [id, scope, targets, at(from), to === null ? null : at(to)],
  );
  return id;
}
/** A job of a slot a minute whose clock has been looked through to the end. */
const job = async (more: Parameters<typeof seedJob>[1] = {}): Promise<SeededJob> => {
  const seeded = await seedJob(pool, { everyS: 60, validFrom: at(-600), ...more });
  await pool.query(`UPDATE clocks SET checked_until = now() WHERE id = $1`, [seeded.id]);
  return seeded;
};
/** What admit writes at the first slot that a freeze swallows. */
const swallow = (jobId: string, freezeId: string, from: number, to: number | null = null) =>
  pool.query(
    `INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at, by, freeze_id) VALUES ('default', $1, 'frozen', $2, $3, 'almanac', $4)`,
    [jobId, at(from), to === null ? null : at(to), freezeId],
  );
const ran = (jobId: string, minute: number) =>
  pool.query(
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch, finished_at)
     VALUES ($1, $2, 'default', $3, 'a', 1, 'schedule', $1, $1, 'succeeded', 3, 3, 'default', 'dedicated', now())`,
    [at(minute), slotExecutionId(jobId, at(minute)), jobId],
  );
/** A slot that came in the freeze although it was due before. */
const skipped = async (jobId: string, minute: number, freezeId: string) => {
  await ran(jobId, minute);
  await pool.query(`UPDATE job_executions SET status = 'skipped', reason = 'frozen', freeze_id = $2 WHERE job_id = $1`, [jobId, freezeId]);
};
const text = (moment: Date) => moment.toISOString().replace('.000Z', 'Z');
const minuteOf = (moment: Date) => (moment.getTime() - start) / MINUTE_MS;
async function rangesOf(jobId: string): Promise<(number | null)[][]> {
  const { rows } = await pool.query(
    `SELECT from_at, to_at, count, settled_at IS NOT NULL AS settled FROM slot_ranges WHERE job_id = $1 AND reason = 'frozen' ORDER BY from_at`,
    [jobId],
  );
  return rows.map(({ from_at, to_at, count, settled }) => [minuteOf(from_at), to_at && minuteOf(to_at), settled ? count : -1]);
}
/** Minutes of the slots that backfills of a job are to run. */
async function caughtUp(jobId: string): Promise<number[][]> {
  const { rows } = await pool.query(
    `SELECT array_agg(i.slot ORDER BY i.position) AS slots FROM operation_items i WHERE i.job_id = $1 GROUP BY i.operation_id ORDER BY i.operation_id`,
    [jobId],
  );
  return rows.map(({ slots }) => slots.map(minuteOf));
}
const settledAt = async (freezeId: string): Promise<Date | null> =>
  (await pool.query('SELECT settled_at FROM freezes WHERE id = $1', [freezeId])).rows[0].settled_at;

describe('a freeze that is over', () => {
  test('ends its stretches where it ended, counts their slots, and is settled', async () => {
    const frozen = await freeze(0, 10);
    const [open, dated, spared] = [await job({ catchUp: 'none' }), await job({ catchUp: 'none', everyS: 300 }), await job()];
    await swallow(open.id, frozen, 0);
    await swallow(dated.id, frozen, 0, 10.01);
    const done = await settlement.settle();
    assert.deepEqual([done.jobs, done.catchUps, done.freezes, done.more], [2, 0, [frozen], false]);
    assert.deepEqual(await rangesOf(open.id), [[0, 10, 10]], 'half-open: the slot at its end is not its own');
    assert.deepEqual(await rangesOf(dated.id), [[0, 10, 2]]);
    assert.deepEqual(await rangesOf(spared.id), []);
    assert.ok(await settledAt(frozen));
    const { rows } = await pool.query('SELECT action, actor, after FROM audit_events WHERE subject_id = $1', [frozen]);
    assert.deepEqual(rows, [{ action: 'freeze.settled', actor: 'almanac', after: { jobs: 2, slots: 12, catchUps: 0 } }]);
    assert.deepEqual((await settlement.settle()).freezes, []);
  });

  test('leaves out what ran because the job was outside its scope meanwhile, and what has another reason', async () => {
    const frozen = await freeze(0, 10);
    const { id } = await job({ catchUp: 'all' });
    await swallow(id, frozen, 0);
    await ran(id, 3);
    await ran(id, 4);
    await pool.query(
      `INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at, by) VALUES ('default', $1, 'paused', $2, $3, 'tests')`,
      [id, at(7), at(8)],
    );
    await settlement.settle();
    assert.deepEqual(await rangesOf(id), [
      [0, 3, 3],
      [5, 7, 2],
      [8, 10, 2],
    ]);
    assert.deepEqual(await caughtUp(id), [[0, 1, 2, 5, 6, 8, 9]]);
  });

  test('keeps the slots that it swallowed while its end was being written: nobody else tells them', async () => {
    const frozen = await freeze(0, 10);
    const [grown, single] = [await job({ catchUp: 'all' }), await job({ catchUp: 'last' })];
    // the slot of minute 12 met a freeze whose end, minute 10, was not committed yet
    await swallow(grown.id, frozen, 8, 12 + 1 / 60);
    await swallow(single.id, frozen, 12, 12 + 1 / 60);
    assert.deepEqual((await settlement.settle()).freezes, [frozen]);
    assert.deepEqual(await rangesOf(grown.id), [[8, 12 + 1 / 60, 5]]);
    assert.deepEqual(await rangesOf(single.id), [[12, 12 + 1 / 60, 1]]);
    assert.deepEqual(await caughtUp(grown.id), [[8, 9, 10, 11, 12]]);
    assert.deepEqual(await caughtUp(single.id), [[12]]);
  });

  test('keeps the slots of a clock that its job has left meanwhile, and that is gone', async () => {
    const frozen = await freeze(0, 10);
    const moved = await job({ catchUp: 'all' });
    await swallow(moved.id, frozen, 0, 10);
    await pool.query('UPDATE clock_members SET valid_to = $2 WHERE job_id = $1', [moved.id, at(20)]);
    await pool.query('UPDATE clocks SET deleted_at = $2, observed_generation = generation WHERE id = $1', [moved.id, at(20)]);
    assert.equal(await clockPurge(pool, moved.id), true);
    assert.deepEqual((await settlement.settle()).freezes, [frozen]);
    assert.deepEqual(await rangesOf(moved.id), [[0, 10, 10]]);
    assert.deepEqual(await caughtUp(moved.id), [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]);
  });

  test('does not wait for jobs that are not there any more', async () => {
    const frozen = await freeze(0, 10);
    const [swallowed, single] = [await job(), await job()];
    await swallow(swallowed.id, frozen, 0, 10);
    await skipped(single.id, -1, frozen);
    for (const { id } of [swallowed, single]) {
      await pool.query('DELETE FROM clock_members WHERE job_id = $1', [id]);
      await pool.query('DELETE FROM clocks WHERE id = $1', [id]);
      await pool.query('DELETE FROM jobs WHERE id = $1', [id]);
    }
    assert.deepEqual((await settlement.settle()).freezes, [frozen]);
  });

  test('waits for the last slots of a clock that its job has left, too', async () => {
    const frozen = await freeze(0, 10);
    const moved = await job({ catchUp: 'none' });
    await swallow(moved.id, frozen, 0, 3);
    await pool.query('UPDATE clock_members SET valid_to = $2 WHERE job_id = $1', [moved.id, at(9)]);
    await pool.query('UPDATE clocks SET deleted_at = $2, checked_until = $3, next_check_at = NULL WHERE id = $1', [moved.id, at(9), at(5)]);
    assert.deepEqual((await settlement.settle()).freezes, []);
    await pool.query('UPDATE clocks SET checked_until = $2 WHERE id = $1', [moved.id, at(9)]);
    assert.deepEqual((await settlement.settle()).freezes, [frozen]);
  });

  test('catches up once with a job of which slots were late: not before the last of them is known', async () => {
    const frozen = await freeze(0, 10);
    const late = await job({ catchUp: 'last' });
    await swallow(late.id, frozen, 0, 3);
    await pool.query('UPDATE clocks SET checked_until = $2, next_check_at = NULL WHERE id = $1', [late.id, at(5)]);
    assert.deepEqual((await settlement.settle()).jobs, 0);
    await pool.query('UPDATE slot_ranges SET to_at = $2 WHERE job_id = $1', [late.id, at(10)]);
    await pool.query('UPDATE clocks SET checked_until = $2 WHERE id = $1', [late.id, at(10)]);
    assert.deepEqual((await settlement.settle()).freezes, [frozen]);
    assert.deepEqual(await caughtUp(late.id), [[9]]);
  });

  test('waits until every slot of its time is known to have been admitted', async () => {
    const frozen = await freeze(0, 10);
    const [swallowed, unseen] = [await job({ catchUp: 'none' }), await job({ catchUp: 'none' })];
    await swallow(swallowed.id, frozen, 0, 10);
    await pool.query('UPDATE clocks SET checked_until = $2, next_check_at = NULL WHERE id = ANY ($1)', [[swallowed.id, unseen.id], at(5)]);
    assert.deepEqual((await settlement.settle()).jobs, 0);
    assert.deepEqual(await rangesOf(swallowed.id), [[0, 10, -1]]);
    await pool.query('UPDATE clocks SET checked_until = $2 WHERE id = $1', [swallowed.id, at(10)]);
    assert.deepEqual([(await settlement.settle()).jobs, await settledAt(frozen)], [1, null], 'the other clock may still bring a slot');
    // due to be looked at: it may have any
    await pool.query(`UPDATE clocks SET next_check_at = now() - interval '1 second' WHERE id = $1`, [unseen.id]);
    assert.deepEqual((await settlement.settle()).freezes, []);
    // its next slot is known, and lies ahead
    await pool.query(`UPDATE clocks SET next_check_at = now() + interval '1 hour' WHERE id = $1`, [unseen.id]);
    assert.deepEqual((await settlement.settle()).freezes, [frozen]);
  });
});

describe('catch-up after a freeze', () => {
  test('is what the policy of the job says, within its window before the end', async () => {
    const frozen = await freeze(0, 30);
    const jobs = {
      none: await job({ catchUp: 'none' }),
      last: await job({ catchUp: 'last' }),
      all: await job({ catchUp: 'all', windowMs: 5 * MINUTE_MS }),
      late: await job({ catchUp: 'last', windowMs: 5 * MINUTE_MS, everyS: 600 }),
    };
    for (const { id } of Object.values(jobs)) await swallow(id, frozen, 0);
    await settlement.settle();
    assert.deepEqual(await caughtUp(jobs.none.id), []);
    assert.deepEqual(await caughtUp(jobs.last.id), [[29]]);
    assert.deepEqual(await caughtUp(jobs.all.id), [[25, 26, 27, 28, 29]]);
    assert.deepEqual(await caughtUp(jobs.late.id).then((ids) => ids.length), 0, 'its last slot lies before the window');
    const { rows } = await pool.query('SELECT id, job_id, requested_by, reason, total, asked FROM operations WHERE origin = $1', [frozen]);
    const [{ id, ...operation }] = rows;
    assert.deepEqual(operation, {
      job_id: null,
      requested_by: 'almanac',
      reason: `freeze ${frozen} is over: test`,
      total: 6,
      asked: { only: 'missed', order: 'oldest', jobs: 2, from: text(at(25)), to: text(at(29)) },
    });
    assert.equal(rows.length, 1);
    for (const job of [jobs.last, jobs.all]) {
      const { rows: ranges } = await pool.query('SELECT catch_up_operation FROM slot_ranges WHERE job_id = $1', [job.id]);
      assert.equal(ranges[0].catch_up_operation, id);
    }
  });

  test('takes what was written as a row of its own too, and nothing of a job that is paused or switched off', async () => {
    const frozen = await freeze(0, 10);
    const [single, paused, disabled] = [await job({ catchUp: 'all' }), await job({ catchUp: 'all' }), await job({ catchUp: 'all' })];
    for (const { id } of [single, paused, disabled]) await swallow(id, frozen, 0);
    await skipped(single.id, 2, frozen);
    await pool.query('UPDATE job_runtime SET paused_at = now() WHERE job_id = $1', [paused.id]);
    await pool.query('UPDATE job_runtime SET enabled = false WHERE job_id = $1', [disabled.id]);
    await settlement.settle();
    assert.deepEqual(await caughtUp(single.id), [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]);
    assert.deepEqual([await caughtUp(paused.id), await caughtUp(disabled.id)], [[], []]);
    assert.deepEqual(await rangesOf(paused.id), [[0, 10, 10]]);
  });

  test('comes for a job of which only single slots were lost too, once, and when no freeze holds it any more', async () => {
    const [first, second] = [await job({ catchUp: 'last' }), await job({ catchUp: 'all' })];
    const frozen = await freeze(0, 10, { scope: 'jobs', targets: [first.id, second.id] });
    const other = await freeze(5, null, { scope: 'jobs', targets: [second.id] });
    await skipped(first.id, -1, frozen);
    await skipped(second.id, -1, frozen);
    for (let look = 0; look < 2; look += 1) assert.deepEqual((await settlement.settle()).freezes, []);
    assert.deepEqual([await caughtUp(first.id), await caughtUp(second.id)], [[[-1]], []]);
    await pool.query('UPDATE freezes SET ended_at = $2 WHERE id = $1', [other, at(20)]);
    assert.deepEqual((await settlement.settle()).freezes, [frozen, other]);
    assert.deepEqual([await caughtUp(first.id), await caughtUp(second.id)], [[[-1]], [[-1]]]);
  });

  test('comes once, after the last of the freezes that overlap', async () => {
    const { id } = await job({ catchUp: 'last' });
    const first = await freeze(0, 10, { scope: 'jobs', targets: [id] });
    const second = await freeze(5, null, { scope: 'jobs', targets: [id] });
    await swallow(id, first, 0);
    await swallow(id, second, 10);
    assert.deepEqual([(await settlement.settle()).jobs, await caughtUp(id), await settledAt(first)], [0, [], null]);
    await pool.query('UPDATE freezes SET ended_at = $2 WHERE id = $1', [second, at(20)]);
    assert.deepEqual((await settlement.settle()).freezes, [first, second]);
    assert.deepEqual(await caughtUp(id), [[19]]);
    assert.deepEqual(await rangesOf(id), [
      [0, 10, 10],
      [10, 20, 10],
    ]);
  });

  test('of many jobs is one operation, that grows while it is open and has the first slot of each job before the second', async () => {
    const frozen = await freeze(0, 3);
    const jobs = await Promise.all(Array.from({ length: 300 }, () => job({ catchUp: 'all' })));
    const early = jobs.toSorted((a, b) => (a.id < b.id ? -1 : 1)).slice(0, 250);
    for (const { id } of jobs) await swallow(id, frozen, 0);
    const done = await settlement.settle();
    assert.deepEqual([done.jobs, done.catchUps, done.freezes], [300, 300, [frozen]]);
    const operations = async () =>
      (await pool.query('SELECT id, total, asked FROM operations WHERE origin = $1 ORDER BY created_at', [frozen])).rows;
    const [one, ...others] = await operations();
    assert.deepEqual([one.total, one.asked.jobs, others.length], [900, 300, 0]);
    const { rows } = await pool.query('SELECT position, job_id, slot FROM operation_items WHERE operation_id = $1 ORDER BY position', [
      one.id,
    ]);
    assert.deepEqual(
      rows.map(({ position }) => position),
      Array.from({ length: 900 }, (_, nth) => nth + 1),
    );
    assert.deepEqual(
      rows.slice(0, 250).map(({ job_id, slot }) => [job_id, minuteOf(slot)]),
      early.map(({ id }) => [id, 0]),
    );
    const { rows: events } = await pool.query(
      `SELECT count(DISTINCT subject_id)::int AS jobs, min(after ->> 'backfill') AS backfill FROM audit_events WHERE action = 'job.backfill_started' AND after ->> 'backfill' = $1`,
      [one.id],
    );
    assert.deepEqual(events, [{ jobs: 300, backfill: one.id }]);
    // one that somebody works on just now is not waited for
    await pool.query('UPDATE freezes SET settled_at = NULL WHERE id = $1', [frozen]);
    const late = await Promise.all([job(), job()]);
    const worker = await pool.connect();
    try {
      await worker.query('BEGIN');
      await worker.query('SELECT 1 FROM operations WHERE id = $1 FOR UPDATE', [one.id]);
      for (const { id } of late) await swallow(id, frozen, 0);
      assert.equal((await settlement.settle()).catchUps, 2);
    } finally {
      await worker.query('ROLLBACK');
      worker.release();
    }
    assert.deepEqual(
      (await operations()).map(({ total }) => total),
      [900, 2],
    );
  });

  test('is an operation of each team when a freeze held them all', async () => {
    const frozen = await freeze(0, 10, { scope: 'global' });
    const [own, other] = [await job({ catchUp: 'last' }), await job({ catchUp: 'last' })];
    for (const { id } of [own, other]) await swallow(id, frozen, 0);
    for (const table of [
      'jobs WHERE id',
      'clocks WHERE id',
      'job_runtime WHERE job_id',
      'clock_members WHERE job_id',
      'slot_ranges WHERE job_id',
    ])
      await pool.query(`UPDATE ${table.replace(' ', " SET team = 'another' ")} = $1`, [other.id]);
    assert.deepEqual((await settlement.settle()).freezes, [frozen]);
    const { rows } = await pool.query(
      `SELECT o.team, i.team AS of_items, array_agg(i.job_id) AS jobs FROM operations o JOIN operation_items i ON i.operation_id = o.id
        WHERE o.origin = $1 GROUP BY 1, 2 ORDER BY 1`,
      [frozen],
    );
    assert.deepEqual(rows, [
      { team: 'another', of_items: 'another', jobs: [other.id] },
      { team: 'default', of_items: 'default', jobs: [own.id] },
    ]);
  });

  test('is started once, however many controllers settle at once and whichever of them is killed half-way', async () => {
    const frozen = await freeze(0, 10);
    const jobs = await Promise.all(Array.from({ length: 300 }, () => job({ catchUp: 'last' })));
    for (const { id } of jobs) await swallow(id, frozen, 0);
    const backfills = createBackfills({ pool });
    let starts = 0;
    const dying = createFreezeSettlement({
      pool,
      backfills: {
        startMany: async (tx, start) => {
          starts += 1;
          const started = await backfills.startMany(tx, start);
          if (starts === 2) throw new Error('killed');
          return started;
        },
      },
    });
    await assert.rejects(dying.settle(), /killed/);
    const { rows: half } = await pool.query('SELECT count(*)::int AS count FROM slot_ranges WHERE freeze_id = $1 AND settled_at IS NULL', [
      frozen,
    ]);
    assert.equal(half[0].count, 50, 'whole jobs are left behind');
    await Promise.all([settlement.settle(), createFreezeSettlement({ pool, backfills }).settle()]);
    for (let look = 0; look < 10 && !(await settledAt(frozen)); look += 1) await settlement.settle();
    for (const { id } of jobs) assert.deepEqual([await caughtUp(id), await rangesOf(id)], [[[9]], [[0, 10, 10]]]);
    assert.ok(await settledAt(frozen));
  });
});
