/** A real HTTP server that stands for the outside world: it logs every call and answers as the test says. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type ReceivedCall = {
  at: number;
  path: string;
  execution: string;
  attempt: number;
  headers: IncomingMessage['headers'];
  body: string;
  aborted: boolean;
};
export type Receiver = {
  url: string;
  calls: ReceivedCall[];
  /** Settles when that many calls have come in. */
  received: (count: number) => Promise<ReceivedCall[]>;
  close: () => Promise<void>;
};

/** @param answer writes the response; the default is 200 with a short text. Never answering is an answer too. */
export async function startReceiver(
  answer: (call: ReceivedCall, response: ServerResponse, nth: number) => void = (_call, response) => response.end('done'),
): Promise<Receiver> {
  const calls: ReceivedCall[] = [];
  const waiting = new Set<() => void>();
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => {
      const call: ReceivedCall = {
        at: Date.now(),
        path: request.url ?? '',
        execution: String(request.headers['x-almanac-execution-id']),
        attempt: Number(request.headers['x-almanac-attempt']),
        headers: request.headers,
        body,
        aborted: false,
      };
      response.on('close', () => {
        call.aborted = !response.writableFinished;
      });
      calls.push(call);
      for (const tell of waiting) tell();
      answer(call, response, calls.length);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    received: (count) =>
      new Promise((resolve) => {
        const tell = () => {
          if (calls.length < count) return;
          waiting.delete(tell);
          resolve(calls);
        };
        waiting.add(tell);
        tell();
      }),
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
