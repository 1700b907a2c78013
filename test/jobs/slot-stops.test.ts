/** Slots that are not to run, for executions of their own and for pooled ones: excluded, frozen, on days when clocks change; each expected slot ends in exactly one way. */
import assert from 'node:assert/strict';
import { after as afterAll, before, test } from 'node:test';
import { slotExecutionId } from '../../src/jobs/ids.ts';
import { beginPoolSlot } from '../../src/jobs/pools/pool-store.ts';
import { countersOf } from '../support/seed.ts';
import { seedPooledJobs } from './pools/pooled-jobs.ts';
import { after, ago, KINDS, openStopsRoom, type StopsRoom } from './stops-room.ts';

let room: StopsRoom;
before(async () => {
  room = await openStopsRoom();
});
afterAll(() => room.close());

const DAY = 86_400_000;
let names = 0;
const name = () => `calendar ${++names}`;

test('pooled: ranges of two priorities that are begun at once each swallow the slots of their own members', async () => {
  const seeds = Array.from({ length: 60 }, () => ({ everyS: 4_999 }));
  const { clock, jobs } = await seedPooledJobs(room.pool, seeds);
  const ids = jobs.map((job) => job.id);
  await room.pool.query('UPDATE job_runtime SET priority = 1 WHERE job_id = ANY ($1)', [ids.filter((_, n) => n % 2 === 0)]);
  const first = ago(60_000);
  await room.freeze(null, first, null, 'jobs', ids);
  for (let round = 0; round < 10; round += 1) {
    const nominal = after(first, round);
    const begin = (priority: number) =>
      beginPoolSlot(room.pool, {
        team: 'default',
        clock,
        nominal,
        successor: null,
        pool: `${clock}-${round}`,
        runId: 'run-1',
        chunk: '1@test',
        priority,
        from: ids[0]!,
        to: ids.at(-1)!,
        plannedAt: new Date().toISOString(),
        bufferLimit: 10,
      });
    // what was planned before a change of priority is looked at by both: that is over by then
    if (round === 0) await room.pool.query(`UPDATE jobs SET updated_at = now() - interval '1 minute' WHERE id = ANY ($1)`, [ids]);
    await Promise.all([begin(1), begin(3), begin(1), begin(3)]);
  }
  const { rows } = await room.pool.query('SELECT count, count(*)::int AS jobs FROM slot_ranges WHERE job_id = ANY ($1) GROUP BY count', [
    ids,
  ]);
  assert.deepEqual(rows, [{ count: 10, jobs: 60 }]);
});

for (const kind of KINDS) {
  test(`${kind}: slots in a freeze make one range row, which covers exactly them; those on its edges are decided by from <= slot < to`, async () => {
    const first = ago(8_000);
    const job = await room.job(kind, { overlap: 'allow_all' });
    const id = await room.freeze(job, after(first, 1), after(first, 4));
    for (let n = 0; n < 6; n += 1) await room.slot(job, after(first, n), { later: [after(first, n + 1)] });
    const fates = [];
    for (let n = 0; n < 6; n += 1) fates.push(await room.fateOf(job, after(first, n)));
    assert.deepEqual(fates, [['running'], ['range frozen'], ['range frozen'], ['range frozen'], ['running'], ['running']]);
    assert.deepEqual(await room.rangesOf(job), [
      { reason: 'frozen', from_at: after(first, 1), to_at: new Date(+after(first, 3) + 1_000), count: 3, freeze_id: id, calendar: null },
    ]);
  });

  test(`${kind}: a slot that is asked about again changes nothing, in a freeze that is over too`, async () => {
    const first = ago(5_000);
    const job = await room.job(kind, { overlap: 'allow_all' });
    const id = await room.freeze(job, first);
    await room.slot(job, first);
    await room.slot(job, first);
    await room.endFreeze(id, after(first, 2));
    await room.pool.query('UPDATE freezes SET settled_at = now() WHERE id = $1', [id]);
    await room.slot(job, first);
    await room.slot(job, after(first, 1));
    await room.slot(job, after(first, 2));
    assert.deepEqual(
      (await room.rangesOf(job)).map(({ from_at, to_at, count }) => [+from_at, +to_at!, count]),
      [[+first, +after(first, 2), 2]],
    );
    assert.deepEqual(await room.fateOf(job, after(first, 2)), ['running']);
  });

  test(`${kind}: when the job ran in between, a freeze has two stretches`, async () => {
    const first = ago(9_000);
    const job = await room.job(kind, { overlap: 'allow_all' });
    const id = await room.freeze(job, after(first, -60));
    await room.slot(job, first);
    await room.pool.query(`UPDATE freezes SET targets = '{}' WHERE id = $1`, [id]);
    await room.slot(job, after(first, 2));
    await room.pool.query(`UPDATE freezes SET targets = $2 WHERE id = $1`, [id, [job.id]]);
    await room.slot(job, after(first, 4));
    await room.slot(job, after(first, 5));
    assert.deepEqual(await room.fateOf(job, after(first, 2)), ['running']);
    assert.deepEqual(
      (await room.rangesOf(job)).map((range) => range.count),
      [1, 2],
    );
  });

  test(`${kind}: a freeze that began after a slot was due skips it with a row that names the freeze`, async () => {
    const nominal = ago(3_000);
    const job = await room.job(kind);
    const id = await room.freeze(job, after(nominal, 1));
    assert.equal((await room.slot(job, nominal)).calls.length, 0);
    assert.deepEqual(await room.fateOf(job, nominal), ['skipped frozen']);
    assert.equal((await room.rowOf(slotExecutionId(job.id, nominal)))!.freeze_id, id);
    assert.deepEqual(await countersOf(room.pool, job.id), { active: 0, waiting: 0, rowsActive: 0, rowsWaiting: 0 });
  });

  test(`${kind}: freezes of a team hold it, those of another team do not, those of all teams do`, async () => {
    const nominal = ago(3_000);
    const job = await room.job(kind, { overlap: 'allow_all' });
    const id = await room.freeze(null, after(nominal, -1), after(nominal, 1), 'team');
    await room.pool.query(`UPDATE freezes SET team = 'others' WHERE id = $1`, [id]);
    await room.slot(job, nominal);
    assert.deepEqual(await room.fateOf(job, nominal), ['running']);
    const earlier = after(nominal, -60);
    await room.pool.query(`UPDATE freezes SET scope = 'global', from_at = $2, to_at = $3 WHERE id = $1`, [id, earlier, after(earlier, 1)]);
    await room.slot(job, earlier);
    assert.deepEqual(await room.fateOf(job, earlier), ['range frozen']);
    await room.pool.query('DELETE FROM freezes WHERE id = $1', [id]);
  });

  test(`${kind}: slots inside an excluded calendar make one range row per stretch of it`, async () => {
    const first = ago(9_000);
    const [job, closed] = [await room.job(kind, { overlap: 'allow_all' }), name()];
    await room.calendar(closed, [
      [after(first, -DAY), after(first, 2)],
      [after(first, 3), after(first, 5)],
    ]);
    await room.useCalendars(job, { exclude: [closed] });
    for (let n = 0; n < 6; n += 1) await room.slot(job, after(first, n));
    const fates = [];
    for (let n = 0; n < 6; n += 1) fates.push((await room.fateOf(job, after(first, n))).join());
    assert.deepEqual(fates, ['range excluded', 'range excluded', 'running', 'range excluded', 'range excluded', 'running']);
    assert.deepEqual(
      (await room.rangesOf(job)).map((range) => [range.reason, +range.from_at, +range.to_at!, range.count, range.calendar]),
      [
        ['excluded', +first, +after(first, 2), 2, closed],
        ['excluded', +after(first, 3), +after(first, 5), 2, closed],
      ],
    );
  });

  test(`${kind}: two stretches of a calendar are two rows, also when the job has no slot between them`, async () => {
    const first = ago(9_000);
    const [job, closed] = [await room.job(kind, { overlap: 'allow_all' }), name()];
    await room.calendar(closed, [
      [first, after(first, 1)],
      [after(first, 2), after(first, 4)],
    ]);
    await room.useCalendars(job, { exclude: [closed] });
    for (const n of [0, 2, 3]) await room.slot(job, after(first, n));
    assert.deepEqual(
      (await room.rangesOf(job)).map((range) => [+range.from_at, +range.to_at!, range.count]),
      [
        [+first, +after(first, 1), 1],
        [+after(first, 2), +after(first, 4), 2],
      ],
    );
  });

  test(`${kind}: with included calendars only slots inside one of them run; one of which no day is known keeps nobody`, async () => {
    const first = ago(9_000);
    const [job, mornings, fairs, unknown] = [await room.job(kind, { overlap: 'allow_all' }), name(), name(), name()];
    await room.calendar(mornings, [[first, after(first, 1)]]);
    await room.calendar(fairs, [[after(first, 2), after(first, 3)]]);
    await room.useCalendars(job, { include: [mornings, fairs] });
    for (let n = 0; n < 5; n += 1) await room.slot(job, after(first, n));
    const fates = [];
    for (let n = 0; n < 5; n += 1) fates.push((await room.fateOf(job, after(first, n))).join());
    assert.deepEqual(fates, ['running', 'range excluded', 'running', 'range excluded', 'range excluded']);
    assert.deepEqual(
      (await room.rangesOf(job)).map((range) => [range.count, range.calendar]),
      [
        [1, mornings],
        [2, mornings],
      ],
    );
    await room.useCalendars(job, { include: [mornings, unknown] });
    await room.slot(job, after(first, 6));
    assert.deepEqual(await room.fateOf(job, after(first, 6)), ['running']);
  });

  test(`${kind}: a slot that is excluded is no loss of a freeze`, async () => {
    const nominal = ago(3_000);
    const [job, closed] = [await room.job(kind), name()];
    await room.calendar(closed, [[after(nominal, -5), after(nominal, 5)]]);
    await room.useCalendars(job, { exclude: [closed] });
    await room.freeze(job, after(nominal, -5));
    await room.slot(job, nominal);
    assert.deepEqual(await room.fateOf(job, nominal), ['range excluded']);
  });

  test(`${kind}: on days when clocks change the job's own policy decides about each kind of moment`, async () => {
    const cases: [mark: string, gap: string, repeat: string | null, fate: string][] = [
      ['gap', 'shift', null, 'running'],
      ['gap', 'skip', null, 'skipped dst_gap'],
      ['odd', 'shift', 'both', 'skipped dst_gap'],
      ['repeat_first', 'shift', null, 'running'],
      ['repeat_first', 'shift', 'last', 'skipped dst_repeat'],
      ['repeat_last', 'shift', null, 'skipped dst_repeat'],
      ['repeat_last', 'shift', 'last', 'running'],
      ['repeat_last', 'shift', 'both', 'running'],
      ['hourly_first', 'shift', null, 'running'],
      ['hourly_first', 'shift', 'last', 'skipped dst_repeat'],
      ['hourly_last', 'shift', null, 'running'],
      ['hourly_last', 'shift', 'first', 'skipped dst_repeat'],
      ['date', 'skip', 'last', 'running'],
    ];
    const nominal = ago(3_000);
    for (const [mark, gap, repeat, fate] of cases) {
      const job = await room.job(kind);
      await room.mark(job, nominal, mark);
      await room.useDst(job, gap, repeat);
      await room.slot(job, nominal);
      assert.deepEqual(await room.fateOf(job, nominal), [fate], `${mark} ${gap} ${repeat}`);
    }
  });

  test(`${kind}: a newcomer that does not run makes nobody go`, async () => {
    const nominal = ago(3_000);
    const job = await room.job(kind, { overlap: 'terminate_other' });
    const { id } = await room.trigger(job);
    await room.mark(job, nominal, 'odd');
    await room.slot(job, nominal);
    await room.freeze(job, after(nominal, 1));
    await room.slot(job, after(nominal, 2));
    assert.equal((await room.rowOf(id))!.status, 'queued');
  });

  test(`${kind}: catch-up last looks behind later slots that do not run: the newest that is left runs`, async () => {
    const late = ago(60_000);
    const [middle, newest] = [after(late, 20), after(late, 40)];
    const [job, closed] = [await room.job(kind), name()];
    await room.calendar(closed, [[middle, after(newest, 1)]]);
    await room.useCalendars(job, { exclude: [closed] });
    await room.slot(job, late, { later: [middle, newest, after(late, 3_600)] });
    assert.deepEqual(await room.fateOf(job, late), ['running']);

    const superseded = await room.job(kind);
    await room.useCalendars(superseded, { exclude: [closed] });
    await room.slot(superseded, late, { later: [middle, newest, after(late, 45)] });
    assert.deepEqual(await room.fateOf(superseded, late), ['skipped missed'], 'the slot behind the calendar is due already, and runs');

    const frozen = await room.job(kind);
    await room.freeze(frozen, after(middle, -1), after(newest, 1));
    await room.slot(frozen, late, { later: [middle, newest] });
    assert.deepEqual(await room.fateOf(frozen, late), ['running']);

    const paused = await room.job(kind);
    await room.pool.query(`INSERT INTO slot_ranges (team, job_id, reason, from_at, to_at) VALUES ('default', $1, 'paused', $2, $3)`, [
      paused.id,
      middle,
      after(newest, 1),
    ]);
    await room.slot(paused, late, { later: [middle, newest] });
    assert.deepEqual(await room.fateOf(paused, late), ['running']);
  });

  test(`${kind}: the next run is unsure for who reads calendars, or may not want a marked moment, and for nobody else`, async () => {
    const nominal = ago(3_000);
    const next = after(nominal, 600);
    const stateOf = async (id: string) =>
      (await room.pool.query('SELECT next_run_at, next_run_unsure FROM job_runtime WHERE job_id = $1', [id])).rows[0];
    const [plain, reads, marked, frozen, closed] = [
      await room.job(kind, { overlap: 'allow_all' }),
      await room.job(kind, { overlap: 'allow_all' }),
      await room.job(kind, { overlap: 'allow_all' }),
      await room.job(kind),
      name(),
    ];
    await room.calendar(closed, [[after(nominal, 1), after(nominal, 2)]]);
    await room.useCalendars(reads, { exclude: [closed] });
    await room.mark(marked, next, 'repeat_last');
    await room.freeze(frozen, after(nominal, -1), after(nominal, 1));
    for (const job of [plain, reads, marked, frozen]) {
      await room.pool.query('UPDATE job_runtime SET next_run_at = $2 WHERE job_id = $1', [job.id, nominal]);
      await room.slot(job, nominal, { later: [next] });
    }
    assert.deepEqual(await stateOf(plain.id), { next_run_at: next, next_run_unsure: false });
    assert.deepEqual(await stateOf(reads.id), { next_run_at: next, next_run_unsure: true });
    assert.deepEqual(await stateOf(marked.id), { next_run_at: next, next_run_unsure: true });
    assert.deepEqual(await stateOf(frozen.id), { next_run_at: next, next_run_unsure: false }, 'also behind a slot that makes no row');
    const nothing = { next_run_at: null, next_run_unsure: false };
    for (const [job, seconds, fate] of [
      [reads, 1, 'range excluded'],
      [reads, 2, 'running'],
      [frozen, 1, 'range frozen'],
    ] as const) {
      const last = after(nominal, seconds);
      if (job === frozen) await room.freeze(frozen, last);
      await room.pool.query('UPDATE job_runtime SET next_run_at = $2 WHERE job_id = $1', [job.id, last]);
      await room.slot(job, last);
      assert.deepEqual(await stateOf(job.id), nothing, 'behind the last slot there is nothing to be unsure of');
      assert.deepEqual(await room.fateOf(job, last), [fate]);
    }
  });
}
