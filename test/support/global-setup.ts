/** One Postgres and one Temporal for all test files of a run; node's runner calls these around them. */
import { startTestServers, type TestServers } from '../../src/embedded/test-servers.ts';

let servers: TestServers | undefined;

export async function globalSetup(): Promise<void> {
  servers = await startTestServers(process.env, { progress: (text) => process.stderr.write(`almanac: ${text}\n`) });
  process.env.ALMANAC_TEST_DATABASE_URL = servers.databaseUrl;
  process.env.ALMANAC_TEST_TEMPORAL_ADDRESS = servers.temporalAddress;
  process.env.ALMANAC_TEST_TEMPORAL_BINARY = servers.temporalBinary;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void globalTeardown().finally(() => process.exit(1)));
}

export async function globalTeardown(): Promise<void> {
  await servers?.close();
  servers = undefined;
}
