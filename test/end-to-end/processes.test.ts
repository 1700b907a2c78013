/** How processes end: SIGTERM lets what runs finish, within 30 s; a handler that does not load stops the start and says where. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type Almanac, startAlmanac, until } from '../support/almanac.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

let almanac: Almanac;
let receiver: Receiver;
let release = () => {};
before(async () => {
  receiver = await startReceiver((call, response) => {
    if (call.path === '/hold') release = () => response.end('finished');
    else if (call.path === '/never' && call.attempt === 1) return;
    else response.end('ok');
  });
  almanac = await startAlmanac({ workers: 0 });
});
after(async () => {
  await almanac?.close();
  await receiver?.close();
});

const create = (name: string, to: string) =>
  almanac.api.post('/jobs', { name, target: { type: 'http', url: `${receiver.url}${to}` }, timeout: '1m', overlap: 'allow_all' });

test('a worker told to stop finishes the call in flight, takes nothing new, and ends with 0', async () => {
  const worker = await almanac.start('worker');
  assert.equal((await create('held', '/hold')).status, 201);
  const { body } = await almanac.api.post('/schedule/held/trigger');
  await receiver.received(1);
  const stopped = worker.stop();
  const later = await almanac.api.post('/schedule/held/trigger', { input: 'later' });
  assert.equal(later.status, 202);
  release();
  assert.equal(await stopped, 0);
  const ended = await almanac.finished('held', body.id);
  assert.deepEqual([ended.status, ended.attempt], ['succeeded', 1]);
  assert.equal(receiver.calls.length, 1);
  await almanac.start('worker');
  await receiver.received(2);
  release();
  assert.equal((await almanac.finished('held', later.body.id)).status, 'succeeded');
});

test('a call that outlasts the grace is given up within 30 s, and made again by another worker under the same id', async (t) => {
  assert.equal((await create('stuck', '/never')).status, 201);
  const before = receiver.calls.length;
  const { body } = await almanac.api.post('/schedule/stuck/trigger');
  await receiver.received(before + 1);
  const worker = almanac.processes.worker.at(-1)!;
  const started = Date.now();
  assert.equal(await worker.stop(), 0);
  const tookMs = Date.now() - started;
  assert.ok(tookMs < 30_000, `${tookMs} ms`);
  await almanac.start('worker');
  const ended = await almanac.finished('stuck', body.id, 60_000);
  assert.equal(ended.status, 'succeeded');
  assert.deepEqual(
    receiver.calls.slice(before).map((call) => call.execution),
    [body.id, body.id],
  );
  t.diagnostic(`the worker was gone after ${tookMs} ms`);
});

test('an API told to stop answers what it has taken, and is gone', async () => {
  const process = await almanac.start('api');
  const client = almanac.clientOf(process);
  assert.equal((await create('waited', '/hold')).status, 201);
  const before = receiver.calls.length;
  const waiting = client.post('/schedule/waited/trigger?wait=20s');
  await receiver.received(before + 1);
  const stopped = process.stop();
  await process.line(({ msg }) => msg === 'stopping');
  release();
  const answer = await waiting;
  assert.deepEqual([answer.status, answer.body.status], [200, 'succeeded']);
  assert.equal(await stopped, 0);
  await assert.rejects(client.get('/jobs'));
});

test('a handler that does not load stops the start of a worker, naming file and line', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'almanac-handlers-'));
  try {
    writeFileSync(
      path.join(folder, 'broken.ts'),
      `import { defineHandler } from 'almanac/handlers';\n\nconst x: number = ;\nexport default defineHandler({ name: 'x' });\n`,
    );
    await assert.rejects(almanac.start('worker', { ALMANAC_HANDLERS: folder }), (error: Error) => {
      assert.match(error.message, /broken\.ts:3/);
      return true;
    });
    writeFileSync(path.join(folder, 'broken.ts'), `export const nothing = 1;\n\nthrow new Error('on purpose');\n`);
    await assert.rejects(almanac.start('worker', { ALMANAC_HANDLERS: folder }), (error: Error) => {
      assert.match(error.message, /broken\.ts:3.*on purpose|on purpose.*broken\.ts:3/s);
      return true;
    });
    await assert.rejects(almanac.start('worker', { ALMANAC_HANDLERS: path.join(folder, 'nowhere') }), /nowhere/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Starts one of each process, says their pids, and is killed. */
const ABANDON = `
import { startProcess } from './test/support/processes.ts';
const settings = JSON.parse(process.env.SETTINGS);
const started = await Promise.all(['api', 'worker', 'controller'].map((entry) => startProcess(entry, settings)));
console.log(JSON.stringify(started.map(({ pid }) => pid)));
process.kill(process.pid, 'SIGKILL');
`;

test('processes whose parent is killed, and with it the reader of their logs, end by themselves', async () => {
  const { stdout } = await new Promise<{ stdout: string }>((resolve) => {
    execFile(
      process.execPath,
      ['--input-type=module', '-e', ABANDON],
      { env: { ...process.env, SETTINGS: JSON.stringify(almanac.settings) } },
      (_error, stdout) => resolve({ stdout }),
    );
  });
  const pids = JSON.parse(stdout) as number[];
  assert.equal(pids.length, 3);
  const isAlive = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  await until('all have gone', () => !pids.some(isAlive));
});
