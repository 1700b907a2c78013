/**
 * The servers that tests run against: those of the whole run, or, when a file is run alone, a pair of its own.
 * Each file has a database cloned from a migrated template and a Temporal namespace to itself.
 */
import { randomBytes } from 'node:crypto';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { startTestServers, type TestServers } from '../../src/embedded/test-servers.ts';
import { createLog } from '../../src/log.ts';
import { knownMigrations, migrate } from '../../src/migrate.ts';

type Addresses = { databaseUrl: string; temporalAddress: string; temporalBinary: string };
let own: Promise<TestServers> | undefined;

/** Where the servers are. Starts a pair for this file when the run has none. */
export async function testServers(): Promise<Addresses> {
  const { ALMANAC_TEST_DATABASE_URL, ALMANAC_TEST_TEMPORAL_ADDRESS, ALMANAC_TEST_TEMPORAL_BINARY } = process.env;
  if (ALMANAC_TEST_DATABASE_URL && ALMANAC_TEST_TEMPORAL_ADDRESS) {
    return {
      databaseUrl: ALMANAC_TEST_DATABASE_URL,
      temporalAddress: ALMANAC_TEST_TEMPORAL_ADDRESS,
      temporalBinary: ALMANAC_TEST_TEMPORAL_BINARY ?? 'temporal',
    };
  }
  if (!own) {
    own = startTestServers(process.env);
    // After the file's own hooks, when nothing keeps the process busy any more.
    process.once('beforeExit', () => void own?.then((servers) => servers.close()));
  }
  return await own;
}

export type TestDatabase = { url: string; drop: () => Promise<void> };

/** An empty, migrated database of this file's own. Drop it in `after`, when its pools are closed. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const { databaseUrl } = await testServers();
  const template = `template_${knownMigrations().length}`;
  const name = `test_${randomBytes(8).toString('hex')}`;
  await withClient(databaseUrl, async (client) => {
    // Several files may ask at once: the first one makes the template, under a lock.
    await client.query('SELECT pg_advisory_lock(1)');
    const made = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [template]);
    if (made.rowCount === 0) {
      await client.query(`CREATE DATABASE building_${template}`);
      await migrate(urlOf(databaseUrl, `building_${template}`), createLog('test', 'warn'));
      await client.query(`ALTER DATABASE building_${template} RENAME TO ${template}`);
    }
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`);
    await client.query('SELECT pg_advisory_unlock(1)');
  });
  return {
    url: urlOf(databaseUrl, name),
    drop: () => withClient(databaseUrl, async (client) => void (await client.query(`DROP DATABASE ${name} WITH (FORCE)`))),
  };
}

function urlOf(base: string, database: string): string {
  const url = new URL(base);
  url.pathname = `/${database}`;
  return url.href;
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** A Temporal namespace of this file's own, usable when this returns. */
export async function createTestNamespace(): Promise<{ name: string; address: string }> {
  const { temporalAddress } = await testServers();
  const name = `test-${randomBytes(8).toString('hex')}`;
  const connection = await Connection.connect({ address: temporalAddress });
  try {
    await connection.workflowService.registerNamespace({ namespace: name, workflowExecutionRetentionPeriod: { seconds: 86_400 } as never });
    // The frontend learns of a namespace from a cache that is refreshed every second or so.
    for (let tries = 0; ; tries++) {
      try {
        await connection.workflowService.listSchedules({ namespace: name, maximumPageSize: 1 });
        await connection.workflowService.describeTaskQueue({ namespace: name, taskQueue: { name: 'any' }, taskQueueType: 1 });
        break;
      } catch (error) {
        if (tries > 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  } finally {
    await connection.close();
  }
  return { name, address: temporalAddress };
}
