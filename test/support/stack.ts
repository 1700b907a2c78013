/**
 * The real servers that tests stand on: one Postgres and one Temporal for the whole run (test/support/global-setup.ts starts them), or, when a
 * single file is run by itself, for that file. Each file takes a database and a namespace of its own.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Connection, isGrpcServiceError } from '@temporalio/client';
import pg from 'pg';
import { type StackAddresses, type StackMessage, TEMPLATE } from './stack-messages.ts';

const KEEPER = fileURLToPath(new URL('./stack-keeper.ts', import.meta.url));
const ALREADY_EXISTS = 6;
const USABLE_WITHIN_MS = 30_000;

export type Stack = StackAddresses & { stop: () => Promise<void>; unref: () => void };

/** Starts both servers under a keeper. They go when `stop` is called, or with this process, however it ends. */
export async function startStack(progress: (message: string) => void = () => {}): Promise<Stack> {
  const keeper = fork(KEEPER, { execArgv: [], detached: true, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const addresses = await new Promise<StackAddresses>((resolve, reject) => {
    keeper.on('message', (message: StackMessage) => {
      if (message.kind === 'progress') progress(message.message);
      else if (message.kind === 'ready') resolve({ databaseUrl: message.databaseUrl, temporalAddress: message.temporalAddress });
      else reject(new Error(message.message));
    });
    keeper.once('exit', (code) => reject(new Error(`the test servers' keeper ended with ${code}`)));
    keeper.once('error', reject);
  });
  keeper.removeAllListeners('message');
  const unref = () => {
    keeper.unref();
    keeper.channel?.unref();
  };
  return { ...addresses, stop: () => stopKeeper(keeper), unref };
}

async function stopKeeper(keeper: ChildProcess): Promise<void> {
  if (keeper.exitCode !== null || keeper.signalCode !== null) return;
  keeper.ref();
  const gone = new Promise((resolve) => keeper.once('exit', resolve));
  keeper.disconnect();
  await gone;
}

let addresses: Promise<StackAddresses> | undefined;

/** Addresses of the run's servers; started for this process alone when nobody did. */
export function stackAddresses(): Promise<StackAddresses> {
  addresses ??= givenOrOwn();
  return addresses;
}

async function givenOrOwn(): Promise<StackAddresses> {
  const { ALMANAC_TEST_DATABASE_URL: databaseUrl, ALMANAC_TEST_TEMPORAL_ADDRESS: temporalAddress } = process.env;
  if (databaseUrl && temporalAddress) return { databaseUrl, temporalAddress };
  const own = await startStack((message) => console.error(message));
  // Neither the keeper nor its channel holds this process up: when its tests are done it ends, and the keeper notices.
  own.unref();
  return own;
}

export type TestDatabase = { url: string; drop: () => Promise<void> };

/** A database of its own with all migrations run: a clone of the run's template, made in milliseconds. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const { databaseUrl } = await stackAddresses();
  const name = `test_${randomBytes(8).toString('hex')}`;
  await statement(databaseUrl, `CREATE DATABASE ${name} TEMPLATE ${TEMPLATE}`);
  const url = new URL(databaseUrl);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => statement(databaseUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

async function statement(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

export type TestNamespace = { address: string; name: string };

/** A Temporal namespace of its own, registered and usable. It goes with the server. */
export async function createTestNamespace(): Promise<TestNamespace> {
  const { temporalAddress: address } = await stackAddresses();
  const name = `test-${randomBytes(8).toString('hex')}`;
  const connection = Connection.lazy({ address });
  try {
    await connection.workflowService.registerNamespace({ namespace: name, workflowExecutionRetentionPeriod: { seconds: 86_400 as never } });
    await usable(connection, name);
    return { address, name };
  } finally {
    await connection.close();
  }
}

/** The server's parts hear of a namespace one after the other; it is usable when one that is busy with it (visibility) answers. */
async function usable(connection: Connection, namespace: string): Promise<void> {
  for (const until = Date.now() + USABLE_WITHIN_MS; ; await sleep(50)) {
    try {
      await connection.workflowService.describeNamespace({ namespace });
      await connection.workflowService.listWorkflowExecutions({ namespace, pageSize: 1 });
      return;
    } catch (error) {
      if (Date.now() > until || (isGrpcServiceError(error) && error.code === ALREADY_EXISTS)) throw error;
    }
  }
}
