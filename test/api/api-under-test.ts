/** The application behind a real HTTP server on a free port, with the routes a test brings. */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type AppDeps, type AppSettings, createApp } from '../../src/api/app.ts';
import type { RoutesOfGroup } from '../../src/api/route.ts';
import { createLog } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics.ts';
import { createReadiness } from '../../src/readiness.ts';

export const TEST_KEY = 'a-key-of-the-tests-with-enough-characters';
const HOLDER = { holder: 'key_test', name: 'tests', team: 'default', role: 'admin' as const };

export const SETTINGS: AppSettings = {
  RATE_LIMIT_PER_SECOND: 0,
  RATE_LIMIT_BURST: 2,
  RATE_LIMIT_BURST_S: 10,
  TRUST_PROXY: 0,
  BODY_LIMIT_BYTES: 20_000,
  BODY_LIMIT_BATCH_BYTES: 200_000,
  IDEMPOTENCY_KEEP_HOURS: 24,
  METRICS_TOKEN: '',
  PUBLIC_URL: '',
  API_GROUPS: ['jobs', 'schedule', 'executions'],
};

export type ApiUnderTest = {
  url: string;
  deps: AppDeps;
  call: (path: string, init?: RequestInit) => Promise<Response>;
  close: () => Promise<void>;
};

/** Serves an application; `call` sends the test's key and JSON unless the test says otherwise. */
export async function serveApi(
  groups: RoutesOfGroup[],
  { settings = {}, deps = {} }: { settings?: Partial<AppSettings>; deps?: Partial<AppDeps> } = {},
): Promise<ApiUnderTest> {
  const all: AppDeps = {
    config: { ...SETTINGS, ...settings },
    log: createLog('test', 'silent'),
    accessLog: createLog('test', 'silent'),
    metrics: createMetrics('test'),
    readiness: createReadiness([]),
    findKey: (key) => (key === TEST_KEY ? HOLDER : null),
    idempotency: { find: async () => null, complete: async (_context, response) => response },
    groups,
    version: '0.0.0',
    ...deps,
  };
  const server = createServer(createApp(all));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    deps: all,
    call: (path, init = {}) =>
      fetch(`${url}${path}`, {
        redirect: 'manual',
        ...init,
        headers: { Authorization: `Bearer ${TEST_KEY}`, ...(init.body ? { 'Content-Type': 'application/json' } : {}), ...init.headers },
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

// biome-ignore lint/suspicious/noExplicitAny: a test looks into answers of every shape, and fails when the shape is another one
export const jsonOf = async (response: Response): Promise<any> => JSON.parse(await response.text());

/** The problem of an answer, after a look at what every problem must have. */
export async function problemIn(
  response: Response,
): Promise<{ status: number; code: string; detail: string; errors?: { path: string; code: string }[]; [more: string]: unknown }> {
  const body = await jsonOf(response);
  const type = response.headers.get('content-type');
  const members = ['type', 'title', 'status', 'detail', 'code', 'requestId'].filter((member) => body[member] === undefined);
  if (!type?.startsWith('application/problem+json') || members.length > 0 || body.status !== response.status) {
    throw new Error(`not a problem: ${response.status} ${type} without ${members.join(', ')}: ${JSON.stringify(body)}`);
  }
  if (body.requestId !== response.headers.get('x-request-id')) throw new Error('the problem has another request id than the header');
  return body;
}
