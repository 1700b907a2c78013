/** Calls and receivers for the tests of targets. */
import type { IncomingMessage, RequestListener, Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { TargetCall, TargetOutcome } from '../../../src/activities/targets/target-call.ts';
import { createLog } from '../../../src/log.ts';

/** A call with a test's own details; `silent` log, 5 s. */
export function aCall(own: Partial<TargetCall> = {}): TargetCall {
  return {
    executionId: 'job_0199-manual-1',
    slot: null,
    dueAt: '2026-11-21T00:00:00Z',
    attempt: 1,
    maxAttempts: 3,
    job: { id: 'job_0199', name: 'nightly', team: 'default' },
    input: null,
    timeoutMs: 5_000,
    signal: new AbortController().signal,
    heartbeat: () => {},
    log: createLog('test', 'silent'),
    ...own,
  };
}

export type Receiver = { port: number; url: string; sockets: Set<Socket>; connections: () => number; close: () => Promise<void> };

/** A real server on loopback. */
export async function receiver(listener: RequestListener, make: (listener: RequestListener) => Server = createServer): Promise<Receiver> {
  const server = make(listener);
  const sockets = new Set<Socket>();
  let connections = 0;
  server.on('connection', (socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    sockets,
    connections: () => connections,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
}

/** The error of an outcome that must have one. */
export function errorOf(outcome: TargetOutcome) {
  if (outcome.status === 'succeeded') throw new Error(`succeeded with ${JSON.stringify(outcome.result)?.slice(0, 200)}`);
  return outcome.error;
}
