/** A real Temporal server for the tests of time: the suite's own (`ALMANAC_TEST_TEMPORAL_ADDRESS`), else a dev server from the `temporal` command, stopped by `close`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';

export type TestTemporal = { client: Client; close: () => Promise<void> };

export async function connectTestTemporal(): Promise<TestTemporal> {
  const given = process.env.ALMANAC_TEST_TEMPORAL_ADDRESS;
  if (given) return connect(given, async () => {});
  const port = await freePort();
  const server = spawn(
    'temporal',
    ['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--headless', '--log-level', 'error'],
    { stdio: 'ignore' },
  );
  const stopped = once(server, 'exit');
  return connect(`127.0.0.1:${port}`, async () => {
    server.kill();
    await stopped;
  });
}

async function connect(address: string, stop: () => Promise<void>): Promise<TestTemporal> {
  const connection = Connection.lazy({ address });
  const client = new Client({ connection, namespace: 'default' });
  const close = async () => {
    await connection.close();
    await stop();
  };
  for (let left = 150; ; left -= 1) {
    try {
      await client.workflowService.describeNamespace({ namespace: 'default' });
      return { client, close };
    } catch (error) {
      if (left === 0) {
        await close();
        throw error;
      }
      await wait(100);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address ? address.port : 0;
}
