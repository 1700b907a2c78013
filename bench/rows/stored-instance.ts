/** A home with 1,000 stored jobs, made once per run of the bench: `start` and `memory` both begin from it. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { forkHelper } from '../load/helper-process.ts';
import type { HttpLoad, HttpLoadResult } from '../load/http-load.ts';
import { freePorts, type Ports, startInstance, stopInstance } from '../stack/instance.ts';
import { until } from '../stack/processes.ts';
import { onlyStatus, type RowContext } from './row.ts';
import { jobBody } from './stored-jobs.ts';

export const STORED = 1_000;
const SYNC_MS = 120_000;
export type StoredInstance = { home: string; ports: Ports; logFile: string };
let made: Promise<StoredInstance> | undefined;

export function storedInstance(context: RowContext): Promise<StoredInstance> {
  made ??= make(context);
  return made;
}

async function make({ folder, say }: RowContext): Promise<StoredInstance> {
  say(`npm start, and ${STORED} jobs stored`);
  const home = join(folder, '..', 'home');
  mkdirSync(home, { recursive: true });
  const instance = { home, ports: await freePorts(), logFile: join(folder, 'npm-start.log') };
  const started = await startInstance(home, instance.ports, instance.logFile);
  const load = forkHelper<HttpLoad, HttpLoadResult>('load/http-load.ts');
  const result = await load.ask({
    origin: started.origin,
    headers: { ...started.headers, prefer: 'respond-async' },
    requests: Array.from({ length: STORED }, (_, index) => ({
      method: 'POST',
      path: '/api/v1/jobs',
      body: JSON.stringify(jobBody(index, 'stored')),
    })),
    connections: 8,
  });
  await load.close();
  onlyStatus('POST /api/v1/jobs', result.statuses, 201, result.bodies);
  await until('all schedules in Temporal', SYNC_MS, async () => (await schedules(instance.ports.temporal)) >= STORED, started.npm, 500);
  await stopInstance(home, started);
  return instance;
}

async function schedules(port: number): Promise<number> {
  const connection = await Connection.connect({ address: `127.0.0.1:${port}` });
  try {
    let count = 0;
    for await (const _ of new Client({ connection }).schedule.list({ pageSize: 1_000 })) count += 1;
    return count;
  } finally {
    await connection.close();
  }
}
