/** Writes answers: whole texts with their length, gzip level 6 for what is worth it, problems for errors. */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { ProblemReply } from './problem.ts';
import type { ApiRequest, ApiResponse } from './request.ts';

/** One packet: below this, compressing costs more than it saves. */
const WORTH_GZIP_BYTES = 1_400;
const GZIP_LEVEL = 6;
const compress = promisify(gzip);
const COMPRESSIBLE = /json|text|javascript|svg|xml/;

/** Sends a whole body. HEAD gets the headers alone. */
export async function send(
  request: ApiRequest,
  response: ApiResponse,
  status: number,
  type: string,
  body: string | Buffer,
  headers?: Record<string, string>,
): Promise<void> {
  let sent = body;
  if (body.length >= WORTH_GZIP_BYTES && COMPRESSIBLE.test(type)) {
    response.setHeader('Vary', 'Accept-Encoding');
    if (acceptsGzip(request.headers['accept-encoding'])) {
      sent = await compress(body, { level: GZIP_LEVEL });
      if (response.headersSent || response.destroyed) return;
      response.setHeader('Content-Encoding', 'gzip');
    }
  }
  if (headers) for (const name in headers) response.setHeader(name, headers[name] as string);
  response.statusCode = status;
  response.setHeader('Content-Type', type);
  // A text goes out in one piece with its headers, a buffer in two.
  response.setHeader('Content-Length', typeof sent === 'string' ? Buffer.byteLength(sent) : sent.length);
  response.end(request.method === 'HEAD' ? undefined : sent);
}

export const JSON_TYPE = 'application/json; charset=utf-8';
const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

/** Sends JSON text; null is an answer without a body. */
export async function sendJson(
  request: ApiRequest,
  response: ApiResponse,
  status: number,
  json: string | null,
  headers?: Record<string, string>,
): Promise<void> {
  if (json !== null) return send(request, response, status, JSON_TYPE, json, headers);
  if (headers) for (const name in headers) response.setHeader(name, headers[name] as string);
  response.statusCode = status;
  response.end();
}

export async function sendProblem(request: ApiRequest, response: ApiResponse, { problem, headers }: ProblemReply): Promise<void> {
  response.locals.code = problem.code;
  response.setHeader('Cache-Control', 'no-store');
  return send(request, response, problem.status, PROBLEM_TYPE, JSON.stringify(problem), headers);
}

/** True when the client takes gzip; `*` counts, `q=0` refuses. */
export function acceptsGzip(header: string | undefined): boolean {
  if (header === undefined || header === '') return false;
  if (header === 'gzip, deflate' || header === 'gzip') return true;
  let any = false;
  for (const part of header.split(',')) {
    const [coding = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase());
    const refused = parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
    if (coding === 'gzip' || coding === 'x-gzip') return !refused;
    if (coding === '*') any = !refused;
  }
  return any;
}
