/** A client of the API that does not give up: whatever it sends is repeated under the same Idempotency-Key until it is acknowledged. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ADMIN_KEY } from './stage.ts';

export type Acknowledged = { status: number; body: Record<string, unknown>; tries: number; tookMs: number };
export type Client = {
  /** @throws Error when the answer is a refusal, or does not come within a minute. */
  send: (method: string, path: string, body?: unknown, key?: string) => Promise<Acknowledged>;
  /** Longest time any acknowledgement took, milliseconds. */
  slowestMs: () => number;
};

const GIVE_UP_MS = 60_000;
const ANSWER_WITHIN_MS = 20_000;
const PAUSE_MS = 200;

export function createClient(urls: string[]): Client {
  let turn = 0;
  let slowestMs = 0;
  return {
    slowestMs: () => slowestMs,
    async send(method, path, body, key = randomUUID()) {
      const startedAt = Date.now();
      let last = '';
      for (let tries = 1; Date.now() - startedAt < GIVE_UP_MS; tries += 1) {
        const url = urls[turn++ % urls.length]!;
        try {
          const response = await fetch(url + path, {
            method,
            signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
            headers: {
              authorization: `Bearer ${ADMIN_KEY}`,
              ...(body === undefined ? {} : { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' }),
              ...(method === 'POST' ? { 'idempotency-key': key } : {}),
            },
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          });
          const text = await response.text();
          // one that another of its job kept from running has its row, which says so
          if (response.ok || (response.status === 409 && text.includes('"skippedId"'))) {
            const tookMs = Date.now() - startedAt;
            slowestMs = Math.max(slowestMs, tookMs);
            return { status: response.status, body: JSON.parse(text) as Record<string, unknown>, tries, tookMs };
          }
          last = `${response.status} ${text.slice(0, 500)}`;
          // 401: the key of this rig is not known yet to a process that has just started without a database
          if (response.status < 500 && response.status !== 401) throw new Refused(`${method} ${path}: ${last}`);
        } catch (error) {
          if (error instanceof Refused) throw error;
          last = error instanceof Error ? `${error.message} ${error.cause ?? ''}` : String(error);
        }
        await sleep(PAUSE_MS);
      }
      throw new Error(`not acknowledged within ${GIVE_UP_MS / 1000} s: ${method} ${path}: ${last}`);
    },
  };
}

/** The API said no: a fault of the rig or of the API, never of a kill. */
export class Refused extends Error {
  override name = 'Refused';
}
