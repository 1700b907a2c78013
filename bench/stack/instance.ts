/** A whole Almanac as a person has it: `npm start` with a home and ports of its own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { freePort } from '../../src/embedded/ports.ts';
import { call, polls, RAISED_RATE_LIMIT_PER_S } from './almanac.ts';
import { treeOf } from './process-tree.ts';
import { type Process, startProcess, until } from './processes.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const READY_MS = 120_000;
const STOP_MS = 40_000;

export type Ports = { api: number; temporal: number; ui: number; postgres: number };
export type Started = { npm: Process; postS: number; pollS: number; origin: string; headers: Record<string, string> };

export const freePorts = async (): Promise<Ports> => ({
  api: await freePort(),
  temporal: await freePort(),
  ui: await freePort(),
  postgres: await freePort(),
});

/** Runs `npm start` and waits for the first POST with the admin key that is answered 201, and for a worker that polls. Seconds since the command. */
export async function startInstance(home: string, ports: Ports, logFile: string): Promise<Started> {
  const from = performance.now();
  const elapsed = () => (performance.now() - from) / 1_000;
  // A signal to npm alone ends npm alone: when something goes wrong, the bench stops the whole tree.
  const npm = startProcess('npm start', 'npm', ['--prefix', ROOT, 'start'], logFile, environment(home, ports), { tree: true });
  const origin = `http://127.0.0.1:${ports.api}`;
  const headers: Record<string, string> = {};
  const name = `first-${Date.now().toString(36)}`;
  const post = until(
    'the first POST',
    READY_MS,
    async () => {
      headers.authorization = `Bearer ${readFileSync(join(home, 'admin-key'), 'utf8').trim()}`;
      await call(origin, headers, 'POST', '/api/v1/jobs', { name, target: { type: 'http', url: 'https://example.com/' } });
      return true;
    },
    npm,
  ).then(elapsed);
  const connection = Connection.lazy({ address: `127.0.0.1:${ports.temporal}` });
  const client = new Client({ connection });
  const poll = until(
    'a polling worker',
    READY_MS,
    () => client.withDeadline(Date.now() + 500, () => polls(client, 'default', 'almanac-default')),
    npm,
  ).then(elapsed);
  try {
    const [postS, pollS] = await Promise.all([post, poll]);
    return { npm, postS, pollS, origin, headers };
  } finally {
    // A call that is still being retried must not meet a closed channel.
    await poll.catch(() => {});
    await connection.close();
  }
}

function environment(home: string, ports: Ports): NodeJS.ProcessEnv {
  const { DATABASE_URL: _database, TEMPORAL_ADDRESS: _temporal, NODE_OPTIONS: _options, ...rest } = process.env;
  return {
    // npm's own variables of the bench's run would be taken for settings of the new one.
    ...Object.fromEntries(Object.entries(rest).filter(([name]) => !name.startsWith('npm_') && !name.startsWith('ALMANAC_'))),
    ALMANAC_HOME: home,
    PORT: String(ports.api),
    ALMANAC_TEMPORAL_PORT: String(ports.temporal),
    ALMANAC_TEMPORAL_UI_PORT: String(ports.ui),
    ALMANAC_POSTGRES_PORT: String(ports.postgres),
    RATE_LIMIT_PER_SECOND: String(RAISED_RATE_LIMIT_PER_S),
  };
}

/** Ctrl-C, and the wait for the end. */
export async function stopInstance(home: string, { npm }: Started): Promise<void> {
  const { pid } = JSON.parse(readFileSync(join(home, 'run', 'lock'), 'utf8')) as { pid: number };
  npm.expectEnd();
  process.kill(pid, 'SIGINT');
  await until('the end of npm start', STOP_MS, async () => !npm.alive());
}

/** kill -9 of everything it has started, all at once, as a power cut would. */
export async function killInstance({ npm }: Started): Promise<void> {
  npm.expectEnd();
  for (const pid of treeOf(npm.child.pid!)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // ended by itself in the meantime
    }
  }
  await until('the end of npm start', STOP_MS, async () => !npm.alive());
}
