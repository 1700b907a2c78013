/** Which headers of a response are kept: enough to understand it, nothing that opens a door, nothing that fills the table. */
import type { IncomingHttpHeaders } from 'node:http';
import { storableText } from './storable-json.ts';

const DROPPED = new Set([
  'set-cookie',
  'set-cookie2',
  'cookie',
  'authorization',
  'proxy-authorization',
  'authentication-info',
  'x-api-key',
  'x-auth-token',
]);
const MOST_HEADERS = 50;
const MOST_BYTES = 8 * 1024;

/** At most 50 headers and 8 KiB, in the order they came; repeated ones are joined by a comma; cookies and credentials are left out. */
export function keptHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const kept: [string, string][] = [];
  let bytes = 0;
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || DROPPED.has(name.toLowerCase())) continue;
    const text = storableText(Array.isArray(value) ? value.join(', ') : value).text;
    bytes += Buffer.byteLength(name) + Buffer.byteLength(text);
    if (bytes > MOST_BYTES || kept.length === MOST_HEADERS) break;
    kept.push([name.toLowerCase(), text]);
  }
  return Object.fromEntries(kept);
}
