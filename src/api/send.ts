/** Writes answers: whole texts with their length, gzip level 6 for what is worth it, problems for errors. */
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
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
  let bytes = typeof body === 'string' ? Buffer.from(body) : body;
  if (bytes.length >= WORTH_GZIP_BYTES && COMPRESSIBLE.test(type)) {
    response.vary('Accept-Encoding');
    if (acceptsGzip(request.headers['accept-encoding'])) {
      bytes = await compress(bytes, { level: GZIP_LEVEL, strategy: constants.Z_DEFAULT_STRATEGY });
      if (response.headersSent || response.destroyed) return;
      response.setHeader('Content-Encoding', 'gzip');
    }
  }
  if (headers) for (const name in headers) response.setHeader(name, headers[name] as string);
  response.statusCode = status;
  response.setHeader('Content-Type', type);
  response.setHeader('Content-Length', bytes.length);
  response.end(request.method === 'HEAD' ? undefined : bytes);
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
