/** Idempotency-Key on POST: the same request again gets the same answer, also while the first is still under way. */
import { hash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KeyHolder } from '../jobs/api-keys.ts';
import { JobError } from '../jobs/errors.ts';
import { type IdempotencyContext, IdempotencyKeyTaken, type StoredResponse } from '../jobs/idempotency.ts';
import { type Reply, storedOf } from './request.ts';

/** The store, as src/jobs/idempotency.ts has it, bound to a database. */
export type IdempotencyStore = {
  find: (context: IdempotencyContext) => Promise<StoredResponse | null>;
  complete: (context: IdempotencyContext, response: StoredResponse) => Promise<StoredResponse>;
};

export type IdempotentRequest = { holder: KeyHolder; method: string; path: string; key: string; bytes: Buffer | undefined };

const VISIBLE = /^[\x21-\x7e]{1,255}$/;
const LONGEST_WAIT_MS = 10_000;

/** The header's key, undefined without one. @throws JobError `malformed` */
export function parseIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (typeof header === 'string' && VISIBLE.test(header)) return header;
  throw new JobError(
    'malformed',
    'malformed_idempotency_key',
    'Idempotency-Key must be 1 to 255 visible ASCII characters without blanks.',
    {
      errors: [{ path: 'header/Idempotency-Key', message: 'must be 1 to 255 visible ASCII characters', code: 'malformed_idempotency_key' }],
    },
  );
}

export function createIdempotency(store: IdempotencyStore, keepHours: number) {
  /** Requests of this process that are under way: the second waits here and needs no connection of its own. */
  const underWay = new Map<string, { bodyHash: Buffer; run: Promise<Reply> }>();

  /**
   * Runs `work` once per key. It gets the context its use case claims the key with; a use case that claims nothing has its answer
   * stored afterwards.
   */
  return async function once(
    request: IdempotentRequest,
    work: (contextFor: (render: (value: never) => Reply) => IdempotencyContext) => Promise<Reply>,
  ): Promise<Reply> {
    const context: IdempotencyContext = {
      team: request.holder.team,
      holder: request.holder.holder,
      method: request.method,
      path: request.path,
      key: request.key,
      bodyHash: hash('sha256', request.bytes ?? '', 'buffer'),
      keepHours,
      render: () => ({ status: 202, location: null, body: '' }),
    };
    const id = JSON.stringify([context.holder, context.method, context.path, context.key]);
    const until = Date.now() + LONGEST_WAIT_MS;
    for (let first = underWay.get(id); first; first = underWay.get(id)) {
      const its = await finished(first.run, until);
      if (its && first.bodyHash.equals(context.bodyHash)) return replay(storedOf(its));
    }
    const mine = { bodyHash: context.bodyHash, run: answer(context, work) };
    underWay.set(id, mine);
    try {
      return await mine.run;
    } finally {
      underWay.delete(id);
    }
  };

  async function answer(
    context: IdempotencyContext,
    work: (contextFor: (render: (value: never) => Reply) => IdempotencyContext) => Promise<Reply>,
  ): Promise<Reply> {
    const stored = await store.find(context);
    if (stored) return replay(stored);
    let fresh: Reply;
    try {
      fresh = await work((render) => {
        context.render = (value) => storedOf(render(value as never));
        return context;
      });
    } catch (error) {
      // Another process was first: its answer is this one's too, whatever this one stumbled over (the name it took, the key itself).
      const other =
        error instanceof IdempotencyKeyTaken || (error instanceof JobError && error.kind === 'conflict') ? await store.find(context) : null;
      if (other) return replay(other);
      if (error instanceof IdempotencyKeyTaken) throw stillUnderWay();
      throw error;
    }
    // The write is committed: when Postgres goes away just now, its provisional answer stands in for others, and this one is true.
    const final = await store.complete(context, storedOf(fresh)).catch(() => null);
    return final === null || final.body === (fresh.json ?? '') ? fresh : replay(final);
  }
}

/** The first one's answer; null when it failed, so that the next may try. */
async function finished(first: Promise<Reply>, until: number): Promise<Reply | null> {
  const timer = new AbortController();
  const late = sleep(Math.max(0, until - Date.now()), 'late' as const, { signal: timer.signal, ref: false });
  const result = await Promise.race([first.catch(() => null), late.catch(() => null)]);
  timer.abort();
  if (result === 'late') throw stillUnderWay();
  return result;
}

const stillUnderWay = () =>
  new JobError('conflict', 'idempotency_in_progress', 'A request with this Idempotency-Key is still under way; try again in a moment.', {
    retryAfterS: 1,
  });

function replay(stored: StoredResponse): Reply {
  const headers: Record<string, string> = { 'Idempotency-Replayed': 'true' };
  if (stored.location) headers.Location = stored.location;
  return { status: stored.status, json: stored.body === '' ? null : stored.body, headers };
}
