/** An http target as the attempt sees it: the URL is whole (a service's address and the job's path are joined before). */
import { headerProblems } from './http-request-headers.ts';
import { nonRetryableProblem, successProblem } from './http-verdict.ts';

export const HTTP_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;
export type HttpMethod = (typeof HTTP_METHODS)[number];
/** Methods that send the input by themselves; DELETE sends only a body that the definition spells out. */
const SENDS_INPUT: readonly string[] = ['POST', 'PUT', 'PATCH'];
const WITHOUT_BODY: readonly string[] = ['GET', 'HEAD'];
const JSON_TYPE = /^\s*(application|text)\/([a-z0-9.-]+\+)?json\s*(;|$)/i;

export type HttpTarget = {
  url: string;
  method: HttpMethod;
  headers?: Readonly<Record<string, string>>;
  /** JSON; absent: the execution's input for POST, PUT and PATCH. With a content type other than JSON a text is sent as it stands. */
  body?: unknown;
  /** Statuses that count as success, e.g. `200-299,304`; default `200-299`. */
  success?: string;
  /** Statuses, classes (`4xx`) and types of error not worth another attempt; default `["4xx"]`, which leaves out 408, 425 and 429. */
  nonRetryable?: readonly string[];
};

/** Why the target can't be called, for the 422 at save; `path` is the field's, relative to the target. The URL's address is for `literalAddressProblem`. */
export function httpTargetProblems(target: HttpTarget): { path: string[]; message: string }[] {
  const problems: { path: string[]; message: string }[] = [];
  const add = (path: string[], message: string | null) => {
    if (message !== null) problems.push({ path, message });
  };
  const headers = target.headers ?? {};
  for (const { header, message } of headerProblems(headers)) add(header === '' ? ['headers'] : ['headers', header], message);
  if (!HTTP_METHODS.includes(target.method))
    add(['method'], `method ${JSON.stringify(target.method)} is not one of ${HTTP_METHODS.join(', ')}`);
  if (target.body !== undefined && WITHOUT_BODY.includes(target.method)) {
    add(['body'], `a ${target.method} carries no body; use POST, PUT or PATCH, or leave the body out`);
  }
  add(['success'], target.success === undefined ? null : successProblem(target.success));
  for (const [index, entry] of (target.nonRetryable ?? []).entries()) add(['nonRetryable', String(index)], nonRetryableProblem(entry));
  return problems;
}

/** The target with what this execution sends: without a body of its own, POST, PUT and PATCH carry the input unless it is null. */
export function withInput(target: HttpTarget, input: unknown): HttpTarget {
  const takesInput = target.body === undefined && SENDS_INPUT.includes(target.method) && input !== null && input !== undefined;
  return takesInput ? { ...target, body: input } : target;
}

/** The text of the body and the content type it has by default; null without a body. */
export function requestBody(target: HttpTarget): { text: string; contentType: string } | null {
  if (target.body === undefined) return null;
  const asItStands = typeof target.body === 'string' && !isJsonType(contentTypeOf(target.headers ?? {}));
  return { text: asItStands ? String(target.body) : JSON.stringify(target.body), contentType: 'application/json' };
}

function contentTypeOf(headers: Readonly<Record<string, string>>): string | undefined {
  return Object.entries(headers).find(([name]) => name.toLowerCase() === 'content-type')?.[1];
}

const isJsonType = (type: string | undefined) => type === undefined || JSON_TYPE.test(type);
