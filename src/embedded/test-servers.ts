/** Both servers for tests and benches: in a temporary folder, on free ports, gone without a trace when closed. */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from './places.ts';
import { answers, freePort } from './ports.ts';
import { startPostgres } from './postgres.ts';
import { endProcess, identityOf } from './process-identity.ts';
import { startTemporal } from './temporal.ts';
import { findTemporal } from './temporal-binary.ts';

export type TestServers = {
  /** Address of the cluster's `postgres` database. */
  databaseUrl: string;
  temporalAddress: string;
  /** Path of the `temporal` command. */
  temporalBinary: string;
  postgresPid: number;
  temporalPid: number;
  close: () => Promise<void>;
};

const START_MS = 60_000;

/** @param options.durable Postgres with fsync and Temporal on disk, as an instance has them; for benches. */
export async function startTestServers(
  environment: NodeJS.ProcessEnv,
  options: { durable?: boolean; progress?: (text: string) => void } = {},
): Promise<TestServers> {
  const progress = options.progress ?? (() => {});
  const binary = await findTemporal(environment, cacheFolder(environment), progress);
  const folder = mkdtempSync(join(tmpdir(), 'almanac-test-'));
  // Postgres runs as another user when this is root; its own folders inside are private again.
  chmodSync(folder, 0o755);
  const password = randomBytes(12).toString('hex');
  const [postgresPort, temporalPort] = [await freePort(), await freePort()];
  const postgres = startPostgres({
    data: join(folder, 'postgres'),
    publicFolder: join(folder, 'public'),
    port: postgresPort,
    password,
    logFile: join(folder, 'postgres.log'),
    durable: options.durable ?? false,
  });
  const temporal = startTemporal({
    binary,
    port: temporalPort,
    uiPort: null,
    file: options.durable ? join(folder, 'temporal.db') : null,
    logFile: join(folder, 'temporal.log'),
  });
  const [postgresIs, temporalIs] = [identityOf(postgres.pid), identityOf(temporal.pid)];
  const close = async () => {
    await Promise.all([endProcess(postgresIs, 'SIGINT', 10_000), endProcess(temporalIs, 'SIGTERM', 5_000)]);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  const up = await Promise.all([answers(postgresPort, START_MS), answers(temporalPort, START_MS)]);
  if (!up.every(Boolean)) {
    await close();
    throw new Error(`the test servers did not start: Postgres ${up[0]}, Temporal ${up[1]}`);
  }
  return {
    databaseUrl: `postgres://postgres:${password}@127.0.0.1:${postgresPort}/postgres`,
    temporalAddress: temporal.address,
    temporalBinary: binary,
    postgresPid: postgres.pid,
    temporalPid: temporal.pid,
    close,
  };
}
