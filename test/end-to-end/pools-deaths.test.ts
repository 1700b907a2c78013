/** Workers that die, stop, or lose Postgres while they serve pools: calls are repeated only where nobody knows what came of them. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type OwnServer, ownPostgres } from '../support/own-servers.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';
import { createTestNamespace } from '../support/stack.ts';

const PLACES = 25;

let postgres: OwnServer;
let almanac: Almanac;
let receiver: Receiver;
const held: (() => void)[] = [];
before(async () => {
  receiver = await startReceiver((call, response) => {
    if (call.path === '/held') held.push(() => response.end('at last'));
    else setTimeout(() => response.end('done'), 1_000);
  });
  postgres = await ownPostgres();
  const [namespace] = await Promise.all([createTestNamespace(), postgres.start()]);
  almanac = await startAlmanac({
    workers: 2,
    servers: { databaseUrl: postgres.address, temporalAddress: namespace.address },
    settings: {
      TEMPORAL_NAMESPACE: namespace.name,
      POOL_CALLS_PER_TARGET: String(PLACES),
      CATEGORY_QUEUES: 'poison=poison',
      ALMANAC_HANDLERS: fileURLToPath(new URL('./fixtures/poison', import.meta.url)),
    },
  });
});
after(async () => {
  await almanac?.close();
  await postgres?.close();
  await receiver?.close();
});

const create = async (name: string, more: object = {}): Promise<Body> => {
  const { status, text, body } = await almanac.api.post('/jobs', {
    name,
    target: { type: 'http', url: `${receiver.url}/${name}` },
    dispatch: 'pooled',
    overlap: 'allow_all',
    ...more,
  });
  assert.equal(status, 201, text);
  return body;
};
const triggerMany = async (job: Body, count: number): Promise<Body[]> => {
  const { status, body, text } = await almanac.api.post(`/schedule/${job.id}/trigger`, {
    inputs: Array.from({ length: count }, (_, n) => n),
  });
  assert.equal(status, 202, text);
  return body.items;
};
type Row = { id: string; status: string; attempt: number; tries: number; attempts: string[]; finished_at: Date };
async function rowsOf(job: Body): Promise<Row[]> {
  const { rows } = await almanac.pool.query(
    `SELECT e.id, e.status, e.attempt, e.tries, e.finished_at, array_remove(array_agg(a.status ORDER BY a.attempt), NULL) AS attempts FROM job_executions e
       LEFT JOIN job_attempts a ON a.partition_at = e.partition_at AND a.execution_id = e.id
      WHERE e.job_id = $1 GROUP BY e.partition_at, e.id ORDER BY e.id`,
    [job.id],
  );
  return rows;
}
const endedOf = (job: Body) =>
  until(
    'all have ended',
    async () => {
      const rows = await rowsOf(job);
      return rows.every((row) => row.finished_at !== null) && rows;
    },
    60_000,
  );
/** The worker that recorded the first outcome of a job. */
async function servingWorker(job: Body) {
  const worker = await until('an outcome is recorded', async () => {
    const { rows } = await almanac.pool.query(`SELECT worker FROM job_attempts WHERE execution_id LIKE $1 || '%' LIMIT 1`, [job.id]);
    return rows[0]?.worker as string | undefined;
  });
  return almanac.processes.worker.find(({ pid }) => worker.endsWith(`/${pid}`))!;
}
const callsTo = (name: string) => receiver.calls.filter((call) => call.path === `/${name}`);

test('a worker is killed in the middle of a pool: another repeats, within 10 s, what has no outcome, and nothing else', async (t) => {
  const job = await create('killed');
  await triggerMany(job, PLACES * 3);
  const worker = await servingWorker(job);
  await until('the next are in their calls', () => callsTo('killed').length >= PLACES + 5);
  const killedAt = Date.now();
  await worker.kill();
  const known = new Set((await rowsOf(job)).filter((row) => row.finished_at !== null).map((row) => row.id));
  const open = callsTo('killed').filter((call) => !known.has(call.execution));
  assert.ok(known.size >= 1 && open.length >= 1, `${known.size} outcomes, ${open.length} calls in flight`);
  const rows = await endedOf(job);
  const again = callsTo('killed').filter((call) => call.at > killedAt);
  t.diagnostic(`${known.size} outcomes, ${open.length} calls in flight; the next call came ${again[0]!.at - killedAt} ms after the kill`);
  assert.ok(again[0]!.at - killedAt < 10_000, `${again[0]!.at - killedAt} ms`);
  for (const row of rows) {
    assert.equal(row.status, 'succeeded');
    const calls = callsTo('killed').filter((call) => call.execution === row.id);
    const lost = open.some((call) => call.execution === row.id);
    assert.deepEqual(row.attempts, lost ? ['lost', 'succeeded'] : ['succeeded'], row.id);
    assert.deepEqual([calls.length, row.attempt], lost ? [2, 2] : [1, 1]);
    if (known.has(row.id)) assert.ok(calls[0]!.at < killedAt);
  }
  await almanac.start('worker');
});

test('a worker is told to stop in the middle of a pool: calls in flight end, the others are put back and count for nothing', async () => {
  const job = await create('stopped');
  await triggerMany(job, PLACES * 3);
  const worker = await servingWorker(job);
  await until('the next are in their calls', () => callsTo('stopped').length >= PLACES + 5);
  assert.equal(await worker.stop(), 0);
  const rows = await endedOf(job);
  for (const row of rows) assert.deepEqual([row.status, row.attempt, row.attempts], ['succeeded', 1, ['succeeded']], row.id);
  assert.equal(callsTo('stopped').length, PLACES * 3, 'each is called once');
  await almanac.start('worker');
});

test('a handler that kills its process ends as poisoned after two deaths; the harmless beside it succeed', async (t) => {
  const harmless = await create('harmless', { category: 'poison', target: { type: 'handler', name: 'harmless' } });
  const deadly = await create('deadly', { category: 'poison', target: { type: 'handler', name: 'deadly' } });
  let deaths = 0;
  let over = false;
  const supervised = (async () => {
    while (!over) {
      const worker = await almanac.start('worker', { WORKER_QUEUES: 'poison' });
      const ended = await Promise.race([worker.ended, until('all is over', () => over, 120_000).then(() => 'over' as const)]);
      if (ended === 'over') return;
      deaths += 1;
    }
  })();
  await Promise.all([triggerMany(harmless, 20), triggerMany(deadly, 1)]);
  const [rows, [poisoned]] = await Promise.all([endedOf(harmless), endedOf(deadly)]);
  over = true;
  await supervised;
  const { body } = await almanac.api.get(`/executions/${deadly.id}/${poisoned!.id}`);
  assert.deepEqual([body.status, body.reason, body.error.type], ['failed', 'poisoned', 'poisoned']);
  assert.equal(deaths, 2);
  for (const row of rows) assert.equal(row.status, 'succeeded', row.id);
  t.diagnostic(
    `attempts of the poisonous: ${poisoned!.attempts}; of the harmless: ${[...new Set(rows.map((row) => row.attempts.join(' ')))].join(', ')}`,
  );
});

test('Postgres goes away between call and record: the outcomes are kept, and recorded once', async () => {
  const job = await create('held');
  await triggerMany(job, 10);
  await until('all are called', () => held.length === 10);
  await postgres.stop();
  for (const release of held.splice(0)) release();
  await sleep(3_000); // outcomes come about, and find nobody
  await postgres.start();
  const rows = await endedOf(job);
  for (const row of rows) assert.deepEqual([row.status, row.attempt, row.attempts], ['succeeded', 1, ['succeeded']], row.id);
  assert.equal(callsTo('held').length, 10);
});
