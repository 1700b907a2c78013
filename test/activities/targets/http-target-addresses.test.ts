import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResolvedAddress } from '../../../src/activities/targets/guarded-connect.ts';
import { createHttpTarget } from '../../../src/activities/targets/http-target.ts';
import { aCall, errorOf, receiver } from './calls.ts';

const v4 = (address: string): ResolvedAddress => ({ address, family: 4 });

test('a name that resolves to loopback is refused at the call, by the operating system’s own look-up', async () => {
  const made = await receiver((_request, response) => response.end());
  const http = createHttpTarget({ allow: [], deny: [] });
  const error = errorOf(await http.call({ url: `http://localhost:${made.port}/`, method: 'GET' }, aCall()));
  assert.deepEqual([error.type, error.retryable], ['address_refused', false]);
  assert.match(error.message, /localhost is (127\.0\.0\.1|::1), which is not a public address/);
  assert.equal(made.connections(), 0);
  await http.close();
  await made.close();
});

test('a literal is refused without a socket', async () => {
  const made = await receiver((_request, response) => response.end());
  const http = createHttpTarget({ allow: [], deny: [] });
  for (const host of ['127.0.0.1', '2130706433', '[::ffff:127.0.0.1]', '0x7f000001']) {
    assert.equal(errorOf(await http.call({ url: `http://${host}:${made.port}/`, method: 'GET' }, aCall())).type, 'address_refused');
  }
  assert.equal(made.connections(), 0);
  await http.close();
  await made.close();
});

test('the address that was judged is the address that is called, however the name answers next', async () => {
  const made = await receiver((_request, response) => response.end('judged'));
  const answers = [[v4('127.0.0.1')], [v4('169.254.169.254')]];
  let asked = 0;
  const http = createHttpTarget({ allow: ['127.0.0.1'], deny: [], resolve: async () => answers[Math.min(asked++, 1)]! });
  const call = () => http.call({ url: `http://rebind.example:${made.port}/`, method: 'GET' }, aCall());
  assert.equal((await call()).status, 'succeeded');
  assert.equal(asked, 1);
  for (const socket of made.sockets) {
    const gone = new Promise((resolve) => socket.once('close', resolve));
    socket.destroy();
    await gone;
  }
  // A new socket is judged anew.
  let error = await call();
  if (error.status !== 'succeeded' && error.error.type === 'network') error = await call();
  assert.equal(errorOf(error).type, 'address_refused');
  await http.close();
  await made.close();
});

test('of several addresses only those that pass are tried', async () => {
  const made = await receiver((_request, response) => response.end('ok'));
  const http = createHttpTarget({
    allow: ['127.0.0.1'],
    deny: [],
    resolve: async () => [v4('10.0.0.1'), v4('169.254.169.254'), v4('127.0.0.1')],
  });
  assert.equal((await http.call({ url: `http://many.example:${made.port}/`, method: 'GET' }, aCall())).status, 'succeeded');
  await http.close();
  await made.close();
});

test('our own servers are denied by address, by name, and by what the name resolves to', async () => {
  const made = await receiver((_request, response) => response.end());
  const resolve = async (name: string) => (name === 'public.example' ? [v4('8.8.8.8')] : [v4('127.0.0.1')]);
  const byAddress = createHttpTarget({ allow: ['127.0.0.0/8', 'alias.example'], deny: [`127.0.0.1:${made.port}`], resolve });
  const byName = createHttpTarget({ allow: ['127.0.0.0/8', 'alias.example'], deny: [`postgres:${made.port}`], resolve });
  for (const http of [byAddress, byName]) {
    for (const host of ['127.0.0.1', 'alias.example', '[::ffff:127.0.0.1]', 'postgres']) {
      const error = errorOf(await http.call({ url: `http://${host}:${made.port}/`, method: 'GET' }, aCall()));
      assert.equal(error.type, 'address_refused', `${host}: ${error.message}`);
      assert.match(error.message, /Almanac's own servers/);
    }
    await http.close();
  }
  assert.equal(made.connections(), 0);
  await made.close();
});

test('a metadata name is never even looked up', async () => {
  let asked = 0;
  const http = createHttpTarget({
    allow: ['0.0.0.0/0', 'metadata.google.internal'],
    deny: [],
    resolve: async () => {
      asked += 1;
      return [v4('127.0.0.1')];
    },
  });
  assert.equal(errorOf(await http.call({ url: 'http://metadata.google.internal/', method: 'GET' }, aCall())).type, 'address_refused');
  assert.equal(asked, 0);
  await http.close();
});

test('a name that does not exist is a DNS failure worth another try', async () => {
  const http = createHttpTarget({ allow: [], deny: [] });
  const error = errorOf(await http.call({ url: 'http://nowhere.invalid/', method: 'GET' }, aCall()));
  assert.deepEqual([error.type, error.retryable], ['dns', true]);
  assert.match(error.message, /nowhere\.invalid/);
  await http.close();
});
