/**
 * Very many triggers of one job at once: all are accepted quickly, and each ends as its overlap policy says.
 * As a program: `node test/end-to-end/trigger-storm.ts [count]` (default 1,500) for allow_all, skip and buffer_all.
 */
import assert from 'node:assert/strict';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import type { Body } from '../support/client.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

const CONNECTIONS = 32;
export const POLICIES = ['allow_all', 'skip', 'buffer_all'] as const;
export type Storm = { policy: string; count: number; acceptedMs: number; endedMs: number; calls: number; skipped: number };

/** Sends the triggers, waits until every row has ended and checks them against the receiver's own log. */
export async function triggerStorm(
  almanac: Almanac,
  receiver: Receiver,
  overlap: (typeof POLICIES)[number],
  count: number,
): Promise<Storm> {
  const path = `/${overlap}-${count}`;
  const name = `storm ${overlap}`;
  const created = await almanac.api.post('/jobs', { name, overlap, target: { type: 'http', url: `${receiver.url}${path}` } });
  assert.equal(created.status, 201, created.text);
  const { id } = created.body;
  const started = Date.now();
  let next = 0;
  const accepted: { n: number; id: string }[] = [];
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, connection) => {
      const api = almanac.apis[connection % almanac.apis.length]!;
      while (next < count) {
        const n = next++;
        const answer = await api.post(`/schedule/${id}/trigger`, { input: { n } });
        if (overlap !== 'skip' || answer.status !== 409) assert.equal(answer.status, 202, answer.text);
        accepted.push({ n, id: answer.body.id ?? answer.body.skippedId });
      }
    }),
  );
  const acceptedMs = Date.now() - started;
  await until('every row has ended', async () => (await open(almanac, id)) === 0, 240_000);
  const endedMs = Date.now() - started;
  const { rows } = await almanac.pool.query(`SELECT id, status, reason FROM job_executions WHERE job_id = $1 ORDER BY created_at, id`, [
    id,
  ]);
  const calls = receiver.calls.filter((call) => call.path === path);
  const ran = rows.filter(({ status }) => status === 'succeeded').map((row) => row.id as string);
  const skipped = rows.filter(({ status, reason }) => status === 'skipped' && reason === 'skipped_overlap').length;
  assert.equal(rows.length, count, 'one row for each');
  assert.deepEqual(new Set(rows.map((row) => row.id)), new Set(accepted.map((each) => each.id)));
  assert.equal(ran.length + skipped, count);
  assert.equal(calls.length, ran.length, 'one call for each that ran');
  assert.deepEqual(new Set(calls.map((call) => call.execution)), new Set(ran));
  if (overlap !== 'skip') assert.equal(skipped, 0);
  if (overlap === 'buffer_all')
    assert.deepEqual(
      calls.map((call) => call.execution),
      ran,
      'in the order of acceptance',
    );
  const inputOf = new Map(accepted.map(({ n, id: execution }) => [execution, n]));
  for (const call of calls) assert.equal((JSON.parse(call.body) as Body).n, inputOf.get(call.execution));
  return { policy: overlap, count, acceptedMs, endedMs, calls: calls.length, skipped };
}

async function open({ pool }: Almanac, id: string): Promise<number> {
  const { rows } = await pool.query(`SELECT count(*)::int AS open FROM job_executions WHERE job_id = $1 AND finished_at IS NULL`, [id]);
  return rows[0].open;
}

if (import.meta.main) {
  const receiver = await startReceiver();
  const almanac = await startAlmanac();
  try {
    for (const policy of POLICIES)
      console.log(JSON.stringify(await triggerStorm(almanac, receiver, policy, Number(process.argv[2] ?? 1_500))));
  } finally {
    await almanac.close();
    await receiver.close();
  }
}
