/**
 * Reads a response body: decoded, and only as far as it is kept. What is more is never read, so that neither an endless body nor a small one that
 * unpacks to gigabytes costs memory or time.
 */
import { pipeline, type Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { RESULT_LIMIT_BYTES, storableText } from './storable-json.ts';
import type { HttpResult } from './target-call.ts';

/** Bytes read off the wire at most: an encoded body may go on for ever without a single decoded byte. */
const WIRE_LIMIT_BYTES = 1024 * 1024;
const MOST_ENCODINGS = 3;
const DECODERS: Record<string, () => Transform> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
};

export type BodyStart = { bytes: Buffer; truncated: boolean };

/**
 * The first 64 KiB of the decoded body. An encoding we did not ask for is left as it is; one that breaks off yields what could be decoded.
 * @throws what the socket throws when it breaks.
 */
export async function readBodyStart(body: Readable, contentEncoding: string): Promise<BodyStart> {
  // A body destroyed before its end says so in an event that nobody else waits for.
  body.on('error', () => {});
  const names = contentEncoding
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity');
  const decoders = names.length <= MOST_ENCODINGS ? names.reverse().map((name) => DECODERS[name]) : [];
  const known = decoders.filter((decoder) => decoder !== undefined);
  if (known.length === 0 || known.length < decoders.length) return collect(body);
  return decode(
    body,
    known.map((make) => make()),
  );
}

async function decode(body: Readable, decoders: Transform[]): Promise<BodyStart> {
  let wireBytes = 0;
  let wireError: unknown;
  body.once('error', (error) => {
    wireError = error;
  });
  const counted = async function* (source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      wireBytes += chunk.length;
      if (wireBytes > WIRE_LIMIT_BYTES) return;
      yield chunk;
    }
  };
  const last = decoders.at(-1)!;
  const chunks: Buffer[] = [];
  // `pipeline` destroys every stage when one ends early; its error is read off the last stage below.
  pipeline([body, counted, ...decoders], () => {});
  try {
    const start = await collect(last, chunks);
    return wireBytes > WIRE_LIMIT_BYTES ? { ...start, truncated: true } : start;
  } catch (error) {
    // Stopping at the limit breaks the socket too, but that was us.
    if (wireError !== undefined && wireBytes <= WIRE_LIMIT_BYTES) throw wireError;
    if (wireBytes > 0 && wireBytes <= WIRE_LIMIT_BYTES && !isDecodeError(error)) throw error;
    return { bytes: Buffer.concat(chunks), truncated: wireBytes > 0 };
  }
}

async function collect(source: Readable, chunks: Buffer[] = []): Promise<BodyStart> {
  let length = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    // Leaving the loop destroys the stream, and with it the socket.
    if (length > RESULT_LIMIT_BYTES) return { bytes: Buffer.concat(chunks).subarray(0, RESULT_LIMIT_BYTES), truncated: true };
  }
  return { bytes: Buffer.concat(chunks), truncated: false };
}

function isDecodeError(error: unknown): boolean {
  const code = String((error as NodeJS.ErrnoException | null)?.code);
  return code.startsWith('Z_') || code.startsWith('ERR__ERROR_') || code.startsWith('ERR_BROTLI') || code.startsWith('BROTLI');
}

/** The body as it is stored: text when it is text, base64 when not. */
export function storableBody(
  { bytes, truncated }: BodyStart,
  contentType: string,
): Pick<HttpResult, 'body' | 'truncated' | 'base64' | 'replaced'> {
  const text = decodedText(bytes, truncated, contentType.toLowerCase());
  if (text === null) return { body: bytes.toString('base64'), truncated, base64: true };
  const { text: body, replaced } = storableText(text);
  return { body, truncated, ...(replaced ? { replaced } : {}) };
}

/** Null for binary: bytes that are no text in the charset named, or hold NUL without a content type that says text. */
function decodedText(bytes: Buffer, truncated: boolean, contentType: string): string | null {
  const charset = /;\s*charset="?([^";\s]+)/.exec(contentType)?.[1] ?? 'utf-8';
  let decoder: TextDecoder;
  try {
    decoder = new TextDecoder(charset, { fatal: true });
  } catch {
    decoder = new TextDecoder('utf-8', { fatal: true });
  }
  try {
    // A body cut in the middle of a character is still text: `stream` keeps the rest of the character back.
    const text = decoder.decode(bytes, { stream: truncated });
    const saysText = /^(text\/|application\/([a-z.+-]*\+)?(json|xml)|application\/x-www-form-urlencoded)/.test(contentType);
    return text.includes('\0') && !saysText ? null : text;
  } catch {
    return null;
  }
}
