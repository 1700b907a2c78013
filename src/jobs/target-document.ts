/** The `target` block of the job document: what an execution calls. */
import { z } from 'zod';
import { choice, nearest, notSupportedYet, strictShape } from './job-issues.ts';
import type { Json } from './job-json.ts';
import { serviceNameSchema } from './job-name.ts';

/**
 * What only the targets themselves know of addresses and headers; the composition root passes it in, because `jobs` may not import `activities`.
 * Both are pure: they look at text and settings alone, never at the network.
 */
export type TargetRules = {
  /** Why a URL can't be a target, as far as its text tells; null when it can. */
  urlProblem: (url: string) => string | null;
  /** Headers that may not be set, each with the sentence that says why. */
  headerProblems: (headers: Record<string, string>) => { header: string; message: string }[];
};

const LONGEST_URL = 2_000;
const MOST_HEADERS = 50;
/** All names and values of a target's headers together, in characters. */
const LONGEST_HEADERS = 8_192;

const jsonSchema = z.custom<Json>((value) => value !== undefined, 'must be a JSON value');

/** Headers of a target or of a service: names are case-insensitive and may not repeat. */
export const headersSchema = z
  .record(z.string(), z.string({ error: 'must be a string' }), { error: 'must be an object of header names and texts' })
  .superRefine((headers, context) => {
    const names = Object.keys(headers);
    if (names.length > MOST_HEADERS) context.addIssue({ code: 'custom', message: `has ${names.length} headers; at most ${MOST_HEADERS}` });
    const length = Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
    if (length > LONGEST_HEADERS) context.addIssue({ code: 'custom', message: `has ${length} characters; at most ${LONGEST_HEADERS}` });
    for (const [name, value] of Object.entries(headers)) {
      if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))
        context.addIssue({ code: 'custom', path: [name], message: 'is not a header name (RFC 9110): letters, digits and dashes' });
      if (/[^\t\x20-\x7e\x80-\xff]/.test(value))
        context.addIssue({
          code: 'custom',
          path: [name],
          message: 'holds a character that no header can carry (line break, NUL or beyond Latin-1)',
        });
    }
    const twice = names.find((name, index) => names.findIndex((other) => other.toLowerCase() === name.toLowerCase()) !== index);
    if (twice !== undefined) context.addIssue({ code: 'custom', path: [twice], message: 'is there twice; header names ignore case' });
  })
  .meta({ description: `Header names and texts, at most ${MOST_HEADERS}` });

const pathSchema = z
  .string()
  .max(LONGEST_URL)
  .superRefine((path, context) => {
    const problem = pathProblem(path);
    if (problem) context.addIssue({ code: 'custom', message: problem });
  })
  .meta({ description: "Path below the service's base address, with an optional query", example: '/close?day=today' });

/** A path is joined to a base address; nothing in it may lead to another host or out of the base. */
function pathProblem(path: string): string | null {
  if (!path.startsWith('/')) return `must begin with "/"; write ${JSON.stringify(`/${path.slice(0, 60)}`)}`;
  if (path.startsWith('//') || path.includes('\\')) return 'must not begin with "//" or hold a backslash: it would name another host';
  if (/[\s\p{Cc}]/u.test(path)) return 'must not hold blanks or control characters; percent-encode them';
  if (path.includes('#')) return 'must not hold "#": fragments are never sent';
  const segments = path.split('?')[0]!.split('/');
  if (segments.some((segment) => /^(\.|%2e){1,2}$/i.test(segment)))
    return 'must not hold "." or ".." segments: they lead out of the service\'s base address';
  return null;
}

/** Status codes and ranges: `200-299`, `200,404`. */
const successSchema = z
  .string()
  .check((payload) => {
    const parts = payload.value.replaceAll(' ', '').split(',');
    const bad = parts.find((part) => !isStatusRange(part));
    if (bad === undefined) payload.value = parts.join(',');
    else
      payload.issues.push({
        code: 'custom',
        message: `${JSON.stringify(bad.slice(0, 60))} is not a status or a range of them; write e.g. "200-299" or "200-299,404"`,
        input: payload.value,
        continue: true,
      });
  })
  .meta({ description: 'Response statuses that count as success', example: '200-299' });

function isStatusRange(part: string): boolean {
  const [, from, to = from] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(part) ?? [];
  return from !== undefined && Number(from) <= Number(to);
}

const httpTargetSchema = strictShape(
  {
    type: z.literal('http'),
    url: z
      .string()
      .max(LONGEST_URL)
      .optional()
      .meta({ description: 'http or https address without credentials; either this or service', example: 'https://example.com/hook' }),
    service: serviceNameSchema.optional(),
    path: pathSchema.optional(),
    method: choice(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']).default('POST'),
    headers: headersSchema.default({}),
    body: jsonSchema.optional().meta({ description: 'JSON sent as the body; default: the input of the execution' }),
    success: successSchema.default('200-299'),
    callback: notSupportedYet('callback'),
  },
  'type: http, and url or service',
)
  .superRefine((target, context) => {
    const add = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    if (target.url === undefined && target.service === undefined) add([], 'an http target needs url, or service and path');
    if (target.url !== undefined && target.service !== undefined) add(['service'], "service can't stand beside url; keep one of them");
    if (target.url !== undefined && target.path !== undefined) add(['path'], 'path belongs to service; write it into the url');
    if (target.url !== undefined) {
      const problem = urlShapeProblem(target.url);
      if (problem) add(['url'], problem);
    }
    if (target.body !== undefined && (target.method === 'GET' || target.method === 'HEAD'))
      add(['body'], `a ${target.method} carries no body; take POST, or leave body out`);
  })
  .meta({ description: 'Calls a URL, or a path of a registered service' });

/** What can be said of a URL without the rules of addresses. */
export function urlShapeProblem(url: string): string | null {
  if (/[\s\p{Cc}]/u.test(url)) return 'must not hold blanks or control characters; percent-encode them';
  if (!URL.canParse(url)) return `${JSON.stringify(url.slice(0, 60))} is not an absolute URL; write e.g. "https://example.com/hook"`;
  const parsed = new URL(url);
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')
    return `scheme ${JSON.stringify(parsed.protocol)} is not supported; use http or https`;
  if (parsed.username !== '' || parsed.password !== '') return 'must not carry a user name or password; use a header';
  return url.includes('#') ? 'must not hold "#": fragments are never sent' : null;
}

const handlerTargetSchema = strictShape(
  {
    type: z.literal('handler'),
    name: z
      .string({ error: (issue) => (issue.input === undefined ? 'name of the handler is required' : 'must be a string') })
      .regex(/^[\p{L}\p{N}_][\p{L}\p{N}_.:/-]{0,199}$/u, 'must be 1 to 200 letters, digits or _ . : / -, beginning with a letter or digit')
      .meta({ description: 'Name given to defineHandler', example: 'send-report' }),
  },
  'type: handler, and name',
).meta({ description: 'Runs a function that a worker has registered' });

const LATER = ['workflow', 'steps'];
const TYPES = ['http', 'handler'];

/** Schema of a target. */
export const targetSchema = z
  .discriminatedUnion('type', [httpTargetSchema, handlerTargetSchema], {
    error: (issue) => {
      if (issue.code !== 'invalid_union') return 'target is required: an object with type "http" or "handler"';
      const type = (issue.input as { type?: unknown } | undefined)?.type;
      if (typeof type !== 'string') return 'must be "http" or "handler"';
      return LATER.includes(type)
        ? `target type ${JSON.stringify(type)} is not supported yet; use http or handler`
        : `unknown target type ${nearest(type, TYPES)}`;
    },
  })
  .meta({ description: 'What an execution calls' });

export type Target = z.output<typeof targetSchema>;
export type HttpTarget = Extract<Target, { type: 'http' }>;
export type HandlerTarget = Extract<Target, { type: 'handler' }>;
