/** Reads a body exactly, JSON or an iCalendar text: one content type, one character set, bounded bytes, a position for every syntax error. */
import type { RequestHandler } from 'express';
import express from 'express';
import { JobError } from '../jobs/errors.ts';
import { refuseHostileJson } from './hostile-text.ts';
import { jsonErrorPosition } from './json-position.ts';
import type { ApiRequest, ApiResponse } from './request.ts';

export type ContentType = 'application/json' | 'application/merge-patch+json' | 'text/calendar';

/** What was sent: the bytes (for the hash of an idempotency key) and what they mean; both undefined without a body. */
export type Body = { bytes: Buffer | undefined; value: unknown };

export type BodyReader = (request: ApiRequest, response: ApiResponse, accepted: readonly ContentType[]) => Promise<Body>;

const UTF8 = new TextDecoder('utf-8', { fatal: true });
const NO_BODY: Body = { bytes: undefined, value: undefined };

/**
 * Creates a reader for bodies of at most `limitBytes`, counted after decompression.
 * The reader throws JobError `malformed`, `unsupported_type`, or http-errors of body-parser (413).
 */
export function createBodyReader(limitBytes: number): BodyReader {
  const raw: RequestHandler = express.raw({ limit: limitBytes, type: () => true });
  return async (request, response, accepted) => {
    if (request.headers['transfer-encoding'] === undefined && (request.headers['content-length'] ?? '0') === '0') return NO_BODY;
    refuseOtherTypes(request.headers['content-type'], accepted);
    // body-parser answers only when everything has arrived; what is announced as too large is refused before.
    if (Number(request.headers['content-length']) > limitBytes) {
      throw new JobError('too_large', 'body_too_large', `The body is larger than ${limitBytes} bytes.`, { extra: { limit: limitBytes } });
    }
    await new Promise<void>((resolve, reject) => {
      raw(request, response, (error?: unknown) => (error ? reject(error) : resolve()));
    });
    const bytes: unknown = request.body;
    if (!Buffer.isBuffer(bytes) || bytes.length === 0) return NO_BODY;
    return { bytes, value: accepted.includes('text/calendar') ? decoded(bytes) : parse(bytes) };
  };
}

function refuseOtherTypes(header: string | undefined, accepted: readonly ContentType[]): void {
  const [type = '', ...parameters] = (header ?? '').split(';').map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith('charset='));
  const utf8 = charset === undefined || /^charset="?utf-?8"?$/.test(charset);
  if (accepted.includes(type as ContentType) && utf8) return;
  const said = header === undefined ? 'there is no Content-Type' : `Content-Type is ${JSON.stringify(header.slice(0, 100))}`;
  throw new JobError('unsupported_type', 'unsupported_type', `The body must be ${accepted.join(' or ')} in UTF-8; ${said}.`, {
    extra: { accepted },
    errors: [{ path: 'header/Content-Type', message: `must be ${accepted.join(' or ')}`, code: 'unsupported_type' }],
  });
}

function decoded(bytes: Buffer): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw new JobError('malformed', 'malformed_utf8', 'The body is not valid UTF-8.');
  }
}

function parse(bytes: Buffer): unknown {
  const text = decoded(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformedJson(text);
  }
  refuseHostileJson(text, value);
  return value;
}

function malformedJson(text: string): JobError {
  const position = jsonErrorPosition(text);
  const before = text.slice(0, position).split('\n');
  const line = before.length;
  const column = (before.at(-1)?.length ?? 0) + 1;
  const what = position === text.length ? 'it ends too early, at' : 'it breaks at';
  return new JobError('malformed', 'malformed_json', `The body is not JSON: ${what} line ${line}, column ${column}.`, {
    extra: { position, line, column },
    errors: [{ path: '', message: `not JSON at line ${line}, column ${column}`, code: 'malformed_json' }],
  });
}
