/** One job's slots in one timeline: what became of each, what will, and that pages neither lose nor double one. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createTimeline, type Timeline, type TimelineQuery } from '../../../src/jobs/ledger/timeline.ts';
import { compileCron } from '../../../src/jobs/time/cron.ts';
import { marksOf } from '../../../src/jobs/time/oracle.ts';
import { normaliseTiming } from '../../../src/jobs/time/timing.ts';
import type { Pool } from '../../../src/postgres.ts';
import { openTestPool } from '../../support/pool.ts';
import { seedJob } from '../../support/seed.ts';
import { CALLER, refused } from '../jobs-under-test.ts';
import { minutesAgo, slotRow } from './ledger-rows.ts';

let pool: Pool;
let close: () => Promise<void>;
let timeline: Timeline;
before(async () => {
  ({ pool, close } = await openTestPool());
  timeline = createTimeline({ pool });
});
after(() => close());

const look = (job: string, query: Partial<TimelineQuery> & { from: Date; to: Date }) => timeline(CALLER, job, { limit: 200, ...query });
const outcomes = async (job: string, from: Date, to: Date) => (await look(job, { from, to })).items.map(({ outcome }) => outcome);
/** All pages, each of `limit`. */
async function everything(job: string, query: Partial<TimelineQuery> & { from: Date; to: Date }) {
  const items = [];
  let pages = 0;
  for (let after: Date | undefined; ; pages += 1) {
    const page = await look(job, { ...query, after });
    items.push(...page.items);
    if (!page.next) return { items, pages: pages + 1 };
    after = page.next;
  }
}

describe('what is over', () => {
  test('has the execution, the reason, or the stretch of each slot', async () => {
    const job = await seedJob(pool, { validFrom: minutesAgo(12), offsetS: 7 });
    const ran = await slotRow(pool, job.id, minutesAgo(10));
    await slotRow(pool, job.id, minutesAgo(9), { status: 'failed' });
    await slotRow(pool, job.id, minutesAgo(8), { status: 'skipped', reason: 'skipped_overlap' });
    await slotRow(pool, job.id, minutesAgo(7), { status: 'skipped', reason: 'missed' });
    await pool.query(
      `INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at, by, note, freeze_id, calendar)
       VALUES ('default', $1, 'frozen', $2, $3, 'ops', 'release', 'frz_9', NULL), ('default', $1, 'excluded', $3, $4, 'almanac', NULL, NULL, 'holidays')`,
      [job.id, minutesAgo(6), minutesAgo(4), minutesAgo(2)],
    );
    const { items, next } = await look(job.id, { from: minutesAgo(10), to: minutesAgo(2) });
    assert.equal(next, null);
    assert.deepEqual(
      items.map(({ outcome }) => outcome),
      ['succeeded', 'failed', 'skipped_overlap', 'missed', 'frozen', 'frozen', 'excluded', 'excluded'],
    );
    assert.deepEqual([items[0]?.executionId, items[0]?.latenessMs, items[0]?.future], [ran, 100, false]);
    assert.deepEqual([items[4]?.range?.freezeId, items[4]?.range?.note, items[6]?.range?.calendar], ['frz_9', 'release', 'holidays']);
    assert.equal(Date.parse(items[4]!.dueAt) - Date.parse(items[4]!.slot), 7_000, 'due at the slot and the offset of the job');
  });

  test('and has neither row nor stretch is pending for a minute, and then said to be lost', async () => {
    const job = await seedJob(pool, { everyS: 1, validFrom: minutesAgo(5) });
    const now = Date.now();
    const { items } = await look(job.id, { from: new Date(now - 90_000), to: new Date(now - 2_000) });
    const lost = items.filter(({ outcome }) => outcome === 'unaccounted');
    assert.ok(lost.length >= 25 && lost.length <= 45, `${lost.length}`);
    assert.ok(items.slice(lost.length).every(({ outcome }) => outcome === 'pending'));
  });

  test('of a month that has left the database is archived', async () => {
    const job = await seedJob(pool, { everyS: 3_600, validFrom: new Date('2024-02-01T00:00:00Z') });
    await pool.query(
      `INSERT INTO archives (id, month, until, state, folder) VALUES ('arc_1', '2024-03-01T00:00:00Z', '2024-04-01T00:00:00Z', 'complete', 'f'), ('arc_2', '2024-02-01T00:00:00Z', '2024-03-01T00:00:00Z', 'held', 'f')`,
    );
    const { items } = await look(job.id, { from: new Date('2024-02-29T23:00:00Z'), to: new Date('2024-03-01T01:00:00Z') });
    assert.deepEqual(
      items.map(({ outcome }) => outcome),
      ['unaccounted', 'archived'],
    );
  });

  test('belongs to the timings that the job had then', async () => {
    const job = await seedJob(pool, { everyS: 60, validFrom: minutesAgo(20), validTo: minutesAgo(15) });
    await pool.query(`INSERT INTO timings (hash, timing) VALUES ('every-120', $1) ON CONFLICT DO NOTHING`, [
      JSON.stringify({ calendars: [], intervals: [{ everyS: 120, offsetS: 0 }], timezone: 'UTC' }),
    ]);
    await pool.query(
      `INSERT INTO clock_members (job_id, clock_id, team, generation, timing_hash, valid_from) VALUES ($1, $1, 'default', 2, 'every-120', $2)`,
      [job.id, minutesAgo(15)],
    );
    const { items } = await look(job.id, { from: minutesAgo(20), to: minutesAgo(5) });
    const early = items.filter(({ slot }) => Date.parse(slot) < minutesAgo(15).getTime());
    const late = items.filter(({ slot }) => Date.parse(slot) >= minutesAgo(15).getTime());
    assert.equal(early.length, 5);
    assert.equal(late.length, 5);
    assert.ok(late.every(({ slot }) => (Date.parse(slot) / 1000) % 120 === 0));
  });

  test('shows rows of slots that nobody expects any more, and later executions of a slot', async () => {
    const job = await seedJob(pool, { everyS: 3_600, validFrom: minutesAgo(30) });
    await slotRow(pool, job.id, minutesAgo(90), { status: 'skipped', reason: 'missed' });
    await pool.query(
      `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch, operation_id)
       VALUES (now(), $1 || '-backfill-x', 'default', $1, 'x', 1, 'backfill', $2, now(), 'running', 3, 3, 'default', 'dedicated', 'op_1')`,
      [job.id, minutesAgo(90)],
    );
    const { items } = await look(job.id, { from: minutesAgo(95), to: minutesAgo(85) });
    assert.deepEqual(
      items.map(({ outcome, later }) => [outcome, later.map(({ trigger, operationId }) => [trigger, operationId])]),
      [['missed', [['backfill', 'op_1']]]],
    );
  });
});

describe('what lies ahead', () => {
  const ahead = { from: new Date(Date.now() + 120_000), to: new Date(Date.now() + 300_000) };

  test('is expected, unless the job is paused or disabled, frozen or left out by a calendar then', async () => {
    const seed = async (columns = '') => {
      const job = await seedJob(pool);
      if (columns) await pool.query(`UPDATE job_runtime SET ${columns} WHERE job_id = $1`, [job.id]);
      return job.id;
    };
    await pool.query(
      `INSERT INTO calendar_spans (team, calendar, zone, from_at, to_at) VALUES ('default', 'days', 'UTC', now() - interval '1 hour', now() + interval '1 hour')`,
    );
    await pool.query(
      `INSERT INTO calendar_zones (team, calendar, zone, version, spans_from, spans_until)
       SELECT 'default', name, 'UTC', 1, now() - interval '1 day', now() + interval '400 days' FROM unnest(ARRAY['days', 'nothing']) AS name`,
    );
    const [plain, paused, disabled, excluded, outside, inside, frozen] = [
      await seed(),
      await seed('paused_at = now()'),
      await seed('enabled = false'),
      await seed(`exclude_calendars = ARRAY['days'], calendar_zone = 'UTC'`),
      await seed(`include_calendars = ARRAY['nothing'], calendar_zone = 'UTC'`),
      await seed(`include_calendars = ARRAY['days'], calendar_zone = 'UTC'`),
      await seed(),
    ];
    await pool.query(
      `INSERT INTO freezes (id, team, scope, targets, reason, from_at, to_at, created_by)
       VALUES ('frz_ahead', 'default', 'jobs', ARRAY[$1], 'planned', now() + interval '1 minute', now() + interval '1 hour', 't')`,
      [frozen],
    );
    const firsts: Record<string, string | undefined> = {};
    for (const [name, id] of Object.entries({ plain, paused, disabled, excluded, outside, inside, frozen }))
      firsts[name] = (await outcomes(id, ahead.from, ahead.to))[0];
    assert.deepEqual(firsts, {
      plain: 'expected',
      paused: 'paused',
      disabled: 'paused',
      excluded: 'excluded',
      outside: 'excluded',
      inside: 'expected',
      frozen: 'frozen',
    });
    const { items } = await look(frozen, ahead);
    assert.deepEqual([items[0]?.range?.freezeId, items[0]?.range?.note, items[0]?.future], ['frz_ahead', 'planned', true]);
  });
});

test('a pause whose end is written down already still has the slots up to then', async () => {
  const job = await seedJob(pool, { validFrom: minutesAgo(5) });
  const end = minutesAgo(-3);
  await pool.query(`INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at) VALUES ('default', $1, 'paused', $2, $3)`, [
    job.id,
    minutesAgo(4),
    end,
  ]);
  const { items } = await look(job.id, { from: minutesAgo(2), to: minutesAgo(-5) });
  for (const { slot, outcome } of items) assert.equal(outcome, Date.parse(slot) < end.getTime() ? 'paused' : 'expected', slot);
});

test('on days when clocks change slots are marked, and end as the job has chosen', async () => {
  const timing = normaliseTiming({ calendars: compileCron('30 2 * * *'), intervals: [], timezone: 'Europe/Berlin' });
  const [from, to] = [new Date('2027-03-27T00:00:00Z'), new Date('2027-03-30T00:00:00Z')];
  const marks = marksOf(timing, from, to);
  assert.deepEqual(
    marks.map(({ kind }) => kind),
    ['gap'],
  );
  await pool.query(`INSERT INTO timings (hash, timing) VALUES ('berlin', $1)`, [JSON.stringify(timing)]);
  await pool.query(`INSERT INTO timing_marks (timing_hash, slot, kind, fired) VALUES ('berlin', $1, 'gap', false)`, [marks[0]!.slot]);
  const [shifting, skipping] = [await seedJob(pool), await seedJob(pool)];
  await pool.query(`UPDATE clock_members SET timing_hash = 'berlin' WHERE job_id = ANY ($1)`, [[shifting.id, skipping.id]]);
  await pool.query(`UPDATE job_runtime SET dst_gap = 'skip' WHERE job_id = $1`, [skipping.id]);
  const words = async (job: string) =>
    (await look(job, { from, to })).items.map(({ slot, outcome, dst }) => `${slot.slice(0, 10)} ${outcome} ${dst}`);
  assert.deepEqual(await words(shifting.id), ['2027-03-27 expected null', '2027-03-28 expected gap', '2027-03-29 expected null']);
  assert.deepEqual(await words(skipping.id), ['2027-03-27 expected null', '2027-03-28 dst_gap gap', '2027-03-29 expected null']);
});

describe('pages', () => {
  test('of any size hold every slot once, in order, over past and future', async () => {
    const job = await seedJob(pool, { validFrom: minutesAgo(40) });
    const range = { from: minutesAgo(40), to: new Date(minutesAgo(0).getTime() + 20 * 60_000) };
    const whole = (await look(job.id, range)).items.map(({ slot }) => slot);
    assert.equal(whole.length, 60);
    for (const limit of [1, 7, 59, 60, 61]) {
      const { items } = await everything(job.id, { ...range, limit });
      assert.deepEqual(
        items.map(({ slot }) => slot),
        whole,
        `limit ${limit}`,
      );
    }
  });

  test('that are searched for an outcome end early, and go on where they ended', async () => {
    const job = await seedJob(pool, { everyS: 1, validFrom: minutesAgo(240) });
    const wanted = [minutesAgo(235), minutesAgo(120), minutesAgo(5)];
    for (const slot of wanted) await slotRow(pool, job.id, slot, { status: 'skipped', reason: 'missed' });
    const { items, pages } = await everything(job.id, { from: minutesAgo(240), to: minutesAgo(1), outcome: ['missed'], limit: 2 });
    assert.deepEqual(
      items.map(({ slot }) => Date.parse(slot)),
      wanted.map((slot) => slot.getTime()),
    );
    assert.ok(pages >= 3 && pages <= 5, `${pages} pages for 14,340 slots`);
  });

  test('cost as much as their slots, however long the range and however rare the slots', async () => {
    const often = await seedJob(pool, { everyS: 1, validFrom: new Date('2020-01-01') });
    const rarely = await seedJob(pool, { everyS: 300 * 86_400, validFrom: new Date('2020-01-01') });
    const range = { from: new Date('2026-01-01'), to: new Date('2027-02-01'), limit: 200 };
    const began = performance.now();
    assert.equal((await look(often.id, range)).items.length, 200);
    assert.equal((await look(rarely.id, range)).items.length, 1);
    const { items, next } = await look(often.id, { ...range, outcome: ['frozen'] });
    assert.deepEqual([items.length, next === null], [0, false]);
    assert.ok(performance.now() - began < 5_000);
  });
});

test('another team’s job and an unknown one are not found; a single run has one slot', async () => {
  const job = await seedJob(pool);
  const range = { from: minutesAgo(5), to: minutesAgo(1), limit: 10 };
  await refused(timeline({ ...CALLER, team: 'other' }, job.id, range), 'not_found', 'job_not_found');
  await refused(timeline(CALLER, 'nothing', range), 'not_found', 'job_not_found');
  const single = await seedJob(pool, {
    document: { schedule: { at: '2026-12-01T10:00:00Z' } },
    validTo: new Date(0),
    validFrom: new Date(0),
  });
  const due = new Date(Date.now() + 600_000);
  await pool.query(
    `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch)
     VALUES (now(), $1 || '-once-x', 'default', $1, 'x', 1, 'once', $2, $2, 'queued', 3, 3, 'default', 'dedicated')`,
    [single.id, due],
  );
  const { items } = await look(single.id, { from: minutesAgo(5), to: new Date(Date.now() + 3_600_000) });
  assert.deepEqual(
    items.map(({ outcome, executionId }) => [outcome, executionId]),
    [['expected', `${single.id}-once-x`]],
  );
});
