/**
 * A process that has just started answers its first thousand requests at half its speed: nothing is compiled yet, and Postgres has planned nothing for its connections. So the
 * hottest requests are rehearsed once, on a socket of this process's own, by a team that has nothing: each is read, checked, asked of Postgres and refused. Nothing is written.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Agent, type RequestListener, request } from 'node:http';
import type { KeyHolder } from '../jobs/api-keys.ts';
import { newJobId } from '../jobs/ids.ts';
import type { FindKey } from './authenticate.ts';
import { startServer } from './server.ts';

type Rehearsed = { path: string; body: object; times: number };

const AT_ONCE = 16;
/** Whoever starts in a hurry has better things to do: it is over after this, however far it has come. */
const LONGEST_MS = 3_000;
const NOBODY: KeyHolder = { holder: 'rehearsal', name: 'rehearsal', team: 'rehearsal', role: 'admin' };

const REQUESTS: Rehearsed[] = [
  { path: `/api/v1/schedule/${newJobId()}/trigger`, body: { input: { rehearsal: true } }, times: 600 },
  {
    path: '/api/v1/jobs',
    body: {
      name: 'rehearsal',
      service: 'rehearsal',
      schedule: { cron: '0 3 1 1 *' },
      target: { type: 'http', service: 'rehearsal', path: '/rehearsal' },
    },
    times: 200,
  },
];

/**
 * Never throws; resolves when all are answered or the time is over.
 * @param appFor makes the application that is rehearsed with; it answers nobody else.
 * @returns how many were answered.
 */
export async function rehearseHotRequests(appFor: (findKey: FindKey) => RequestListener): Promise<number> {
  const key = randomUUID();
  const until = performance.now() + LONGEST_MS;
  const queue = REQUESTS.flatMap((one) => Array.from({ length: one.times }, () => one));
  const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
  let answered = 0;
  try {
    const server = await startServer(
      appFor((asked) => (asked === key ? NOBODY : null)),
      { host: '127.0.0.1', port: 0 },
    );
    const lane = async () => {
      for (let one = queue.shift(); one && performance.now() < until; one = queue.shift()) {
        await ask(agent, server.port, key, one);
        answered += 1;
      }
    };
    await Promise.allSettled(Array.from({ length: AT_ONCE }, lane));
    agent.destroy();
    await server.close();
  } catch {
    // it was only a rehearsal
  }
  return answered;
}

async function ask(agent: Agent, port: number, key: string, { path, body }: Rehearsed): Promise<void> {
  const text = JSON.stringify(body);
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
  const asked = request({ agent, host: '127.0.0.1', port, method: 'POST', path, headers });
  asked.end(text);
  const [response] = await once(asked, 'response');
  response.resume();
  await once(response, 'end');
}
