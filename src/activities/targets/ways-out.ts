/** The way out of notifications: HTTP posts and connections to mail servers, through the same rules that calls of targets obey. */
import { STATUS_CODES } from 'node:http';
import { Agent, request } from 'undici';
import type { PostOutcome, PostRequest, WaysOut } from '../../jobs/notifications/ways-out.ts';
import { createAddressRules, literalAddressProblem } from './address-rules.ts';
import { startDeadline } from './attempt-deadline.ts';
import { createGuardedConnect, createOsResolve, openGuardedSocket, type ResolveHost } from './guarded-connect.ts';
import { readBodyStart, storableBody } from './http-body.ts';
import { wireFailure } from './http-failure.ts';
import { isStatusRetryable, retryAfterMs } from './http-verdict.ts';

const NEVER_RETRIED = ['4xx'];
/** Of an answer that is no success, so much is kept. */
const SHOWN_BODY = 200;

/**
 * Opens the way out; sockets are kept alive between posts until `close`.
 * @param options.resolve how host names become addresses; default: as the operating system does.
 * @throws AddressRuleError for an entry of `allow` or `deny` that can't be read.
 */
export function createWaysOut(options: { allow: readonly string[]; deny: readonly string[]; resolve?: ResolveHost }): WaysOut {
  const rules = createAddressRules(options);
  const resolve = options.resolve ?? createOsResolve();
  const guarded = createGuardedConnect(rules, { resolve, connectTimeoutMs: 10_000, ca: undefined });
  const agent = new Agent({
    connect: guarded.connect,
    connections: 16,
    pipelining: 1,
    allowH2: false,
    maxHeaderSize: 16 * 1024,
    keepAliveTimeout: 4_000,
    headersTimeout: 0,
    bodyTimeout: 0,
  });

  async function exchange(asked: PostRequest, signal: AbortSignal): Promise<PostOutcome> {
    const where = `POST ${new URL(asked.url).origin}`;
    try {
      const { statusCode, headers, body } = await request(asked.url, {
        dispatcher: agent,
        method: 'POST',
        headers: asked.headers,
        body: asked.body,
        signal,
      });
      const start = await readBodyStart(body, statusCode === 204 ? '' : String(headers['content-encoding'] ?? ''));
      const said = `${where} answered ${statusCode} ${STATUS_CODES[statusCode] ?? ''}`.trimEnd();
      if (statusCode >= 200 && statusCode < 300) return { status: 'delivered', detail: said };
      const text = storableBody(start, String(headers['content-type'] ?? '')).body;
      const shown = typeof text === 'string' ? text.trim().replaceAll(/\s+/g, ' ').slice(0, SHOWN_BODY).toWellFormed() : '';
      const redirect = statusCode >= 300 && statusCode < 400 ? ' (redirects are not followed)' : '';
      const retryAfter = headers['retry-after'];
      return {
        status: 'failed',
        retryable: isStatusRetryable(statusCode, NEVER_RETRIED),
        detail: `${said}${redirect}${shown === '' ? '' : `: ${shown}`}`,
        retryAfterMs: retryAfterMs(Array.isArray(retryAfter) ? retryAfter[0] : retryAfter),
      };
    } catch (error) {
      return failureOf(wireFailure(error, where));
    }
  }

  return {
    post: async (asked) => {
      const refused = literalAddressProblem(asked.url, rules);
      if (refused) return { status: 'failed', retryable: false, detail: refused };
      const deadline = startDeadline({ signal: asked.signal }, asked.timeoutMs);
      try {
        return await Promise.race([deadline.ended.then(failureOf), exchange(asked, deadline.signal)]);
      } finally {
        deadline.stop();
      }
    },
    connect: (host, port, timeoutMs) => openGuardedSocket(rules, resolve, { host, port, timeoutMs }),
    close: async () => {
      guarded.close();
      await agent.destroy();
    },
  };
}

/** A cancelled attempt is one that may be made again. */
function failureOf(outcome: ReturnType<typeof wireFailure>): PostOutcome {
  if (outcome.status === 'succeeded') return { status: 'delivered', detail: 'answered' };
  return { status: 'failed', retryable: outcome.error.retryable || outcome.status === 'cancelled', detail: outcome.error.message };
}
