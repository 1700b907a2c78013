/** Freezes from the outside: what they hold, what they wait for or stop, and what becomes of all that when they are over. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
const hanging = new Set<() => void>();
before(async () => {
  receiver = await startReceiver((call, response) => {
    if (!call.path.startsWith('/hang')) return void response.end('done');
    hanging.add(() => response.end('done'));
  });
  almanac = await startAlmanac();
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const document = (name: string, more: object) => ({ name, target: { type: 'http', url: `${receiver.url}/${name}` }, ...more });
const create = async (name: string, more: object = {}): Promise<Body> => {
  const { status, text, body } = await almanac.api.post('/jobs', document(name, more));
  assert.equal(status, 201, text);
  return body;
};
const freeze = async (body: object): Promise<Body> => {
  const made = await almanac.api.post('/freezes', { reason: 'release', ...body });
  assert.equal(made.status, 201, made.text);
  return made.body;
};
const freezeNow = async (id: string): Promise<Body> => (await almanac.api.get(`/freezes/${id}`)).body;
const end = async (id: string): Promise<Body> => (await almanac.api.post(`/freezes/${id}/end`, {})).body;
const rows = async <Row>(text: string, ...values: unknown[]): Promise<Row[]> => (await almanac.pool.query(text, values)).rows as Row[];

// each has jobs of its own, and most of their time is waiting
describe('a freeze', { concurrency: true }, () => {
  test('500 jobs at work stop as soon as a freeze is answered, untouched themselves, and go on when it ends', async () => {
    const jobs = Array.from({ length: 500 }, (_, n) =>
      document(`busy-${n}`, {
        dispatch: 'pooled',
        category: 'busy',
        overlap: 'allow_all',
        catchUp: { policy: 'none' },
        schedule: { every: `${1 + (n % 3)}s` },
      }),
    );
    const batch = await almanac.api.post('/jobs/batch', { jobs });
    assert.equal(batch.status, 201, batch.text);
    const ids = batch.body.items.map(({ id }: Body) => id);
    const calls = () => receiver.calls.filter(({ path }) => path.startsWith('/busy-'));
    await until('they are at work', () => calls().length > 1_000, 60_000);

    const { id, state } = await freeze({ scope: 'category', targets: ['busy'] });
    const answered = Date.now();
    assert.equal(state, 'active');
    const swallowing = await until(
      'each has lost some slots',
      async () => {
        const seen = await freezeNow(id);
        return seen.counts.slots.jobs === 500 && seen.counts.slots.count >= 1_000 && seen;
      },
      60_000,
    );
    assert.equal(swallowing.counts.jobs, 500);
    // whoever admits after the answer has the freeze in view; only the call of one that was claimed may come a little later
    const [claimed] = await rows<{ count: number; late: number }>(
      `SELECT count(*) FILTER (WHERE created_at > $2)::int AS count, coalesce(extract(epoch FROM max(started_at) - $2) * 1000, 0)::float8 AS late
       FROM job_executions WHERE job_id = ANY ($1) AND status <> 'skipped'`,
      ids,
      new Date(answered),
    );
    assert.equal(claimed!.count, 0, 'nothing was admitted after the answer');
    assert.ok(claimed!.late < 10_000, `the last start came ${claimed!.late} ms after the answer`);
    const [touched] = await rows<{ count: number }>(
      `SELECT count(*)::int AS count FROM jobs WHERE id = ANY ($1) AND (pause IS NOT NULL OR state <> 'active')`,
      ids,
    );
    assert.equal(touched!.count, 0, 'no pause of their own');

    const ended = await end(id);
    const before = calls().length;
    await until('they are at work again', () => calls().length > before + 500, 60_000);
    const [lost] = await rows<{ count: number }>(
      `SELECT count(*)::int AS count FROM job_executions WHERE job_id = ANY ($1) AND slot >= $2 AND slot < $3 AND status <> 'skipped'`,
      ids,
      new Date(answered),
      ended.endedAt,
    );
    assert.equal(lost!.count, 0, 'no slot of its time has run');
    for (let from = 0; from < 500; from += 50)
      await Promise.all(ids.slice(from, from + 50).map((job: string) => almanac.api.call('DELETE', `/jobs/${job}`)));
  });

  test('while a freeze holds a job nobody starts it by hand, and the answer says which freeze, why and how long', async () => {
    const job = await create('by-hand');
    const to = new Date(Date.now() + 3_600_000).toISOString();
    const { id } = await freeze({ scope: 'jobs', targets: ['by-hand'], to });
    const refused = await almanac.api.post(`/schedule/${job.id}/trigger`, {});
    assert.equal(refused.status, 409);
    assert.equal(refused.body.code, 'frozen');
    assert.match(refused.body.detail, new RegExp(id));
    assert.match(JSON.stringify(refused.body), /release/);
    assert.match(JSON.stringify(refused.body), new RegExp(to.slice(0, 19)));
    assert.equal((await almanac.api.get(`/jobs/${job.id}`)).body.frozen.id, id);
    assert.equal((await almanac.api.post(`/schedule/${job.id}/pause`, {})).body.state, 'paused');
    assert.equal((await almanac.api.post(`/schedule/${job.id}/resume`, {})).status, 200);
    await end(id);
    assert.equal((await almanac.api.post(`/schedule/${job.id}/trigger`, {})).status, 202);
  });

  test('a freeze that drains waits for what runs, one that cancels stops it; what waits in line starts when it is over', async () => {
    const running = await create('hang-drain', { overlap: 'buffer_all', timeout: '5m' });
    const first = (await almanac.api.post(`/schedule/${running.id}/trigger`, {})).body;
    await until('it runs', () => receiver.calls.some(({ path }) => path === '/hang-drain'));
    const second = (await almanac.api.post(`/schedule/${running.id}/trigger`, {})).body;
    const { id } = await freeze({ scope: 'jobs', targets: [running.id], drain: true });
    const draining = await freezeNow(id);
    assert.deepEqual([draining.state, draining.counts.running, draining.drainedAt], ['draining', 1, null]);
    for (const release of hanging) release();
    assert.equal((await almanac.finished(running.id, first.id)).status, 'succeeded', 'what ran may end');
    const drained = await until('it is drained', async () => {
      const seen = await freezeNow(id);
      return seen.state === 'active' && seen;
    });
    assert.ok(drained.drainedAt);
    assert.equal(drained.counts.running, 0);
    assert.equal((await almanac.api.get(`/executions/${running.id}/${second.id}`)).body.status, 'queued');
    await end(id);
    await until('the one in line is called', () => receiver.calls.filter(({ path }) => path === '/hang-drain').length === 2);

    const stops = await freeze({ scope: 'jobs', targets: [running.id], cancelRunning: true });
    const stopped = await almanac.finished(running.id, second.id);
    assert.deepEqual([stopped.status, stopped.cancelledBy], ['cancelled', `almanac: freeze ${stops.id}`]);
    const seen = await until('nothing runs', async () => {
      const now = await freezeNow(stops.id);
      return now.drainedAt !== null && now;
    });
    assert.equal(seen.counts.cancelled, 1);
    await end(stops.id);
  });

  test('when a freeze ends by itself each job catches up as its policy says, and every slot is told once', async () => {
    const jobs: Record<string, Body> = {};
    for (const policy of ['none', 'last', 'all']) {
      jobs[policy] = await create(`catch-up-${policy}`, {
        dispatch: 'dedicated',
        catchUp: { policy },
        overlap: 'allow_all',
        schedule: { every: '2s' },
      });
    }
    const called = (policy: string) => receiver.calls.some(({ path }) => path === `/catch-up-${policy}`);
    await until('all have run', () => ['none', 'last', 'all'].every(called), 60_000);
    const planned = await freeze({
      scope: 'jobs',
      targets: Object.values(jobs).map((job) => job.id),
      from: new Date(Date.now() + 3_000).toISOString(),
      to: new Date(Date.now() + 12_000).toISOString(),
    });
    const over = await until(
      'it is settled',
      async () => {
        const seen = await freezeNow(planned.id);
        return seen.settledAt !== null && seen;
      },
      90_000,
    );
    assert.deepEqual([over.state, over.endedAt, over.endedBy], ['ended', over.to, null]);

    const [from, to] = [Math.ceil(Date.parse(over.from) / 2_000) * 2_000, Date.parse(over.to)];
    const expected: string[] = [];
    for (let slot = from; slot < to; slot += 2_000) expected.push(new Date(slot).toISOString());
    const backfilled = async (policy: string) =>
      await rows<{ slot: Date; finished: boolean }>(
        `SELECT slot, finished_at IS NOT NULL AS finished FROM job_executions WHERE job_id = $1 AND trigger = 'backfill' AND operation_id IS NOT NULL ORDER BY slot`,
        jobs[policy].id,
      );
    let single = 0;
    for (const policy of ['none', 'last', 'all']) {
      // on a busy machine the slot before the freeze may come in it
      const before = await rows<{ slot: Date }>(
        `SELECT slot FROM job_executions WHERE job_id = $1 AND status = 'skipped' AND freeze_id = $2`,
        jobs[policy].id,
        planned.id,
      );
      single += before.length;
      const lost = [...before.map(({ slot }) => slot.toISOString()), ...expected].sort();
      const slots = policy === 'none' ? [] : policy === 'last' ? lost.slice(-1) : lost;
      const done = await until(
        `${policy} has caught up`,
        async () => {
          const made = await backfilled(policy);
          return made.length >= slots.length && made.every(({ finished }) => finished) && made;
        },
        90_000,
      );
      assert.deepEqual(
        done.map(({ slot }) => slot.toISOString()),
        slots,
        policy,
      );
      const ranges = await rows<{ count: number; from_at: Date; freeze_id: string }>(
        `SELECT count, from_at, freeze_id FROM slot_ranges WHERE job_id = $1 AND reason = 'frozen'`,
        jobs[policy].id,
      );
      assert.equal(
        ranges.reduce((sum, { count }) => sum + count, 0),
        expected.length,
        `${policy}: every slot of its time, and no other`,
      );
      assert.ok(ranges.every(({ freeze_id }) => freeze_id === planned.id));
    }
    assert.deepEqual(over.counts.slots, { count: 3 * expected.length + single, jobs: 3, exact: true });
  });
});
