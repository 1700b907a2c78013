/** Slots that nobody brought while a freeze began or ended: Temporal, or all workers, were down. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { clocksToCheckOnce } from '../../../src/jobs/clocks/late-slot-store.ts';
import { createLateSlots } from '../../../src/jobs/clocks/late-slots.ts';
import { createFreezeSettlement } from '../../../src/jobs/freezes/freeze-settlement.ts';
import { newFreezeId } from '../../../src/jobs/ids.ts';
import { createBackfills } from '../../../src/jobs/operations/backfills.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { seedJob } from '../../support/seed.ts';

/** Between two slots of the jobs of this file. */
const UNIT_MS = 600_000;
let pool: Pool;
let close: () => Promise<void>;
before(async () => {
  ({ pool, close } = await openTestPool());
});
after(() => close());

let newest = 0;
/** The newest slot that is late; no test runs while the next one is due. */
beforeEach(async () => {
  await pool.query('DELETE FROM freezes');
  const lateFor = () => (Date.now() - 16_000) % UNIT_MS;
  if (lateFor() > UNIT_MS - 22_000) await sleep(UNIT_MS - lateFor());
  newest = Math.floor((Date.now() - 16_000) / UNIT_MS) * UNIT_MS;
});
const ago = (slots: number) => new Date(newest - slots * UNIT_MS);
const unitsAgo = (moment: Date) => (newest - moment.getTime()) / UNIT_MS;

async function freeze(from: number, to: number | null): Promise<string> {
  const id = newFreezeId();
  await pool.query(
    `INSERT INTO freezes (id, team, scope, reason, from_at, to_at, created_by) VALUES ($1, 'default', 'team', 'test', $2, $3, 'tests')`,
    [id, ago(from), to === null ? null : ago(to)],
  );
  return id;
}
/** A job whose clock was last checked so many slots ago. */
async function unseen(slots: number, catchUp: 'none' | 'last' | 'all'): Promise<string> {
  const from = new Date(ago(slots).getTime() - 1_000);
  const { id } = await seedJob(pool, { everyS: UNIT_MS / 1_000, windowMs: 86_400_000, validFrom: from, catchUp });
  await pool.query('UPDATE clocks SET checked_until = $2, next_check_at = now() WHERE id = $1', [id, from]);
  return id;
}
const look = async (...ids: string[]) => createLateSlots({ pool, bufferLimit: 1_000 }).check(await clocksToCheckOnce(pool, ids));
const settle = () => createFreezeSettlement({ pool, backfills: createBackfills({ pool }) }).settle();

async function rangesOf(jobId: string): Promise<unknown[]> {
  const { rows } = await pool.query(`SELECT reason, freeze_id, from_at, count FROM slot_ranges WHERE job_id = $1 ORDER BY from_at`, [
    jobId,
  ]);
  return rows.map((row) => [row.reason, row.freeze_id, unitsAgo(row.from_at), row.count]);
}
async function outcomesOf(jobId: string): Promise<Record<string, string>> {
  const { rows } = await pool.query(
    `SELECT slot, status, reason FROM job_executions WHERE job_id = $1 AND trigger = 'schedule' ORDER BY slot`,
    [jobId],
  );
  return Object.fromEntries(rows.map((row) => [unitsAgo(row.slot), row.reason ?? row.status]));
}
async function caughtUp(jobId: string): Promise<number[]> {
  const { rows } = await pool.query('SELECT slot FROM operation_items WHERE job_id = $1 ORDER BY position', [jobId]);
  return rows.map(({ slot }) => unitsAgo(slot));
}

test('a freeze that began and ended in an outage has swallowed exactly its own slots, and its catch-up comes when they are known', async () => {
  const frozen = await freeze(20, 10);
  const [none, last, all] = [await unseen(25, 'none'), await unseen(25, 'last'), await unseen(25, 'all')];
  assert.deepEqual((await settle()).freezes, [], 'nobody has looked yet');
  for (let more = true; more; ) more = (await look(none, last, all)).more;
  for (const id of [none, last, all]) assert.deepEqual(await rangesOf(id), [['frozen', frozen, 20, 10]]);
  const outside = [25, 24, 23, 22, 21, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
  assert.deepEqual(
    Object.keys(await outcomesOf(none))
      .map(Number)
      .sort((a, b) => b - a),
    outside,
  );
  assert.deepEqual((await settle()).freezes, [frozen]);
  assert.deepEqual(await caughtUp(none), []);
  assert.deepEqual(await caughtUp(last), [11]);
  assert.deepEqual(await caughtUp(all), [20, 19, 18, 17, 16, 15, 14, 13, 12, 11], 'in slot order');
});

test('slots from before a freeze that come while it is in force are lost to it one by one, and caught up after it', async () => {
  const frozen = await freeze(3, null);
  const id = await unseen(5, 'all');
  for (let more = true; more; ) more = (await look(id)).more;
  assert.deepEqual(await rangesOf(id), [['frozen', frozen, 3, 4]]);
  assert.deepEqual(await outcomesOf(id), { 5: 'frozen', 4: 'frozen' });
  await pool.query('UPDATE freezes SET ended_at = $2 WHERE id = $1', [frozen, new Date(newest + 1_000)]);
  assert.deepEqual((await settle()).freezes, [frozen]);
  assert.deepEqual(await caughtUp(id), [5, 4, 3, 2, 1, 0]);
});

test('a job that is edited out of the scope meanwhile loses what came until then', async () => {
  const id = await unseen(6, 'none');
  const frozen = newFreezeId();
  await pool.query(
    `INSERT INTO freezes (id, team, scope, targets, reason, from_at, to_at, created_by) VALUES ($1, 'default', 'tag', '{env:prod}', 'test', $2, $3, 'tests')`,
    [frozen, ago(6), ago(-30)],
  );
  await pool.query(`UPDATE jobs SET tags = '{"env": "prod"}' WHERE id = $1`, [id]);
  await pool.query('UPDATE clock_members SET valid_to = $2 WHERE job_id = $1', [id, ago(2)]);
  await look(id);
  await pool.query(`UPDATE jobs SET tags = '{"env": "test"}' WHERE id = $1`, [id]);
  await pool.query(`UPDATE clock_members SET valid_to = 'infinity' WHERE job_id = $1`, [id]);
  await pool.query('UPDATE clocks SET checked_until = $2, next_check_at = now() WHERE id = $1', [id, new Date(ago(2).getTime() - 1_000)]);
  await look(id);
  await pool.query('UPDATE freezes SET ended_at = clock_timestamp() WHERE id = $1', [frozen]);
  assert.deepEqual(await outcomesOf(id), { 2: 'missed', 1: 'missed', 0: 'missed' });
  assert.deepEqual(await rangesOf(id), [['frozen', frozen, 6, 4]]);
});
