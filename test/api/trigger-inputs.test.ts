/** One request with thousands of inputs, against a real API process. No worker runs: what is written is looked at. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type ApiStack, createApiStack, type RunningApi } from './running-api.ts';

let stack: ApiStack;
let api: RunningApi;
before(async () => {
  stack = await createApiStack();
  api = await stack.start();
});
after(() => stack?.close());

type Batch = { accepted: number; skipped: number; items: { id: string; status: string; reason: string | null }[] };

async function jobWith(document: object): Promise<string> {
  const { status, body, text } = await api.call('POST', '/api/v1/jobs', {
    target: { type: 'http', url: 'https://example.com/hook' },
    ...document,
  });
  assert.equal(status, 201, text);
  return `/api/v1/schedule/${body.id}/trigger`;
}

test('10,000 inputs in a body beyond the usual limit are 10,000 executions, each with its own', async () => {
  const path = await jobWith({ name: 'many', overlap: 'allow_all' });
  const padding = 'x'.repeat(100);
  const inputs = Array.from({ length: 10_000 }, (_, n) => ({ n, padding }));
  const { status, body, headers } = await api.call('POST', path, { inputs });
  const { accepted, skipped, items } = body as unknown as Batch;
  assert.deepEqual([status, accepted, skipped, items.length, headers.get('location')], [202, 10_000, 0, 10_000, null]);
  assert.equal(new Set(items.map((item) => item.id)).size, 10_000);
  for (const n of [0, 999, 1_000, 9_999]) {
    const job = items[n]!.id.slice(0, 40);
    const { body: execution } = await api.call('GET', `/api/v1/executions/${job}/${items[n]!.id}`);
    assert.deepEqual([execution.trigger, execution.input, execution.dispatch], ['batch', { n, padding }, 'pooled']);
    assert.match(String(execution.workflowId), /^group-default-/);
  }
});

test('the overlap policy decides about inputs in their order', async () => {
  const path = await jobWith({ name: 'one at a time', overlap: 'skip' });
  const { status, body } = await api.call('POST', path, { inputs: [1, 2, 3] });
  const { items, ...counts } = body as unknown as Batch;
  assert.deepEqual([status, counts], [202, { accepted: 1, skipped: 2 }]);
  assert.deepEqual(
    items.map((item) => [item.status, item.reason]),
    [
      ['queued', null],
      ['skipped', 'skipped_overlap'],
      ['skipped', 'skipped_overlap'],
    ],
  );
});

test('with an Idempotency-Key the same inputs are the same executions', async () => {
  const path = await jobWith({ name: 'keyed', overlap: 'allow_all' });
  const send = (inputs: unknown[]) => api.call('POST', path, { inputs }, { 'Idempotency-Key': 'inputs-1' });
  const first = await send([1, null, 'three']);
  const again = await send([1, null, 'three']);
  assert.deepEqual([first.status, again.status, again.text], [202, 202, first.text]);
  assert.equal(again.headers.get('idempotency-replayed'), 'true');
  const other = await send([1]);
  assert.deepEqual([other.status, other.body.code], [422, 'idempotency_key_reused']);
  const { body } = await api.call('GET', `/api/v1/executions?q=keyed`);
  assert.deepEqual(body.items.map((item) => item.input).reverse(), [1, null, 'three']);
});

test('what cannot be had is said, and nothing is written', async () => {
  const path = await jobWith({ name: 'refusing', overlap: 'allow_all' });
  const refused = async (body: unknown, place: string, query = '') => {
    const answer = await api.call('POST', `${path}${query}`, body);
    assert.equal(answer.status, 422, answer.text.slice(0, 300));
    const [error] = answer.body.errors as { path: string }[];
    assert.equal(error?.path, place);
  };
  await refused({ inputs: [] }, '/inputs');
  await refused({ inputs: 5 }, '/inputs');
  await refused({ inputs: Array.from({ length: 10_001 }, () => 0) }, '/inputs');
  await refused({ input: 1, inputs: [1] }, '/inputs');
  await refused({ inputs: [1, 'x'.repeat(256 * 1024), 2] }, '/inputs/1');
  await refused({ inputs: [1] }, 'query/wait', '?wait=5s');
  const { status } = await api.call('POST', path, `{"inputs":["${'x'.repeat(17 * 1024 * 1024)}"]}`);
  assert.equal(status, 413);
  const { body } = await api.call('GET', `/api/v1/executions?q=refusing`);
  assert.deepEqual(body.items, []);
});
