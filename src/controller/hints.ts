/** Listens for hints on a Postgres channel with one connection that is kept up. A hint may be lost: whoever uses them also looks by himself. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Notification } from 'pg';
import type { Pool } from '../postgres.ts';

export type Hints = { start(): void; stop(): Promise<void> };

export function createHints(pool: Pool, channel: string, onHint: (payload: string) => void): Hints {
  const stopping = new AbortController();
  const stopped = new Promise<void>((resolve) => stopping.signal.addEventListener('abort', () => resolve(), { once: true }));
  let running: Promise<void> | undefined;

  async function listenOnce(): Promise<void> {
    const client = await pool.connect();
    const lost = new Promise<void>((resolve) => {
      client.once('error', () => resolve());
      client.once('end', () => resolve());
    });
    client.on('error', () => {}); // a second error of the same connection must not end the process
    client.on('notification', ({ payload }: Notification) => onHint(payload ?? ''));
    try {
      await client.query(`LISTEN ${channel}`);
      await Promise.race([lost, stopped]);
    } finally {
      client.release(true);
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await listenOnce().catch(() => {}); // the loops say that Postgres is away
      await sleep(1_000, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  return {
    start() {
      running ??= run();
    },
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
