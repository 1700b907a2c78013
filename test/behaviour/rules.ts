/** What keeps slots and calls from beginning without touching the job: freezes and calendars; and what a trigger may want otherwise than its job. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/almanac.ts';
import { countersOf } from '../support/seed.ts';
import { firing, quickly, type Scene } from './scene.ts';

export function ruleFacts(scene: () => Scene): void {
  test('in a freeze triggers are refused and a retry waits; when it ends the retry goes on, under the same id', async () => {
    const { almanac, endpoint, job, trigger, ended, ok } = scene();
    const moody = endpoint((_call, response, nth) => response.writeHead(nth === 1 ? 503 : 200).end());
    const made = await job(moody, { ...quickly(2, { initialInterval: '3s' }) });
    const first = await trigger(made);
    await moody.received(1);
    const freeze = await ok(201, almanac.api.post('/freezes', { scope: 'jobs', targets: [made.id], reason: 'stocktaking' }));
    const refusal = await ok(409, almanac.api.post(`/schedule/${made.id}/trigger`));
    assert.deepEqual([refusal.code, refusal.freezeId, refusal.reason], ['frozen', freeze.id, 'stocktaking']);
    const held = await until('it waits', async () => {
      const row = await ok(200, almanac.api.get(`/executions/${made.id}/${first.id}`));
      return row.waiting && row;
    });
    assert.deepEqual([held.reason, held.freeze, held.finishedAt], ['frozen', { id: freeze.id, reason: 'stocktaking' }, null]);
    assert.equal(moody.calls.length, 1);
    await ok(200, almanac.api.post(`/freezes/${freeze.id}/end`, {}));
    const row = await ended(made, first);
    assert.deepEqual([row.status, row.attempt, row.reason, row.freeze.id], ['succeeded', 2, null, freeze.id]);
    const { active, waiting } = await countersOf(almanac.pool, made.id);
    assert.deepEqual([active, waiting], [0, 0]);
  });

  test('slots in a freeze, and slots that a calendar excludes, lie in a range row each; the others run', async () => {
    const { almanac, endpoint, job, slots, ok } = scene();
    // all of it has to be there before the first slot
    const { schedule, first } = firing(4, 15_000);
    const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);
    const closed = `closed-${Math.random()}`;
    await ok(
      201,
      almanac.api.post('/calendars', { name: closed, ranges: [{ from: day(first - 86_400_000), to: day(first + 86_400_000) }] }),
    );
    const [frozen, excluded] = await Promise.all([
      job(endpoint(), { overlap: 'allow_all', catchUp: { policy: 'none' }, schedule }),
      job(endpoint(), { overlap: 'allow_all', schedule: { ...schedule, exclude: [closed] } }),
    ]);
    const window = { from: new Date(first + 500).toISOString(), to: new Date(first + 2_500).toISOString() };
    const freeze = await ok(201, almanac.api.post('/freezes', { scope: 'jobs', targets: [frozen.id], reason: 'stocktaking', ...window }));
    const at = (nth: number) => new Date(first + nth * 1_000);
    const rangesOf = async (id: string) =>
      (await almanac.pool.query('SELECT reason, from_at, to_at, freeze_id, calendar FROM slot_ranges WHERE job_id = $1', [id])).rows;
    // on a busy machine slots a second apart overtake each other, and a stretch may be told in two pieces
    const swallowed = async (id: string) => {
      const ranges = await rangesOf(id);
      return [0, 1, 2, 3].map((nth) => ranges.filter((range) => range.from_at <= at(nth) && at(nth) < range.to_at).length).join('');
    };
    const accounted = async () =>
      (await swallowed(frozen.id)) === '0110' && (await swallowed(excluded.id)) === '1111' && (await slots(frozen)).length === 2;
    await until('all slots are accounted for', accounted, 60_000);
    assert.deepEqual(
      (await slots(frozen)).map((row) => Date.parse(row.slot)),
      [+at(0), +at(3)],
    );
    const whys = async (id: string) => [
      ...new Set((await rangesOf(id)).map((range) => [range.reason, range.freeze_id, range.calendar].join())),
    ];
    assert.deepEqual(await whys(frozen.id), [`frozen,${freeze.id},`]);
    assert.deepEqual(await whys(excluded.id), [`excluded,,${closed}`]);
    assert.deepEqual(await slots(excluded), []);
  });

  test('priority, queue and label of a trigger are those of its execution; a queue that nobody has is refused', async () => {
    const { kind, almanac, endpoint, job, trigger, run, ok } = scene();
    const made = await job(endpoint(), { overlap: 'allow_all', priority: 4 });
    const row = await run(made, { priority: 1, label: 'before the audit' });
    assert.deepEqual([row.status, row.priority, row.label, row.queue, row.dispatch], ['succeeded', 1, 'before the audit', 'default', kind]);
    const away = await trigger(made, { queue: 'nobody' });
    assert.deepEqual([away.queue, away.priority, away.label], ['nobody', 4, null]);
    await ok(202, almanac.api.post(`/executions/${made.id}/${away.id}/cancel`));
    const refusal = await ok(422, almanac.api.post(`/schedule/${made.id}/trigger`, { queue: 'nowhere' }));
    assert.match(refusal.errors[0].message, /write default, narrow, outage, nobody/);
    for (const body of [{ priority: 0 }, { priority: 1.5 }, { label: '' }, { label: 'x'.repeat(201) }, { queue: 7 }])
      assert.equal((await ok(422, almanac.api.post(`/schedule/${made.id}/trigger`, body))).errors.length, 1);
  });
}
