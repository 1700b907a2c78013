/**
 * The rig's addresses, each translated into the request that a client of Almanac would send, and handed to the application in the same process: it meets
 * authentication, parsing, validation, limits and the access log as if it had come over the wire, and what Almanac answers goes back as it is.
 */
import { IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { PeerJob } from './peer-job.ts';
import type { Setting } from './setting.ts';

export function createFront(app: RequestListener, setting: Setting): RequestListener {
  const { authorization } = setting;

  async function post(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bytesOf(request);
    const job = JSON.parse(body.toString()) as PeerJob;
    const { path, text } =
      job.kind === 'now'
        ? { path: `/api/v1/schedule/${await setting.triggeredJob()}/trigger`, text: `{"input":${body}}` }
        : { path: '/api/v1/jobs', text: JSON.stringify(setting.documentOf(job)) };
    app(requestOf(request, path, authorization, text), response as Parameters<RequestListener>[1]);
  }

  return (request, response) => {
    const { url = '', method } = request;
    if (url === '/healthz') return void setting.ready().then(() => response.end('ok'));
    if (!url.startsWith('/jobs')) return void app(request, response);
    if (method === 'POST') {
      post(request, response).catch((error: Error) => {
        response.statusCode = 500;
        response.end(error.stack);
      });
      return;
    }
    request.url = `/api/v1${url}`;
    request.headers.authorization = authorization;
    app(request, response);
  };
}

/** The same client's request with another address and another body. */
function requestOf({ socket, httpVersion, headers }: IncomingMessage, path: string, authorization: string, text: string): IncomingMessage {
  const request = new IncomingMessage(socket);
  const body = Buffer.from(text);
  request.method = 'POST';
  request.url = path;
  request.httpVersion = httpVersion;
  request.headers = { ...headers, authorization, 'content-length': String(body.length) };
  delete request.headers['transfer-encoding'];
  // Without this its end would count as one that was cut off, and close the connection.
  request.complete = true;
  request.push(body);
  request.push(null);
  return request;
}

/** All of a short body; the consumers of node:stream make a Blob of it first. */
function bytesOf(request: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    request.on('error', reject);
  });
}
