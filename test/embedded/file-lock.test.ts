/** Locks between processes. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { lock, tryLock } from '../../src/embedded/file-lock.ts';
import { identityOf, isAlive } from '../../src/embedded/process-identity.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'almanac-lock-'));
  file = path.join(folder, 'lock');
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a held lock names its holder, and is free when given back', () => {
  const first = tryLock(file);
  assert.ok('release' in first);
  assert.deepEqual(tryLock(file), { holder: identityOf(process.pid) });
  first.release();
  assert.equal(existsSync(file), false);
  const second = tryLock(file);
  assert.ok('release' in second);
});

test("a dead holder's lock is taken over, also when its pid belongs to somebody else by now", async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  await new Promise((resolve) => child.once('spawn', resolve));
  const identity = identityOf(child.pid!)!;
  assert.ok(isAlive(identity));
  writeFileSync(file, JSON.stringify(identity));
  assert.deepEqual(tryLock(file), { holder: identity });
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  assert.equal(isAlive(identity), false);
  const taken = tryLock(file);
  assert.ok('release' in taken);
  taken.release();
  writeFileSync(file, JSON.stringify({ pid: process.pid, began: 'another time' }));
  assert.ok('release' in tryLock(file));
});

test('half a lock file is nobody’s', () => {
  writeFileSync(file, '{"pid":');
  assert.ok('release' in tryLock(file));
});

test('whoever waits is told once by whom, and gets it', async () => {
  const first = tryLock(file);
  assert.ok('release' in first);
  const told: number[] = [];
  const waiting = lock(file, ({ pid }) => {
    told.push(pid);
    setImmediate(first.release);
  });
  (await waiting)();
  assert.deepEqual(told, [process.pid]);
});
