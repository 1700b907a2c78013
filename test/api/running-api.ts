/** API processes on a database and a namespace of a test file's own. */

import { type AlmanacProcess, startProcess } from '../support/processes.ts';
import { createTestDatabase, createTestNamespace } from '../support/stack.ts';

export const ADMIN_KEY = 'the-admin-key-of-a-test-0123456789abcdef';

export type Answer = {
  status: number;
  headers: Headers;
  text: string;
  body: Record<string, unknown> & { items: Record<string, unknown>[] };
};
export type RunningApi = {
  url: string;
  process: AlmanacProcess;
  call: (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;
};
export type ApiStack = {
  databaseUrl: string;
  start: (settings?: Record<string, string>) => Promise<RunningApi>;
  close: () => Promise<void>;
};

/** Servers for API processes; `start` as often as a test wants copies. */
export async function createApiStack(): Promise<ApiStack> {
  const [database, namespace] = await Promise.all([createTestDatabase(), createTestNamespace()]);
  const running: AlmanacProcess[] = [];
  return {
    databaseUrl: database.url,
    start: async (settings = {}) => {
      const process = await startProcess('api', {
        PORT: '0',
        DATABASE_URL: database.url,
        TEMPORAL_ADDRESS: namespace.address,
        TEMPORAL_NAMESPACE: namespace.name,
        ALMANAC_BOOTSTRAP_KEY: ADMIN_KEY,
        RATE_LIMIT_PER_SECOND: '0',
        ...settings,
      });
      running.push(process);
      const { port } = await process.line((line) => line.msg === 'ready');
      const url = `http://127.0.0.1:${port}`;
      const api: RunningApi = { url, process, call: (method, path, body, headers) => call(url, method, path, body, headers) };
      if (settings.DATABASE_URL === undefined) await untilKeyIsThere(api);
      return api;
    },
    close: async () => {
      await Promise.all(running.map((process) => process.stop()));
      await database.drop();
    },
  };
}

/** The key is written in the background, so that a start needs no Postgres. */
async function untilKeyIsThere(api: RunningApi): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    // A key that was not there a moment ago is asked for again after 2 s; a fresh query has no such memory before its first use.
    const { status } = await api.call('GET', '/api/v1/services');
    if (status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('the bootstrap key did not come');
}

async function call(url: string, method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    redirect: 'manual',
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    headers: { Authorization: `Bearer ${ADMIN_KEY}`, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: text.startsWith('{') ? JSON.parse(text) : {} };
}
