import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { FreezeView } from '../../../src/jobs/freezes/freeze-document.ts';
import { createFreezes, type Freezes } from '../../../src/jobs/freezes/freezes.ts';
import { type FreezeOfJob, heldUntil } from '../../../src/jobs/freezes/freezes-of-job.ts';
import { ASYNC, CALLER, HTTP_TARGET, type JobsUnderTest, jobsUnderTest } from '../jobs-under-test.ts';

let it: JobsUnderTest;
let freezes: Freezes;
before(async () => {
  it = await jobsUnderTest();
  freezes = createFreezes({ pool: it.pool });
});
after(() => it.close());

const HOUR_MS = 3_600_000;
const hour = (from: Date, hours: number) => new Date(Math.ceil(from.getTime() / HOUR_MS) * HOUR_MS + (hours - 1) * HOUR_MS);
const create = async (body: object) => (await it.jobs.create(CALLER, { target: HTTP_TARGET, ...body }, ASYNC)).value;
const make = async (targets: string[], body: object) =>
  (await freezes.create(CALLER, { scope: 'jobs', targets, reason: 'year end', ...body })) as FreezeView;

test('a frozen job says which freeze holds it, why and how long, and when it runs after that', async () => {
  const { id } = await create({ name: 'hourly', schedule: { every: '1h' } });
  assert.equal((await it.jobs.get(CALLER, id)).frozen, null);
  const now = new Date();
  const to = new Date(hour(now, 3).getTime());
  const freeze = await make([id], { to: to.toISOString() });
  const planned = await make([id], { from: hour(now, 5).toISOString(), to: hour(now, 6).toISOString() });
  const { frozen, nextRunAt, nextRuns, state } = await it.jobs.get(CALLER, id);
  assert.deepEqual(frozen, { id: freeze.id, reason: 'year end', until: to.toISOString().replace('.000Z', 'Z') });
  assert.equal(state, 'active', 'it is not paused');
  const text = (hours: number) => hour(now, hours).toISOString().replace('.000Z', 'Z');
  assert.deepEqual(nextRuns, [3, 4, 6, 7, 8].map(text), 'the end is not part of a freeze, and a planned one is known');
  assert.equal(nextRunAt, nextRuns[0]);
  const { value: schedule } = await it.schedules.get(CALLER, id);
  assert.deepEqual([schedule.frozen, schedule.nextRuns], [frozen, nextRuns]);
  await freezes.patch(CALLER, freeze.id, { to: null });
  const open = await it.jobs.get(CALLER, id);
  assert.deepEqual([open.frozen?.until, open.nextRunAt, open.nextRuns], [null, null, []], 'nobody knows when it runs');
  await freezes.end(CALLER, freeze.id);
  await freezes.remove(CALLER, planned.id);
  const free = await it.jobs.get(CALLER, id);
  assert.deepEqual([free.frozen, free.nextRunAt, free.nextRuns.length], [null, free.nextRuns[0], 5]);
});

test('a one-off that falls into a freeze runs when that is over, and the next one too', () => {
  const over = (from: string, until: string | null): FreezeOfJob => ({ id: `frz_${from}`, reason: 'x', from, until });
  const due = new Date('2026-12-24T18:00:00Z');
  assert.equal(heldUntil([], due), due);
  assert.equal(heldUntil([over('2026-12-24T17:00:00.000Z', '2026-12-24T18:00:00.000Z')], due), due, 'half-open');
  const held = [over('2026-12-24T18:00:00.000Z', '2026-12-25T00:00:00.000Z'), over('2026-12-24T20:00:00.000Z', '2026-12-26T00:00:00.000Z')];
  assert.deepEqual(heldUntil(held, due), new Date('2026-12-26T00:00:00Z'));
  assert.equal(heldUntil([...held, over('2026-12-26T00:00:00.000Z', null)], due), null, 'nobody knows');
});

test('a pause and its end keep working in a freeze, and what was read of a frozen job can be written back', async () => {
  const { id } = await create({ name: 'both', schedule: { every: '1h' } });
  await make([id], {});
  const paused = await it.schedules.pause(CALLER, id, { reason: 'own reason' }, ASYNC);
  assert.deepEqual([paused.value.state, paused.value.pause?.reason, paused.value.frozen?.reason], ['paused', 'own reason', 'year end']);
  const resumed = await it.schedules.resume(CALLER, id, {}, ASYNC);
  assert.deepEqual([resumed.value.state, resumed.value.frozen?.reason, resumed.value.nextRunAt], ['active', 'year end', null]);
  const read = await it.jobs.get(CALLER, id);
  assert.equal((await it.jobs.upsert(CALLER, id, read, ASYNC)).generation, read.generation);
});
