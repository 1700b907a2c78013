/** Jobs that came with one request fire like any others. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
before(async () => {
  receiver = await startReceiver((_call, response) => void response.end('done'));
  almanac = await startAlmanac();
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const batchOf = async (count: number, job: (nth: number) => object): Promise<Body[]> => {
  const jobs = Array.from({ length: count }, (_, nth) => ({ target: { type: 'http', url: `${receiver.url}/called` }, ...job(nth) }));
  const { status, body, text } = await almanac.api.post('/jobs/batch', { jobs });
  assert.equal(status, 201, text.slice(0, 500));
  return body.items;
};
type Run = { job_id: string; slot: Date; workflow_id: string; status: string; dispatch: string };
const runsOf = async (items: Body[]): Promise<Run[]> =>
  (
    await almanac.pool.query<Run>(
      `SELECT job_id, slot, workflow_id, status, dispatch FROM job_executions WHERE job_id = ANY ($1) AND status IN ('succeeded', 'failed') ORDER BY slot, job_id`,
      [items.map(({ id }) => id)],
    )
  ).rows;

test('200 jobs of one timing are members of one clock, and a slot serves all of them, each once', async () => {
  const items = await batchOf(200, (n) => ({ name: `member ${n}`, schedule: { every: '3s' } }));
  const slot = await until('a slot has served all', async () => {
    const bySlot = Object.groupBy(await runsOf(items), (run) => run.slot.toISOString());
    return Object.values(bySlot).find((runs) => runs!.length >= 200);
  });
  assert.deepEqual(new Set(slot.map(({ job_id }) => job_id)), new Set(items.map(({ id }) => id)));
  assert.deepEqual(new Set(slot.map(({ status, dispatch }) => `${status} ${dispatch}`)), new Set(['succeeded pooled']));
  const clocks = new Set(slot.map(({ workflow_id }) => workflow_id.slice(0, 'clock_'.length + 32)));
  assert.equal(clocks.size, 1);
  const { rows } = await almanac.pool.query('SELECT id FROM clocks WHERE id = ANY ($1)', [[...clocks]]);
  assert.equal(rows.length, 1);
});

test('one-offs of one second share a workflow, and those with schedules of their own have one each', async () => {
  const at = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 4_000).toISOString();
  const items = await batchOf(20, (n) => ({ name: `once ${n}`, schedule: { at } }));
  const own = await batchOf(3, (n) => ({ name: `own ${n}`, schedule: { every: '2s' }, dispatch: 'dedicated' }));
  const runs = await until('all one-offs ended', async () => {
    const ended = await runsOf(items);
    return ended.length === 20 && ended;
  });
  assert.deepEqual(
    [new Set(runs.map(({ workflow_id }) => workflow_id)).size, new Set(runs.map(({ status }) => status))],
    [1, new Set(['succeeded'])],
  );
  await until('each of the others has run', async () => new Set((await runsOf(own)).map(({ job_id }) => job_id)).size === 3);
  for (const { id } of own) assert.ok(await almanac.temporal.schedule.getHandle(id).describe());
});
