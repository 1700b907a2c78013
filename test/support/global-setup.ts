/** Node's test runner calls these once around the whole run: one Postgres and one Temporal for all files, on free ports, in a temporary folder. */
import { type Stack, startStack } from './stack.ts';

let stack: Stack | undefined;

export async function globalSetup(): Promise<void> {
  stack = await startStack((message) => console.error(message));
  process.env.ALMANAC_TEST_DATABASE_URL = stack.databaseUrl;
  process.env.ALMANAC_TEST_TEMPORAL_ADDRESS = stack.temporalAddress;
}

export async function globalTeardown(): Promise<void> {
  await stack?.stop();
}
