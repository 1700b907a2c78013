/** What people may want to hear of is raised with the row that it is about, whichever way an execution ends. */
import assert from 'node:assert/strict';
import { after as afterAll, before, test } from 'node:test';
import { closeExecution } from '../../src/jobs/execution-store.ts';
import type { SeededJob } from '../support/seed.ts';
import { seedPooledTrigger } from './pools/pooled-jobs.ts';
import { KINDS, type Kind, openStopsRoom, type StopsRoom } from './stops-room.ts';

let room: StopsRoom;
before(async () => {
  room = await openStopsRoom();
});
afterAll(() => room.close());

type Event = { kind: string; execution_id: string | null; details: Record<string, unknown> };
async function eventsOf(job: SeededJob): Promise<Event[]> {
  const { rows } = await room.pool.query<Event>('SELECT kind, execution_id, details FROM job_events WHERE job_id = $1 ORDER BY id', [
    job.id,
  ]);
  return rows;
}
const kindsOf = async (job: SeededJob) => (await eventsOf(job)).map((event) => event.kind);
const runtimeOf = async (job: SeededJob) =>
  (await room.pool.query('SELECT alarm, alarm_at, last_success_at, consecutive_failures FROM job_runtime WHERE job_id = $1', [job.id]))
    .rows[0];

let pools = 0;
/** An execution whose call is under way. */
async function calling(kind: Kind, job: SeededJob): Promise<string> {
  if (kind === 'dedicated') {
    const { id } = await room.trigger(job);
    await room.begin(id);
    return id;
  }
  pools += 1;
  const id = await seedPooledTrigger(room.pool, job, `group-${pools}`);
  await room.serve(`group-${pools}`);
  return id;
}

for (const kind of KINDS) {
  test(`${kind}: only the last attempt of an execution that fails is told, the first success after it is a recovery`, async () => {
    const job = await room.job(kind);
    const id = await calling(kind, job);
    await room.record(kind, id, 1, 'failed', { final: false });
    assert.deepEqual(await eventsOf(job), []);
    if (kind === 'pooled') await room.begin(id, 'run-2');
    assert.equal((await room.claim(id, 2, kind === 'pooled' ? 'run-2' : 'run-1')).verdict, 'run');
    await room.record('dedicated', id, 2, 'timed_out');
    const [failed] = await eventsOf(job);
    assert.deepEqual([failed!.kind, failed!.execution_id, failed!.details.status, failed!.details.attempt], ['failed', id, 'timed_out', 2]);
    assert.deepEqual(failed!.details.error, { type: 'network', message: 'refused', attempt: 2 });
    const next = await calling(kind, job);
    await room.record(kind, next, 1, 'failed');
    for (let n = 0; n < 2; n += 1) await room.record(kind, await calling(kind, job), 1, 'succeeded');
    assert.deepEqual(await kindsOf(job), ['failed', 'failed', 'recovered']);
    assert.equal((await eventsOf(job))[2]!.details.failures, 2);
  });

  test(`${kind}: a success takes an alarm back and says so, once; a failure leaves it`, async () => {
    const job = await room.job(kind);
    await room.pool.query(`UPDATE job_runtime SET alarm = 'late', alarm_at = now() WHERE job_id = $1`, [job.id]);
    await room.record(kind, await calling(kind, job), 1, 'failed');
    assert.equal((await runtimeOf(job)).alarm, 'late');
    assert.equal((await runtimeOf(job)).last_success_at, null);
    const before = Date.now();
    await room.record(kind, await calling(kind, job), 1, 'succeeded');
    await room.record(kind, await calling(kind, job), 1, 'succeeded');
    assert.deepEqual(await kindsOf(job), ['failed', 'recovered']);
    const [, recovered] = await eventsOf(job);
    assert.deepEqual([recovered!.details.alarm, recovered!.details.failures], ['late', 1]);
    const { alarm, alarm_at, last_success_at } = await runtimeOf(job);
    assert.deepEqual([alarm, alarm_at], [null, null]);
    assert.ok(+last_success_at >= before - 1_000);
    const quiet = await room.job(kind);
    await room.pool.query(`UPDATE job_runtime SET alarm = 'missed', alarm_at = now() WHERE job_id = $1`, [quiet.id]);
    await room.record(kind, await calling(kind, quiet), 1, 'succeeded');
    assert.deepEqual(await kindsOf(quiet), ['recovered'], 'also when nothing has failed');
  });

  test(`${kind}: successes are told where somebody wants to hear of them, and nowhere else`, async () => {
    const [asked, silent] = [await room.job(kind, { overlap: 'allow_all' }), await room.job(kind)];
    await room.pool.query('UPDATE job_runtime SET notify_succeeded = true WHERE job_id = $1', [asked.id]);
    const ids = [await calling(kind, asked), await calling(kind, asked)];
    for (const id of ids) await room.record(kind, id, 1, 'succeeded');
    await room.record(kind, await calling(kind, silent), 1, 'succeeded');
    assert.deepEqual(
      (await eventsOf(asked)).map((event) => [event.kind, event.execution_id]),
      ids.map((id) => ['succeeded', id]),
    );
    assert.deepEqual(await eventsOf(silent), []);
  });

  test(`${kind}: what could not begin is told as such`, async () => {
    const job = await room.job(kind);
    await room.record(kind, await calling(kind, job), 1, 'failed', { error: { type: 'unknown_handler', message: 'none', attempt: 1 } });
    const { id } = await room.trigger(job);
    const lost = { status: 'failed', reason: 'lost', error: { type: 'lost', message: 'gone', attempt: null }, by: 'almanac' };
    await closeExecution(room.pool, { ...room.keyOf(id), ...lost });
    assert.deepEqual(await kindsOf(job), ['failed_to_start', 'failed_to_start']);
  });

  test(`${kind}: a job that is paused by its failures says so after them`, async () => {
    const job = await room.job(kind, { pauseAfterFailures: 2 });
    for (let n = 0; n < 2; n += 1) await room.record(kind, await calling(kind, job), 1, 'failed');
    assert.deepEqual(await kindsOf(job), ['failed', 'failed', 'paused']);
    assert.equal((await eventsOf(job))[2]!.details.automatic, true);
  });

  test(`${kind}: what people stop is told by nobody`, async () => {
    const job = await room.job(kind);
    await room.record(kind, await calling(kind, job), 1, 'cancelled');
    const id = await calling(kind, job);
    await closeExecution(room.pool, { ...room.keyOf(id), status: 'terminated', reason: null, error: null, by: 'me' });
    assert.deepEqual(await eventsOf(job), []);
  });
}
