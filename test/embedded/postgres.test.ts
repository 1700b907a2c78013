/** The embedded Postgres itself. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import pg from 'pg';
import { freePort } from '../../src/embedded/ports.ts';
import { type EmbeddedPostgres, startPostgres } from '../../src/embedded/postgres.ts';
import { postgresPlace, removePostgresPlace } from '../../src/embedded/postgres-place.ts';

let closed: string;
let folder: string;
let server: EmbeddedPostgres | undefined;
beforeEach(() => {
  // As a home below /root is: nobody but its owner can pass through.
  closed = mkdtempSync(path.join(tmpdir(), 'almanac-closed-'));
  assert.equal(statSync(closed).mode & 0o077, 0);
  folder = path.join(closed, 'home');
  mkdirSync(folder, { mode: 0o711 });
});
afterEach(async () => {
  await server?.stop();
  server = undefined;
  removePostgresPlace(folder);
  rmSync(closed, { recursive: true });
});
const start = async (): Promise<EmbeddedPostgres> => {
  server = await startPostgres({
    folder,
    port: await freePort(),
    logFile: path.join(folder, 'postgres.log'),
    environment: { ...process.env },
    durable: true,
  });
  return server;
};
async function ask<T extends object>(url: string, sql: string): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  try {
    await client.connect();
    return (await client.query<T>(sql)).rows[0]!;
  } finally {
    await client.end().catch(() => {});
  }
}

test('runs in a folder that nobody else can enter, keeps data over a stop, and takes away what it put elsewhere', {
  timeout: 120_000,
}, async () => {
  const first = await start();
  await ask(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
  const { files } = postgresPlace(folder);
  await first.stop();
  assert.deepEqual(await ask((await start()).url, 'SELECT answer FROM kept'), { answer: 42 });
  assert.equal(postgresPlace(folder).files, files);
  await server?.stop();
  removePostgresPlace(folder);
  if (process.getuid?.() === 0) assert.equal(existsSync(files), false);
});

test('listens on loopback alone, wants its password, and loses nothing that it has acknowledged', { timeout: 120_000 }, async () => {
  const { url } = await start();
  const setting = async (name: string) => Object.values(await ask<Record<string, string>>(url, `SHOW ${name}`))[0];
  assert.equal(await setting('listen_addresses'), '127.0.0.1');
  assert.equal(await setting('unix_socket_directories'), '');
  assert.equal(await setting('fsync'), 'on');
  assert.equal(await setting('synchronous_commit'), 'on');
  assert.equal(await setting('full_page_writes'), 'on');
  assert.equal(statSync(path.join(folder, 'postgres-password')).mode & 0o777, 0o600);
  assert.ok(readFileSync(path.join(folder, 'postgres-password'), 'utf8').trim().length >= 32);
  const wrong = new URL(url);
  wrong.password = 'wrong';
  await assert.rejects(ask(wrong.href, 'SELECT 1'), { code: '28P01' });
});

test('what is left of a data directory whose making was cut short gives way to a whole one', { timeout: 120_000 }, async () => {
  const { files } = postgresPlace(folder);
  mkdirSync(path.join(files, 'data.unfinished'));
  assert.deepEqual(await ask((await start()).url, 'SELECT 1 AS one'), { one: 1 });
});

test('a port that is taken is said with the end of its log', { timeout: 120_000 }, async () => {
  const { url } = await start();
  const port = Number(new URL(url).port);
  const other = path.join(closed, 'other');
  mkdirSync(other, { mode: 0o711 });
  try {
    const second = startPostgres({
      folder: other,
      port,
      logFile: path.join(other, 'log'),
      environment: { ...process.env },
      durable: false,
    });
    await assert.rejects(second, /did not come up[\s\S]*Address already in use/);
  } finally {
    removePostgresPlace(other);
  }
});
