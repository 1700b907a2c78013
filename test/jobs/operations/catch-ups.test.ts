/** Catch-ups of many jobs: few operations, each slot once, and nobody waits for the job of another. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { newFreezeId } from '../../../src/jobs/ids.ts';
import { inTransaction } from '../../../src/postgres.ts';
import { seedJob } from '../../support/seed.ts';
import { ASYNC, actionsOf, CALLER, rows } from '../jobs-under-test.ts';
import { madeAt, type OperationsUnderTest, operationsUnderTest } from './operations-under-test.ts';

let it: OperationsUnderTest;
before(async () => {
  it = await operationsUnderTest();
});
after(() => it.close());

const HOUR_MS = 3_600_000;
const LAST_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
const hour = (ago: number) => new Date(LAST_MS - ago * HOUR_MS);
const seeded = async (count: number, more: Parameters<typeof seedJob>[1] = {}): Promise<string[]> =>
  (await Promise.all(Array.from({ length: count }, () => seedJob(it.pool, more)))).map(({ id }) => id).sort();

/** Starts the catch-up of these jobs, each with these slots, as the end of a freeze does. */
const start = (origin: string, ids: readonly string[], slots: readonly Date[]) =>
  inTransaction(it.pool, (tx) =>
    it.backfills.startMany(tx, {
      team: 'default',
      origin,
      jobs: ids.map((jobId) => ({ jobId, slots })),
      order: 'oldest',
      requestedBy: 'almanac',
      reason: 'tests',
    }),
  );
/** The one operation of all. */
function only(started: ReadonlyMap<string, string>): string {
  const [id, ...others] = new Set(started.values());
  assert.deepEqual(others, []);
  return id!;
}
type Made = { partition_at: Date; id: string; job_id: string; trigger: string; slot: Date };
const executionsOf = (operation: string, more = '') =>
  rows<Made>(
    it.pool,
    `SELECT partition_at, id, job_id, trigger, slot FROM job_executions WHERE operation_id = $1 ${more} ORDER BY job_id, slot`,
    operation,
  );
const end = ({ partition_at: at, id }: Made) =>
  it.pool.query(`SELECT close_execution('default', $1, $2, 'terminated', NULL, NULL, 'tests')`, [at, id]);
const viewOf = (operation: string) => it.operations.get(CALLER, 'backfills', operation);

describe('the catch-up of many jobs', () => {
  test('runs the slot of each once, in few statements, whoever dies between or within them', async () => {
    const ids = await seeded(300);
    const operation = only(await start('frz_many', ids, [hour(1)]));
    // asked again, it has all of them
    assert.equal((await start('frz_many', ids, [hour(1)])).size, 0);
    const { apply } = it.appliers.backfill;
    it.appliers.backfill.apply = async (tx, row, items) => {
      await apply(tx, row, items);
      throw Object.assign(new Error('terminating connection due to administrator command'), { code: '57P01' });
    };
    await assert.rejects(it.workOff(operation, 1));
    it.appliers.backfill.apply = apply;
    assert.equal((await executionsOf(operation)).length, 0, 'a batch whose transaction is lost leaves nothing behind');
    await it.workOff(operation, 1);
    const half = await executionsOf(operation);
    assert.equal(half.length, 250);
    assert.equal((await start('frz_many', ids, [hour(1)])).size, 0, 'not what has run, and not what will');
    const worked = await it.workOff(operation);
    assert.deepEqual([worked.done, worked.passes], [true, 2]);
    assert.deepEqual(
      (await executionsOf(operation)).map((made) => [made.job_id, made.trigger, made.slot]),
      ids.map((id) => [id, 'backfill', hour(1)]),
    );
    const { state, jobId, origin, progress, selection } = await viewOf(operation);
    assert.deepEqual([state, jobId, origin, progress.results], ['completed', null, 'frz_many', { succeeded: 300 }]);
    const at = hour(1).toISOString().replace('.000Z', 'Z');
    assert.deepEqual(selection, { only: 'missed', order: 'oldest', jobs: 300, from: at, to: at });
    assert.deepEqual((await actionsOf(it.pool, ids[7]!)).toSorted(), ['job.backfill_started', 'job.triggered']);
    const { items } = await it.operations.list(CALLER, 'backfills', { job: ids[299]!, limit: 5 });
    assert.deepEqual(
      items.map(({ id }) => id),
      [operation],
    );
  });

  test('takes the slots of a job one after another, and what has to wait keeps nobody else waiting', async (t) => {
    const [busy, frozen, locked, gone, ...others] = await seeded(8);
    await seedJob(it.pool);
    const { batch } = it.appliers.backfill;
    it.appliers.backfill.batch = 4;
    t.after(() => {
      it.appliers.backfill.batch = batch;
    });
    const freeze = newFreezeId();
    await rows(
      it.pool,
      `INSERT INTO freezes (id, team, scope, targets, reason, from_at, created_by) VALUES ($1, 'default', 'jobs', ARRAY[$2], 'another', now(), 'tests')`,
      freeze,
      frozen!,
    );
    await rows(it.pool, 'UPDATE job_runtime SET active = 1 WHERE job_id = $1', busy!);
    const operation = only(await start('frz_turns', [busy!, frozen!, locked!, gone!, ...others], [hour(2), hour(1)]));
    await it.pool.query('DELETE FROM clock_members WHERE job_id = $1', [gone]);
    await it.pool.query('DELETE FROM clocks WHERE id = $1', [gone]);
    await it.pool.query('DELETE FROM jobs WHERE id = $1', [gone]);
    const other = await it.pool.connect();
    try {
      await other.query('BEGIN');
      await other.query('SELECT 1 FROM job_runtime WHERE job_id = $1 FOR UPDATE', [locked]);
      const worked = await it.workOff(operation);
      assert.equal(worked.done, false);
      const made = await executionsOf(operation);
      assert.deepEqual(
        made.map(({ job_id, slot }) => [job_id, slot]),
        others.map((id) => [id, hour(2)]),
      );
      assert.deepEqual((await viewOf(operation)).progress.results, { succeeded: 4, refused: 2 });
      for (const one of made) await end(one);
    } finally {
      await other.query('ROLLBACK');
      other.release();
    }
    await rows(it.pool, 'UPDATE job_runtime SET active = 0 WHERE job_id = $1', busy!);
    for (let turn = 0; turn < 3; turn += 1) {
      await it.workOff(operation);
      for (const one of await executionsOf(operation, 'AND finished_at IS NULL')) await end(one);
    }
    const held = await viewOf(operation);
    assert.deepEqual([held.state, held.waitingFor, held.progress.pending], ['running', 'frozen', 2]);
    await rows(it.pool, 'UPDATE freezes SET ended_at = clock_timestamp() WHERE id = $1', freeze);
    await it.workOff(operation);
    for (const one of await executionsOf(operation, 'AND finished_at IS NULL')) await end(one);
    assert.equal((await it.workOff(operation)).done, true);
    for (const id of [busy!, frozen!, locked!, ...others])
      assert.deepEqual(
        (await executionsOf(operation)).filter((one) => one.job_id === id).map(({ slot }) => slot),
        [hour(2), hour(1)],
      );
  });

  test('can be aborted, which leaves its slots to others; a full one is followed by another', async () => {
    const ids = await seeded(3);
    const first = only(await start('frz_full', ids, [hour(1)]));
    await it.operations.abort(CALLER, 'backfills', first);
    assert.equal((await it.workOff(first)).done, true);
    const second = only(await start('frz_full', ids.slice(0, 1), [hour(1)]));
    assert.notEqual(second, first);
    await rows(it.pool, 'UPDATE operations SET total = 99999 WHERE id = $1', second);
    const more = await start('frz_full', ids.slice(1), [hour(1)]);
    assert.equal(more.get(ids[1]!), second);
    assert.notEqual(more.get(ids[2]!), second);
    const of = (id: string) => rows(it.pool, 'SELECT total, origin FROM operations WHERE id = $1', id);
    assert.deepEqual(await of(more.get(ids[2]!)!), [{ total: 1, origin: 'frz_full' }]);
    assert.deepEqual(await of(second), [{ total: 100_000, origin: 'frz_full' }]);
  });
});

test('a bulk resume with a catch-up makes one backfill, that each of its items names', async () => {
  const minute = (new Date().getUTCMinutes() + 30) % 60;
  const ids: string[] = [];
  for (const nth of [1, 2, 3, 4]) {
    const id = await it.job(`resumed ${nth}`, { schedule: { cron: `${minute} * * * *`, timezone: 'UTC' } });
    await madeAt(it, id, '2026-01-01T00:00:00Z');
    await it.schedules.pause(CALLER, id, { reason: 'migration' }, ASYNC);
    if (nth < 4) await rows(it.pool, `UPDATE slot_ranges SET from_at = now() - interval '3 hours' WHERE job_id = $1`, id);
    ids.push(id);
  }
  const { id } = await it.operations.create(CALLER, {
    action: 'resume',
    selection: { of: 'jobs', ids },
    params: { policy: 'all', order: 'newest', ratePerMinute: null },
    reason: null,
    ratePerMinute: null,
  });
  const whole = it.appliers.resume.batch;
  it.appliers.resume.batch = 2;
  assert.equal((await it.workOff(id)).done, true);
  it.appliers.resume.batch = whole;
  const { items } = await it.operations.items(CALLER, 'bulk', id, { limit: 10 });
  const backfill = items[0]!.made!;
  assert.deepEqual(
    items.map(({ result, made, message }) => [result, made, message]),
    [...[1, 2, 3].map(() => ['succeeded', backfill, '3 slots were missed']), ['succeeded', null, '0 slots were missed']],
  );
  const { origin, progress, reason } = await viewOf(backfill);
  assert.deepEqual([origin, progress.total, reason], [id, 9, `missed while paused; resumed by ${id}`]);
  const { items: slots } = await it.operations.items(CALLER, 'backfills', backfill, { limit: 10 });
  const ofFirst = slots.filter(({ jobId }) => jobId === ids[0]).map(({ slot }) => slot!);
  assert.deepEqual(ofFirst, ofFirst.toSorted().reverse(), 'newest first');
  await it.workOff(backfill);
  assert.equal((await executionsOf(backfill)).length, 3, 'one of each job at a time');
});
