/** Listens and drains: start and stop of the HTTP server are a pair. */
import { createServer, type IncomingMessage, type RequestListener, STATUS_CODES } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** Clients and gateways keep connections for 30 s; the header time-out must be above, or a reused connection dies under a request. */
const KEEP_ALIVE_MS = 30_000;
const HEADERS_MS = 35_000;
const DRAIN_MS = 25_000;

export type ApiServer = {
  port: number;
  /** Stops accepting, lets what runs finish (≤ 25 s), then closes. */
  close: () => Promise<void>;
};

/**
 * Listens for `app`.
 * @param address port 0 takes a free one.
 * @throws the error of `listen`, e.g. EADDRINUSE.
 */
export async function startServer(app: RequestListener, address: { host: string; port: number }, drainMs = DRAIN_MS): Promise<ApiServer> {
  const server = createServer(
    { keepAliveTimeout: KEEP_ALIVE_MS, headersTimeout: HEADERS_MS, requestTimeout: 120_000, maxHeaderSize: 32 * 1024 },
    app,
  );
  server.on('clientError', answerClientError);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, () => {
      server.off('error', reject);
      resolve();
    });
  });

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= new Promise((resolve) => {
      const timer = setTimeout(() => server.closeAllConnections(), drainMs);
      // Connections that are kept alive end with the answer they carry now.
      server.prependListener('request', (_request, response) => response.setHeader('Connection', 'close'));
      server.keepAliveTimeout = 1;
      server.close(() => {
        clearTimeout(timer);
        resolve();
      });
      server.closeIdleConnections();
    });
    return closing;
  };
  return { port: (server.address() as AddressInfo).port, close };
}

/** What Node's HTTP parser refuses never reaches Express, and is still answered as a problem. */
function answerClientError(error: Error & { code?: string }, socket: Socket & { _httpMessage?: IncomingMessage }): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
  const code = status === 431 ? 'headers_too_large' : status === 408 ? 'request_timeout' : 'malformed_http';
  const title = STATUS_CODES[status] ?? 'Bad Request';
  const body = JSON.stringify({
    type: `urn:almanac:problem:${code}`,
    title,
    status,
    detail: 'The request is not readable HTTP/1.1.',
    code,
  });
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\nContent-Type: application/problem+json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
