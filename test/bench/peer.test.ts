import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../src/embedded/ports.ts';
import { createTestDatabase, type TestDatabase } from '../support/stack.ts';

const PEER = fileURLToPath(new URL('../../bench/peer', import.meta.url));
const WITHIN_MS = 60_000;
type Manifest = { prepare: string; procs: Record<string, string>; start: string[]; worker: string };
const manifest = JSON.parse(readFileSync(path.join(PEER, 'peer.json'), 'utf8')) as Manifest;

/** As the rig does it: commands in a shell, each a group of its own. */
describe('bench/peer', () => {
  const out = mkdtempSync(path.join(tmpdir(), 'almanac-peer-'));
  const runlog = path.join(out, 'runlog');
  const children: ChildProcess[] = [];
  let database: TestDatabase;
  let origin: string;

  const command = (line: string, name: string, env: NodeJS.ProcessEnv) => {
    const log = openSync(path.join(out, `${name}.log`), 'a');
    const child = spawn('bash', ['-c', `exec ${line}`], { cwd: PEER, env, stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    return child;
  };

  before(async () => {
    database = await createTestDatabase();
    const port = await freePort();
    origin = `http://127.0.0.1:${port}`;
    const given = { PORT: String(port), PG_URL: database.url, RUNLOG: runlog, OUT: out };
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...given, TEMPORAL_PORT: String(await freePort()) };
    closeSync(openSync(runlog, 'w'));
    const [code] = await once(command(manifest.prepare, 'prepare', env), 'exit');
    assert.equal(code, 0, readFileSync(path.join(out, 'prepare.log'), 'utf8'));
    for (const role of manifest.start) children.push(command(manifest.procs[role]!, role, env));
    await until('the API answers', async () => (await fetch(`${origin}/healthz`)).ok);
  });

  after(async () => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = once(child, 'exit');
      process.kill(-child.pid!, 'SIGTERM');
      await gone;
    }
    await database.drop();
    rmSync(out, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });

  test('runs what is posted as now, at and cron, and says of each when it was due, began and ended', async () => {
    const at = Math.ceil(Date.now() / 1_000 + 1) * 1_000;
    const sentMs = Date.now() + 0.25;
    for (const job of [
      { key: 'n1', kind: 'now', sleep_ms: 20 },
      { key: 'a1', kind: 'at', at_ms: at },
      { key: 'c1', kind: 'cron', cron: '* * * * * *' },
    ]) {
      const answer = await fetch(`${origin}/jobs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ at_ms: 0, cron: '', sleep_ms: 0, sent_ms: sentMs, ...job }),
      });
      assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
    }
    const ends = (key: string) => linesOf(runlog).find((line) => line.key === key && line.phase === 'E');
    await until('all three have ended', async () => ['n1', 'a1', 'c1'].every(ends));
    const start = (key: string) => linesOf(runlog).find((line) => line.key === key && line.phase === 'S')!;
    assert.equal(start('n1').due, Math.round(sentMs));
    assert.ok(ends('n1')!.at - start('n1').at >= 19);
    assert.equal(start('a1').due, at);
    assert.ok(start('a1').at >= at);
    assert.equal(start('c1').due % 1_000, 0);
    assert.ok(start('c1').at >= start('c1').due && start('c1').at < start('c1').due + WITHIN_MS);
  });

  test('lists the stored jobs and shows one', async () => {
    const list = (await (await fetch(`${origin}/jobs?limit=50`)).json()) as { items: { id: string; name: string }[] };
    const found = list.items.find(({ name }) => name === 'c1');
    assert.equal(((await (await fetch(`${origin}/jobs/${found!.id}`)).json()) as { name: string }).name, 'c1');
  });
});

type Line = { key: string; phase: string; due: number; at: number };

const linesOf = (file: string): Line[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((text) => {
      const [key = '', phase = '', due, at] = text.split(',');
      return { key, phase, due: Number(due), at: Number(at) };
    });

async function until(what: string, question: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + WITHIN_MS; Date.now() < end; await sleep(50)) {
    if (await question().catch(() => false)) return;
  }
  assert.fail(`${what}: not within ${WITHIN_MS} ms`);
}
