/**
 * Calls a URL. Outgoing HTTP is the largest attack surface Almanac has, so that all of it goes through one dispatcher whose every socket is judged
 * (`address-rules.ts`, `guarded-connect.ts`), that follows no redirect, and that reads no further than what is kept.
 */
import { STATUS_CODES } from 'node:http';
import { Agent, request } from 'undici';
import { createAddressRules, literalAddressProblem } from './address-rules.ts';
import { startDeadline } from './attempt-deadline.ts';
import { createGuardedConnect, createOsResolve, type ResolveHost } from './guarded-connect.ts';
import { readBodyStart, storableBody } from './http-body.ts';
import { wireFailure } from './http-failure.ts';
import { requestHeaders } from './http-request-headers.ts';
import { keptHeaders } from './http-response-headers.ts';
import { type HttpTarget, httpTargetProblems, requestBody, withInput } from './http-target-document.ts';
import { DEFAULT_NON_RETRYABLE, DEFAULT_SUCCESS, isStatusRetryable, isSuccess, retryAfterMs, withNonRetryable } from './http-verdict.ts';
import { failed, type HttpResult, type TargetCall, type TargetOutcome } from './target-call.ts';

export type HttpTargetOptions = {
  /** CIDRs, addresses and host names that may be reached although they are not public. */
  allow: readonly string[];
  /** `host:port` pairs that are never reached. */
  deny: readonly string[];
  /** Sockets per origin at most; further calls wait for one, within their own deadline. Default 64. */
  connectionsPerOrigin?: number;
  /** TCP and TLS together. Default 10 s. */
  connectTimeoutMs?: number;
  /** Certificate authorities (PEM) instead of those of Node. */
  ca?: string[];
  /** How host names become addresses; default: as the operating system does. */
  resolve?: ResolveHost;
};

/**
 * Opens the caller of http targets; sockets are kept alive between calls until `close`.
 * @throws AddressRuleError for an entry of `allow` or `deny` that can't be read.
 */
export function createHttpTarget(options: HttpTargetOptions) {
  const rules = createAddressRules(options);
  const guarded = createGuardedConnect(rules, {
    resolve: options.resolve ?? createOsResolve(),
    connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    ca: options.ca,
  });
  const agent = new Agent({
    connect: guarded.connect,
    connections: options.connectionsPerOrigin ?? 64,
    pipelining: 1,
    allowH2: false,
    maxHeaderSize: 16 * 1024,
    // Shorter than the 5 s after which common servers close, so that a call seldom meets a socket that is just going.
    keepAliveTimeout: 4_000,
    keepAliveMaxTimeout: 60_000,
    // One clock for the whole attempt: ours.
    headersTimeout: 0,
    bodyTimeout: 0,
  });

  /** One attempt. Never rejects; the deadline covers look-up, connecting, waiting for a socket, headers and body. */
  async function call(definition: HttpTarget, call: TargetCall): Promise<TargetOutcome> {
    const target = withInput(definition, call.input);
    const nonRetryable = target.nonRetryable ?? DEFAULT_NON_RETRYABLE;
    const problem = httpTargetProblems(target)[0];
    if (problem) return failed('invalid_input', problem.message, false);
    const refused = literalAddressProblem(target.url, rules);
    if (refused) return failed('address_refused', refused, false);
    const deadline = startDeadline(call, call.timeoutMs);
    try {
      if (deadline.signal.aborted) return await deadline.ended;
      return withNonRetryable(await Promise.race([deadline.ended, exchange(target, call, deadline.signal)]), nonRetryable);
    } finally {
      deadline.stop();
    }
  }

  async function exchange(target: HttpTarget, call: TargetCall, signal: AbortSignal): Promise<TargetOutcome> {
    const where = `${target.method} ${withoutQuery(target.url)}`;
    const body = requestBody(target);
    try {
      const response = await request(target.url, {
        dispatcher: agent,
        method: target.method,
        headers: requestHeaders(call, target.headers ?? {}, body?.contentType ?? null),
        body: body?.text ?? null,
        signal,
      });
      const { statusCode, headers } = response;
      const hasNoBody = target.method === 'HEAD' || statusCode === 204 || statusCode === 304;
      const start = await readBodyStart(response.body, hasNoBody ? '' : String(headers['content-encoding'] ?? ''));
      const result: HttpResult = {
        status: statusCode,
        headers: keptHeaders(headers),
        ...storableBody(start, String(headers['content-type'] ?? '')),
      };
      return outcomeOf(target, where, result, headers['retry-after']);
    } catch (error) {
      return wireFailure(error, where);
    }
  }

  return {
    call,
    /** Closes every socket; a call still under way ends as a network failure. */
    close: async () => {
      guarded.close();
      await agent.destroy();
    },
  };
}
export type HttpTargetCaller = ReturnType<typeof createHttpTarget>;

function outcomeOf(target: HttpTarget, where: string, result: HttpResult, retryAfter: string | string[] | undefined): TargetOutcome {
  if (isSuccess(result.status, target.success ?? DEFAULT_SUCCESS)) return { status: 'succeeded', result };
  const retryable = isStatusRetryable(result.status, target.nonRetryable ?? DEFAULT_NON_RETRYABLE);
  const wait = retryable ? retryAfterMs(Array.isArray(retryAfter) ? retryAfter[0] : retryAfter) : undefined;
  const redirect =
    result.status >= 300 && result.status < 400 && result.headers.location !== undefined ? ' (redirects are not followed)' : '';
  const message = `${where} answered ${result.status} ${STATUS_CODES[result.status] ?? ''}`.trimEnd() + redirect;
  return {
    status: 'failed',
    error: { type: 'http_status', message, retryable, ...(wait === undefined ? {} : { retryAfterMs: wait }) },
    result,
  };
}

/** A query may hold a token; errors are read by many. */
function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}
