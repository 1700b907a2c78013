/** Successes are only told where a rule asks for them: the job's runtime row knows, whoever's rules have changed. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deliveriesExpire, eventsExpire, recountSome, restsExpire } from '../../../src/jobs/notifications/upkeep-store.ts';
import { ASYNC, CALLER, HTTP_TARGET, rows } from '../jobs-under-test.ts';
import { type Notifications, notificationsUnderTest } from './notifications-under-test.ts';

let it: Notifications;
before(async () => {
  it = await notificationsUnderTest();
  await it.channels.create(CALLER, { type: 'slack', name: 'ops', url: 'https://hooks.example.com/x' });
});
after(() => it.close());

const SUCCEEDED = [{ on: ['succeeded'], channel: 'ops' }];
const asked = async (...names: string[]) => {
  const found = await rows<{ job_name: string; notify_succeeded: boolean }>(
    it.pool,
    'SELECT job_name, notify_succeeded FROM job_runtime WHERE job_name = ANY ($1)',
    names,
  );
  return names.map((name) => found.find((row) => row.job_name === name)?.notify_succeeded);
};
/** Both looks that a change asks for. */
async function recounted(): Promise<void> {
  for (let pass = 0; pass < 2; pass += 1) {
    while (await recountSome(it.pool, 2));
    await it.pool.query('UPDATE notify_recounts SET due_at = now()');
  }
  assert.deepEqual(await rows(it.pool, 'SELECT team FROM notify_recounts'), []);
}

test("a job's own rules are known as soon as it is made, alone or among many, and when they change", async () => {
  await it.job('own', { notify: SUCCEEDED });
  await it.job('other', { notify: [{ on: ['failed'], channel: 'ops' }] });
  const many = ['many-1', 'many-2', 'many-3'];
  await it.jobs.createMany(
    CALLER,
    many.map((name, nth) => ({ name, target: HTTP_TARGET, ...(nth === 1 ? { notify: SUCCEEDED } : {}) })),
    'all',
    ASYNC,
  );
  assert.deepEqual(await asked('own', 'other', ...many), [true, false, false, true, false]);
  await it.jobs.patch(CALLER, 'own', { notify: null }, ASYNC);
  await it.jobs.patch(CALLER, 'other', { notify: SUCCEEDED }, ASYNC);
  assert.deepEqual(await asked('own', 'other'), [false, true]);
});

test("a service's rules hold for the jobs it owns, those that are there and those to come", async () => {
  await it.services.create(CALLER, { name: 'svc', baseUrl: 'https://example.com' });
  for (const name of ['of-svc-1', 'of-svc-2', 'of-svc-3']) await it.job(name, { service: 'svc' });
  await it.job('of-none');
  await it.services.patch(CALLER, 'svc', { notify: SUCCEEDED });
  await recounted();
  await it.job('of-svc-4', { service: 'svc' });
  assert.deepEqual(await asked('of-svc-1', 'of-svc-2', 'of-svc-3', 'of-svc-4', 'of-none'), [true, true, true, true, false]);
  await it.services.patch(CALLER, 'svc', { notify: null });
  await recounted();
  assert.deepEqual(await asked('of-svc-1', 'of-svc-4'), [false, false]);
});

test("the team's rules hold for what their filter names, and follow a job that changes", async () => {
  for (const [name, env] of [
    ['prod', 'prod'],
    ['test', 'test'],
  ] as const)
    await it.job(`in-${name}`, { tags: { env } });
  await it.teamNotify.put(CALLER, { rules: [{ ...SUCCEEDED[0]!, filter: { tags: { env: 'prod' } } }] });
  await recounted();
  await it.job('in-prod-later', { tags: { env: 'prod' } });
  assert.deepEqual(await asked('in-prod', 'in-test', 'in-prod-later'), [true, false, true]);
  await it.jobs.patch(CALLER, 'in-test', { tags: { env: 'prod' } }, ASYNC);
  assert.deepEqual(await asked('in-test'), [true]);
  await it.teamNotify.put(CALLER, { rules: [] });
  await recounted();
  assert.deepEqual(await asked('in-prod', 'in-test', 'in-prod-later'), [false, false, false]);
});

test('deliveries and events leave when they are old, and not before they have ended or been taken', async () => {
  const id = await it.job('old', { notify: [{ on: ['failed'], channel: 'ops' }] });
  for (let nth = 0; nth < 3; nth += 1) await it.raise(id, 'failed');
  await it.pool.query(`UPDATE job_events SET at = now() - interval '31 days', taken_at = now()`);
  await it.raise(id, 'failed');
  await it.pool.query(`UPDATE job_events SET at = now() - interval '31 days'`);
  assert.equal(await eventsExpire(it.pool, 30, 100), 3);
  assert.equal(await eventsExpire(it.pool, 30, 100), 0, 'one that nobody has taken stays');
  const insert = (state: string, finished: string | null) =>
    it.pool.query(
      `INSERT INTO deliveries (id, team, channel_id, channel_name, channel_type, kind, group_key, state, events, due_at, finished_at)
       VALUES ('dlv_' || gen_random_uuid(), 'default', 'c', 'c', 'slack', 'failed', gen_random_uuid(), $1, 1, now(), now() - $2::interval)`,
      [state, finished],
    );
  await insert('delivered', '31 days');
  await insert('delivered', '29 days');
  await insert('waiting', null);
  await it.pool.query(
    `INSERT INTO open_alerts (channel_id, job_id, team, dedup_key) VALUES ('c', $1, 'default', 'k'), ('c', 'job_gone', 'default', 'k')`,
    [id],
  );
  await restsExpire(it.pool);
  assert.deepEqual(await rows(it.pool, 'SELECT job_id FROM open_alerts'), [{ job_id: id }]);
  assert.equal(await deliveriesExpire(it.pool, 30, 100), 1);
  assert.equal(await deliveriesExpire(it.pool, 30, 100), 0);
});
