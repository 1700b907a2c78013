/** Executions of one pool that are due one after another: each is called when it is due, once, whatever its neighbours and latecomers do. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { newExecutionId, partitionAtOf } from '../../src/jobs/ids.ts';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
before(async () => {
  receiver = await startReceiver((call, response) => {
    if (call.path.startsWith('/hang')) return;
    setTimeout(() => response.end('done'), call.path.startsWith('/slow') ? 700 : 0);
  });
  almanac = await startAlmanac();
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const create = async (name: string, path: string, more: object): Promise<Body> => {
  const { status, text, body } = await almanac.api.post('/jobs', {
    name,
    target: { type: 'http', url: `${receiver.url}${path}` },
    dispatch: 'pooled',
    ...more,
  });
  assert.equal(status, 201, text);
  return body;
};
const callsTo = (path: string) => receiver.calls.filter((call) => call.path === path);
/** A whole second that is at least so far ahead. */
const secondAhead = (ms: number) => Math.ceil((Date.now() + ms) / 1_000) * 1_000;

test('one-offs of one second are called at their own moments of it, each once, while earlier ones are still under way', async () => {
  const second = secondAhead(4_000);
  const moments = [0, 150, 300, 450, 600, 900];
  const made = await Promise.all(
    moments.map((ms) => create(`moment ${ms}`, `/slow-${ms}`, { schedule: { at: new Date(second + ms).toISOString() } })),
  );
  const rows = await Promise.all(
    made.map((job) =>
      until(`${job.name} ends`, async () => {
        const [row] = (await almanac.api.get(`/executions/${job.id}`)).body.items;
        return row?.finishedAt ? row : undefined;
      }),
    ),
  );
  assert.equal(new Set(rows.map((row) => row.workflowId)).size, 1, 'they share a bucket');
  for (const [nth, ms] of moments.entries()) {
    const calls = callsTo(`/slow-${ms}`);
    assert.deepEqual([rows[nth].status, rows[nth].attempt, calls.length], ['succeeded', 1, 1]);
    assert.ok(calls[0]!.at >= second + ms && calls[0]!.at < second + ms + 500, `due at ${ms}, called at ${calls[0]!.at - second}`);
  }
});

test('a member that hangs makes nobody late whose offset lies behind its own', async () => {
  const schedule = { every: '20s', jitter: '9s' };
  const members = await Promise.all(
    Array.from({ length: 12 }, (_, n) => create(`jittered ${n}`, `/hang-${n}`, { schedule, timeout: '10s' })),
  );
  const rows = await until(
    'each has been called',
    async () => {
      const { rows } = await almanac.pool.query(
        `SELECT slot, min(workflow_id) AS pool, array_agg(extract(epoch FROM due_at - slot)::float8 ORDER BY due_at) AS offsets,
                array_agg(extract(epoch FROM started_at - due_at)::float8 ORDER BY due_at) AS late
           FROM job_executions WHERE job_id = ANY ($1) AND trigger = 'schedule' AND workflow_id NOT LIKE '%-late-%' GROUP BY slot HAVING count(started_at) = $2`,
        [members.map((job) => job.id), members.length],
      );
      return rows.length > 0 && rows;
    },
    60_000,
  );
  const [{ offsets, late, pool }] = rows;
  assert.match(pool, /^clock_/);
  assert.ok(new Set(offsets).size > 2, `offsets ${offsets}`);
  for (const [nth, seconds] of late.entries()) assert.ok(seconds >= 0 && seconds < 1, `offset ${offsets[nth]} s: ${seconds} s late`);
  for (const job of members) await almanac.api.call('DELETE', `/jobs/${job.id}?running=cancel`);
});

test('200 that arrive in a bucket at any moment around its service are all called, once', async () => {
  const second = secondAhead(5_000);
  const at = new Date(second).toISOString();
  const [first] = await Promise.all([
    create('bucket a', '/bucket', { schedule: { at } }),
    create('bucket b', '/bucket', { schedule: { at } }),
  ]);
  const { rows: known } = await almanac.pool.query(`SELECT workflow_id FROM job_executions WHERE job_id = $1 AND dispatch = 'pooled'`, [
    first.id,
  ]);
  const bucket = known[0]?.workflow_id ?? `once-default:default-${at.slice(0, 19)}Z`;
  // By the API while there is time to join; by SQL, as a commit that came late would leave it, from a second before it is served until a second after.
  await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      if (n % 2 === 0) {
        await sleep(Math.random() * Math.max(0, second - Date.now() - 1_500));
        await create(`bucket ${n}`, '/bucket', { schedule: { at } });
        return;
      }
      const job = await create(`bucket ${n}`, '/bucket', {});
      await sleep(Math.max(0, second - Date.now() - 1_000) + Math.random() * 2_000);
      const id = newExecutionId(job.id, 'once');
      await almanac.pool.query(
        `INSERT INTO job_executions (partition_at, id, team, job_id, job_name, generation, trigger, slot, due_at, status, max_attempts, priority, queue, dispatch, workflow_id)
         SELECT $1, $2, r.team, r.job_id, r.job_name, r.generation, 'once', $3, $3, 'queued', r.max_attempts, r.priority, r.queue, 'pooled', $4
           FROM job_runtime r WHERE r.job_id = $5`,
        [partitionAtOf(id), id, at, bucket, job.id],
      );
    }),
  );
  await until('all have ended', async () => {
    const { rows } = await almanac.pool.query(
      `SELECT count(*)::int AS count FROM job_executions WHERE job_name LIKE 'bucket %' AND status = 'succeeded'`,
    );
    return rows[0].count === 202;
  });
  const executions = callsTo('/bucket').map((call) => call.execution);
  assert.deepEqual([executions.length, new Set(executions).size], [202, 202]);
});
