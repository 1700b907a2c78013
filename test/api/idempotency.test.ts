/** Idempotency keys over two API processes: one effect, one answer. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  claimIdempotencyKey,
  completeIdempotencyKey,
  findIdempotentResponse,
  type IdempotencyContext,
  IdempotencyKeyTaken,
} from '../../src/jobs/idempotency.ts';
import { createLog } from '../../src/log.ts';
import { createPool, inTransaction, type Pool } from '../../src/postgres.ts';
import { type Answer, type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let apis: RunningApi[];
let pool: Pool;
before(async () => {
  stack = await createApiStack();
  apis = await Promise.all([stack.start(), stack.start()]);
  pool = createPool(
    { DATABASE_URL: stack.databaseUrl, DATABASE_POOL: 5, DATABASE_CONNECT_TIMEOUT_MS: 5_000 },
    createLog('test', 'silent'),
    'test',
  );
});
after(async () => {
  await pool.end();
  await stack.close();
});

const document = (name: string, every = '1h') => ({ name, schedule: { every }, target: { type: 'http', url: 'https://example.com' } });
const post = (api: RunningApi, body: unknown, key: string, path = '/api/v1/jobs') =>
  api.call('POST', path, body, { 'Idempotency-Key': key });
const countOf = async (sql: string, value: string) => Number((await pool.query<{ count: string }>(sql, [value])).rows[0]?.count);

describe('a key', () => {
  test('20 parallel requests over two processes make one job, one clock, one audit event and 20 equal answers; 15 rounds', async () => {
    for (let round = 0; round < 15; round++) {
      const name = `parallel ${round}`;
      const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => post(apis[index % 2]!, document(name), `round-${round}`)));
      const told = new Set(answers.map((answer) => JSON.stringify([answer.status, answer.headers.get('location'), answer.text])));
      assert.equal(told.size, 1, [...told].join('\n'));
      assert.equal(answers[0]?.status, 201);
      assert.equal(answers.filter((answer) => answer.headers.get('idempotency-replayed') === 'true').length, 19);
      const id = answers[0]?.body.id as string;
      assert.equal(await countOf('SELECT count(*) FROM jobs WHERE name = $1', name), 1);
      assert.equal(await countOf('SELECT count(*) FROM clocks WHERE id = $1', id), 1);
      assert.equal(await countOf('SELECT count(*) FROM audit_events WHERE subject_id = $1', id), 1);
    }
  });

  test('with another body is 422, on another path it is another key', async () => {
    assert.equal((await post(apis[0]!, document('other body'), 'reused')).status, 201);
    const refused = await post(apis[1]!, document('other body', '2h'), 'reused');
    assert.deepEqual([refused.status, refused.body.code], [422, 'idempotency_key_reused']);
    assert.equal((await post(apis[0]!, { name: 'a', baseUrl: 'https://example.com' }, 'reused', '/api/v1/services')).status, 201);
  });

  test('of a refused request is free again', async () => {
    assert.equal((await post(apis[0]!, { name: 'no target' }, 'corrected')).status, 422);
    assert.equal((await post(apis[0]!, document('corrected'), 'corrected')).status, 201);
  });

  test('works on triggers, pauses and named retries, once each', async () => {
    const { body: job } = await post(apis[0]!, document('actions'), 'actions');
    const twice = async (path: string, body?: unknown) => {
      const first = await post(apis[0]!, body, 'once', path);
      const second = await post(apis[1]!, body, 'once', path);
      assert.deepEqual([second.status, second.text, second.headers.get('idempotency-replayed')], [first.status, first.text, 'true'], path);
      return first;
    };
    const trigger: Answer = await twice(`/api/v1/schedule/${job.id}/trigger`, { input: 1 });
    assert.equal(trigger.status, 202);
    assert.equal(await countOf('SELECT count(*) FROM job_executions WHERE job_id = $1', job.id as string), 1);
    assert.equal((await twice(`/api/v1/schedule/${job.id}/pause`)).body.state, 'paused');
    assert.equal((await twice(`/api/v1/executions/${job.id}/${trigger.body.id}/terminate`)).status, 200);
    assert.equal((await twice(`/api/v1/executions/${job.id}/retry`, { executionIds: [trigger.body.id] })).status, 202);
    assert.equal(await countOf('SELECT count(*) FROM job_executions WHERE job_id = $1', job.id as string), 2);
  });
});

describe('the store', () => {
  const context = (key: string, more: Partial<IdempotencyContext> = {}): IdempotencyContext => ({
    team: 'default',
    holder: 'key_test',
    method: 'POST',
    path: '/x',
    key,
    bodyHash: Buffer.from('hash'),
    keepHours: 24,
    render: (value) => ({ status: 201, location: '/x/1', body: JSON.stringify(value) }),
    ...more,
  });
  const claim = (own: IdempotencyContext, value: unknown) => inTransaction(pool, (tx) => claimIdempotencyKey(tx, own, value));

  test('a claim that is rolled back leaves the key free', async () => {
    const own = context('rolled back');
    await assert.rejects(
      inTransaction(pool, async (tx) => {
        await claimIdempotencyKey(tx, own, 1);
        throw new Error('later');
      }),
    );
    assert.equal(await findIdempotentResponse(pool, own), null);
  });

  test('a provisional answer of a process that died becomes final for everyone after 2 s', async () => {
    const own = context('died');
    await claim(own, 'provisional');
    const startedAt = performance.now();
    assert.equal((await findIdempotentResponse(pool, own))?.body, '"provisional"');
    assert.ok(performance.now() - startedAt > 1_500);
    const late = await completeIdempotencyKey(pool, own, { status: 201, location: '/x/1', body: '"final"' });
    assert.equal(late.body, '"provisional"');
  });

  test('who waits gets the final answer as soon as it is there', async () => {
    const own = context('waits');
    await claim(own, 'provisional');
    const waiting = findIdempotentResponse(pool, own);
    await completeIdempotencyKey(pool, own, { status: 201, location: null, body: '"final"' });
    assert.deepEqual(await waiting, { status: 201, location: null, body: '"final"' });
  });

  test('a taken key is refused inside the transaction, an expired one is free', async () => {
    const own = context('taken');
    await claim(own, 1);
    await assert.rejects(claim(own, 2), IdempotencyKeyTaken);
    await pool.query(`UPDATE idempotency_keys SET expires_at = now() - interval '1 second' WHERE key = 'taken'`);
    assert.equal(await findIdempotentResponse(pool, own), null);
    await claim(own, 3);
    assert.equal((await completeIdempotencyKey(pool, own, { status: 201, location: null, body: '4' })).body, '4');
  });
});
