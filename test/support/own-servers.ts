/** Servers that belong to one test, so that it may stop them and start them again on the same port, with the same data. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort } from '../../src/embedded/ports.ts';
import { postgresUrl, startPostgres } from '../../src/embedded/postgres.ts';
import { removePostgresPlace } from '../../src/embedded/postgres-place.ts';
import type { Running } from '../../src/embedded/server-process.ts';
import { findTemporal } from '../../src/embedded/temporal-binary.ts';
import { startTemporal } from '../../src/embedded/temporal-server.ts';
import { createLog } from '../../src/log.ts';
import { migrate } from '../../src/migrate.ts';

/** A server that can be stopped and started as often as a test likes; `close` stops it and takes its data away. */
export type OwnServer = { address: string; start: () => Promise<void>; stop: () => Promise<void>; close: () => Promise<void> };

const environment = { ...process.env };

/** A Temporal with a database file. Not started yet. */
export async function ownTemporal(): Promise<OwnServer> {
  const folder = mkdtempSync(path.join(tmpdir(), 'almanac-own-temporal-'));
  const port = await freePort();
  const command = await findTemporal({ environment, progress: (sentence) => console.error(sentence) });
  const logFile = path.join(folder, 'temporal.log');
  const databaseFile = path.join(folder, 'temporal.db');
  return own(
    `127.0.0.1:${port}`,
    () => startTemporal({ command, port, databaseFile, namespace: 'default', folder, logFile, environment }),
    () => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }),
  );
}

/** A Postgres with all migrations run at its first start. Not started yet. */
export async function ownPostgres(): Promise<OwnServer> {
  const folder = mkdtempSync(path.join(tmpdir(), 'almanac-own-postgres-'));
  chmodSync(folder, 0o711); // Postgres' own user has to pass through
  const port = await freePort();
  const logFile = path.join(folder, 'postgres.log');
  const url = postgresUrl(folder, port);
  let migrated = false;
  const start = async () => {
    const running = await startPostgres({ folder, port, logFile, environment, durable: true });
    if (!migrated) await migrate(url, createLog('test', 'warn'));
    migrated = true;
    return running;
  };
  return own(url, start, () => {
    removePostgresPlace(folder);
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });
}

function own(address: string, start: () => Promise<Running>, remove: () => void): OwnServer {
  let running: Running | undefined;
  const stop = async () => {
    await running?.stop();
    running = undefined;
  };
  return {
    address,
    start: async () => {
      running = await start();
    },
    stop,
    close: async () => {
      await stop();
      remove();
    },
  };
}
