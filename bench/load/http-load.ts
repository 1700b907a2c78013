/**
 * The load generator: a process of its own, so that making load and answering it do not share an event loop. It is forked with a channel, takes one
 * `HttpLoad` at a time and answers with an `HttpLoadResult`. Answers are kept as bytes and looked into after the clock has stopped.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';

export type HttpRequest = { method?: 'GET' | 'POST'; path: string; body?: string };
export type HttpLoad = {
  origin: string;
  headers: Record<string, string>;
  /** Taken in order; from the start again when `repeat` is set. */
  requests: HttpRequest[];
  repeat?: boolean;
  connections: number;
  /** Closed loop: every connection sends its next request when the last one is answered, until this much time has passed. */
  durationMs?: number;
  /** Open loop instead: so many requests per second, whatever becomes of them. */
  ratePerS?: number;
  /** Answer with the bodies too. */
  keepBodies?: boolean;
};
export type HttpLoadResult = {
  count: number;
  /** From the first request to the last answer. */
  seconds: number;
  /** Of one answer, headers excluded, as it came over the wire. */
  bytes: number;
  statuses: Record<string, number>;
  encodings: Record<string, number>;
  latenciesMs: number[];
  /** When the requests were sent, milliseconds since 1970, in the order of `bodies`. */
  sentAt: number[];
  bodies: string[];
};

async function run(load: HttpLoad): Promise<HttpLoadResult> {
  const pool = new Pool(load.origin, { connections: load.connections, pipelining: 1 });
  const result: HttpLoadResult = { count: 0, seconds: 0, bytes: 0, statuses: {}, encodings: {}, latenciesMs: [], sentAt: [], bodies: [] };
  const kept: Buffer[] = [];
  let bytes = 0;
  let next = 0;
  const take = (): HttpRequest | undefined => {
    const index = next++;
    return load.requests[load.repeat ? index % load.requests.length : index];
  };
  const send = async (request: HttpRequest): Promise<void> => {
    const at = performance.now();
    const answer = await pool.request({
      path: request.path,
      method: request.method ?? 'GET',
      headers: request.body === undefined ? load.headers : { ...load.headers, 'content-type': 'application/json' },
      ...(request.body === undefined ? {} : { body: request.body }),
    });
    const body = Buffer.from(await answer.body.arrayBuffer());
    result.latenciesMs.push(performance.now() - at);
    result.sentAt.push(performance.timeOrigin + at);
    result.count += 1;
    bytes += body.length;
    result.statuses[answer.statusCode] = (result.statuses[answer.statusCode] ?? 0) + 1;
    const encoding = String(answer.headers['content-encoding'] ?? 'identity');
    result.encodings[encoding] = (result.encodings[encoding] ?? 0) + 1;
    if (load.keepBodies || answer.statusCode >= 400) kept.push(body);
  };

  const startedAt = performance.now();
  if (load.ratePerS) {
    const under: Promise<void>[] = [];
    for (let request = take(), n = 0; request; request = take(), n += 1) {
      const wait = startedAt + (n * 1_000) / load.ratePerS - performance.now();
      if (wait > 0) await sleep(wait);
      under.push(send(request));
    }
    await Promise.all(under);
  } else {
    const until = startedAt + (load.durationMs ?? Number.POSITIVE_INFINITY);
    const loop = async () => {
      while (performance.now() < until) {
        const request = take();
        if (!request) return;
        await send(request);
      }
    };
    await Promise.all(Array.from({ length: load.connections }, loop));
  }
  result.seconds = (performance.now() - startedAt) / 1_000;
  await pool.close();
  result.bytes = result.count > 0 ? bytes / result.count : 0;
  result.bodies = kept.map(String);
  return result;
}

process.on('message', (load: HttpLoad) => {
  run(load).then(
    (result) => process.send?.({ result }),
    (error: Error) => process.send?.({ error: error.stack ?? String(error) }),
  );
});
process.once('disconnect', () => process.exit());
