/** The headers of a call: ours, which a receiver may rely on, and the user's, which may not pretend to be ours. */
import { createHash } from 'node:crypto';
import manifest from '../../../package.json' with { type: 'json' };
import type { TargetCall } from './target-call.ts';

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
const OURS = new Set(['host', 'content-length', 'expect', 'accept-encoding', 'idempotency-key', 'traceparent', 'tracestate', 'user-agent']);
const OUR_PREFIXES = ['x-almanac-', 'webhook-'];
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}$/;
/** Visible ASCII, space and tab: no line break can get in, and no receiver has to guess a character set. */
const VALUE = /^[\t\x20-\x7e]*$/;
/** A service's and a job's together, each of which may have half. */
const MOST_HEADERS = 100;
const MOST_BYTES = 16 * 1024;

/**
 * Why these headers of a user can't be sent; empty when they can. For the 422 at save.
 * @returns one entry per problem; `header` is its name, empty for a problem of all of them together.
 */
export function headerProblems(headers: Readonly<Record<string, string>>): { header: string; message: string }[] {
  const problems: { header: string; message: string }[] = [];
  const seen = new Set<string>();
  let bytes = 0;
  for (const [name, value] of Object.entries(headers)) {
    const lower = name.toLowerCase();
    const message =
      nameProblem(name, lower) ?? valueProblem(value) ?? (seen.has(lower) ? 'is given twice; header names ignore case' : null);
    if (message) problems.push({ header: name, message: `header ${JSON.stringify(name.slice(0, 100))} ${message}` });
    seen.add(lower);
    bytes += name.length + String(value).length;
  }
  if (seen.size > MOST_HEADERS) problems.push({ header: '', message: `${seen.size} headers are too many; at most ${MOST_HEADERS}` });
  if (bytes > MOST_BYTES) problems.push({ header: '', message: `headers of ${bytes} bytes are too large; at most ${MOST_BYTES}` });
  return problems;
}

function nameProblem(name: string, lower: string): string | null {
  if (!TOKEN.test(name)) return 'is not a header name; use letters, digits and hyphens, at most 100';
  if (HOP_BY_HOP.has(lower)) return 'belongs to the connection, not to the request; leave it out';
  if (OURS.has(lower) || OUR_PREFIXES.some((prefix) => lower.startsWith(prefix))) return 'is set by Almanac; leave it out';
  return null;
}

function valueProblem(value: unknown): string | null {
  if (typeof value !== 'string') return 'needs a text as its value';
  if (!VALUE.test(value)) return 'has a value with line breaks, control or non-ASCII characters; percent-encode them';
  return null;
}

/** All headers of one attempt, names in lower case. `contentType` is the default for the body's; null without a body. */
export function requestHeaders(
  call: TargetCall,
  headers: Readonly<Record<string, string>>,
  contentType: string | null,
): Record<string, string> {
  const users = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return {
    accept: '*/*',
    ...(contentType === null ? {} : { 'content-type': contentType }),
    ...users,
    'accept-encoding': 'gzip, deflate, br',
    'user-agent': `Almanac/${manifest.version}`,
    // Standard Webhooks: the id is the same on every attempt, so that a receiver can drop repeats.
    'webhook-id': call.executionId,
    'webhook-timestamp': String(Math.floor(Date.now() / 1000)),
    'idempotency-key': call.executionId,
    traceparent: traceparent(call.executionId, call.attempt),
    'x-almanac-execution-id': call.executionId,
    'x-almanac-job-id': call.job.id,
    'x-almanac-job-name': encodedName(call.job.name),
    'x-almanac-attempt': String(call.attempt),
    ...(call.slot === null ? {} : { 'x-almanac-slot': call.slot }),
  };
}

/** W3C Trace Context: one trace per execution, one parent span per attempt, both derived, so that a repeat of an attempt has the same. */
function traceparent(executionId: string, attempt: number): string {
  const digest = (text: string, length: number) => createHash('sha256').update(text).digest('hex').slice(0, length);
  return `00-${digest(executionId, 32)}-${digest(`${executionId}/${attempt}`, 16)}-01`;
}

/** Names are of any script: what is not visible ASCII, and `%` itself, is percent-encoded UTF-8 (`decodeURIComponent` reads it back). */
function encodedName(name: string): string {
  return name.toWellFormed().replace(/[^\x20-\x24\x26-\x7e]+/g, encodeURIComponent);
}
