/** Postgres and Temporal of the bench's own: the embedded mode's, with all that keeps data safe, in a temporary folder, on free ports. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../src/embedded/ports.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { removePostgresPlace } from '../../src/embedded/postgres-place.ts';
import { findTemporal } from '../../src/embedded/temporal-binary.ts';
import { startTemporal } from '../../src/embedded/temporal-server.ts';

export type OwnServers = {
  databaseUrl?: string;
  temporalAddress?: string;
  pids: { postgres?: number; temporal?: number };
  close: () => Promise<void>;
};

const environment = { ...process.env };

/** @param folder made when missing; every folder above it must let any user through, because Postgres does not run as root. */
export async function startOwnServers(folder: string, wanted: { postgres: boolean; temporal: boolean }): Promise<OwnServers> {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const closes: (() => Promise<void>)[] = [];
  const servers: OwnServers = {
    pids: {},
    close: async () => {
      for (const close of closes.reverse()) await close();
    },
  };
  if (wanted.postgres) {
    const running = await startPostgres({
      folder,
      port: await freePort(),
      logFile: join(folder, 'postgres.log'),
      environment,
      durable: true,
    });
    servers.databaseUrl = running.url;
    servers.pids.postgres = running.identity.pid;
    closes.push(async () => {
      await running.stop();
      removePostgresPlace(folder);
    });
  }
  if (wanted.temporal) {
    const port = await freePort();
    const running = await startTemporal({
      command: await findTemporal({ environment, progress: console.log }),
      port,
      namespace: 'default',
      databaseFile: join(folder, 'temporal.db'),
      folder,
      logFile: join(folder, 'temporal.log'),
      environment,
    });
    servers.pids.temporal = running.identity.pid;
    servers.temporalAddress = `127.0.0.1:${port}`;
    closes.push(() => running.stop());
  }
  return servers;
}
