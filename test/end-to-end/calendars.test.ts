/** A calendar from the outside: what it stops does not run and is told as excluded, and a change of it is true for its jobs within seconds. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
before(async () => {
  receiver = await startReceiver((_call, response) => response.end('ok'));
  almanac = await startAlmanac();
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

/** Milliseconds, on a machine that has much else to do. */
const LONG_MS = 60_000;
const EVERY_DAY = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
/** A day that has passed: it stops nothing that is to come. */
const PAST = { name: 'closed', dates: ['2020-01-01'] };
const ALWAYS = { name: 'closed', weekly: [{ days: EVERY_DAY }] };
const ok = async (status: number, what: ReturnType<typeof almanac.api.get>): Promise<Body> => {
  const answer = await what;
  assert.equal(answer.status, status, answer.text);
  return answer.body;
};
type Range = { reason: string; calendar: string; from_at: Date; to_at: Date | null; count: number | null };
const rangesOf = async (id: string): Promise<Range[]> =>
  (
    await almanac.pool.query<Range>(`SELECT reason, calendar, from_at, to_at, count FROM slot_ranges WHERE job_id = $1 ORDER BY from_at`, [
      id,
    ])
  ).rows;
const startedOf = async (id: string): Promise<Body[]> =>
  (await almanac.api.get(`/executions/${id}?trigger=schedule&limit=200`)).body.items.filter(({ status }: Body) => status !== 'skipped');

for (const dispatch of ['dedicated', 'pooled'])
  test(`slots of a ${dispatch} job that a calendar stops are told as excluded; when it is changed, they run`, async () => {
    await ok(dispatch === 'dedicated' ? 201 : 200, almanac.api.call('PUT', '/calendars/closed', ALWAYS));
    const target = { type: 'http', url: `${receiver.url}/${dispatch}` };
    const { id } = await ok(
      201,
      almanac.api.post('/jobs', { name: dispatch, schedule: { every: '1s', exclude: ['closed'] }, target, dispatch }),
    );
    const [range] = await until(
      'slots are excluded',
      async () => {
        const ranges = await rangesOf(id);
        return ranges.length > 0 && ranges;
      },
      LONG_MS,
    );
    assert.deepEqual([range!.reason, range!.calendar], ['excluded', 'closed']);
    assert.deepEqual(await startedOf(id), []);
    const before = await ok(200, almanac.api.get(`/jobs/${id}`));
    assert.ok(Date.parse(before.nextRunAt) > Date.now() + 300 * 86_400_000, `next run at ${before.nextRunAt}`);
    assert.deepEqual(before.nextRuns, []);

    const dry = await ok(200, almanac.api.call('PUT', '/calendars/closed?dryRun=true', PAST));
    const item = dry.replan.items.find(({ jobId }: Body) => jobId === id);
    assert.deepEqual([item.added, item.removed, dry.replan.complete], [1_000, 0, false]);
    await ok(200, almanac.api.call('PUT', '/calendars/closed', PAST));
    await until('it runs', async () => (await startedOf(id)).length > 2, LONG_MS);
    await until(
      'the next run is known',
      async () => Date.parse((await ok(200, almanac.api.get(`/jobs/${id}`))).nextRunAt) < Date.now() + 60_000,
      LONG_MS,
    );

    const first = (await startedOf(id)).map(({ slot }) => Date.parse(slot)).sort((a, b) => a - b)[0]!;
    const excluded = await rangesOf(id);
    assert.ok(
      excluded.every(({ to_at: to }) => to !== null && to.getTime() <= first),
      'no slot is both excluded and run',
    );
    await ok(200, almanac.api.call('DELETE', `/jobs/${id}`));
    assert.ok(receiver.calls.some(({ path }) => path === `/${dispatch}`));
  });
