/** The receiver whose own log is the truth: what was called, when, and how it was answered. It lives in the rig's process, which nobody kills. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from './random.ts';

export type Answer = 'ok' | 'unavailable' | 'never';
/** One call as the receiver saw it. Times are milliseconds since 1970. */
export type Call = {
  execution: string;
  job: string;
  attempt: number;
  slot: string | null;
  path: string;
  answer: Answer;
  begunAt: number;
  /** When the whole answer had been handed to the network; null: never, or the caller had gone. */
  answeredAt: number | null;
  /** When the caller went away without an answer. */
  brokenAt: number | null;
};
export type Truth = { url: string; calls: Call[]; open: () => number; close: () => Promise<void> };

/** How each path answers: how long it takes, how often it says 503, how often it says nothing at all. */
const MANNERS: Record<string, { leastMs: number; mostMs: number; unavailable: number; never: number }> = {
  '/quick': { leastMs: 50, mostMs: 1_500, unavailable: 0.1, never: 0.02 },
  '/flaky': { leastMs: 50, mostMs: 400, unavailable: 0.5, never: 0 },
  '/slow': { leastMs: 1_500, mostMs: 3_500, unavailable: 0.08, never: 0.02 },
  /** Never wrong, and soon over: for loads of which only the slots are looked at. */
  '/steady': { leastMs: 5, mostMs: 150, unavailable: 0, never: 0 },
  '/long': { leastMs: 10_500, mostMs: 13_000, unavailable: 0.1, never: 0 },
};

export async function startTruth(random: Random): Promise<Truth> {
  const calls: Call[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    const manner = MANNERS[path] ?? MANNERS['/quick']!;
    const answer: Answer = random.chance(manner.never) ? 'never' : random.chance(manner.unavailable) ? 'unavailable' : 'ok';
    const call: Call = {
      execution: String(request.headers['x-almanac-execution-id']),
      job: String(request.headers['x-almanac-job-id']),
      attempt: Number(request.headers['x-almanac-attempt']),
      slot: request.headers['x-almanac-slot'] === undefined ? null : String(request.headers['x-almanac-slot']),
      path,
      answer,
      begunAt: Date.now(),
      answeredAt: null,
      brokenAt: null,
    };
    calls.push(call);
    request.resume();
    response.on('finish', () => {
      call.answeredAt = Date.now();
    });
    response.on('close', () => {
      if (call.answeredAt === null) call.brokenAt = Date.now();
    });
    if (answer === 'never') return;
    void sleep(random.between(manner.leastMs, manner.mostMs)).then(() => {
      if (!response.destroyed) response.writeHead(answer === 'ok' ? 200 : 503).end(answer);
    });
  });
  server.keepAliveTimeout = 30_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    open: () => calls.filter((call) => call.answeredAt === null && call.brokenAt === null).length,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
