/**
 * Limits per client address, as two windows that both must hold: the burst (rate × 2 in a second) and what is sustained
 * (the rate over the 20 s that such a burst of 10 s uses up). Counted per process until a shared store comes.
 */
import type { RequestHandler } from 'express';
import { type RateLimitInfo, rateLimit } from 'express-rate-limit';
import type { Config } from '../config.ts';
import { JobError } from '../jobs/errors.ts';

export type RateLimitSettings = Pick<Config, 'RATE_LIMIT_PER_SECOND' | 'RATE_LIMIT_BURST' | 'RATE_LIMIT_BURST_S'>;

type Window = { name: string; limit: number; windowS: number };

/** The limiters, in the order they are asked; none when the rate is 0. A refusal is a JobError `rate_limited` with Retry-After. */
export function createRateLimits(settings: RateLimitSettings): RequestHandler[] {
  const { RATE_LIMIT_PER_SECOND: rate, RATE_LIMIT_BURST: burst, RATE_LIMIT_BURST_S: burstS } = settings;
  if (rate === 0) return [];
  const windowS = burst * burstS;
  const windows: Window[] = [
    { name: 'burst', limit: rate * burst, windowS: 1 },
    { name: 'sustained', limit: rate * windowS, windowS },
  ];
  return [...windows.map(limiter), createLimitHeaders(windows)];
}

function limiter({ name, limit, windowS }: Window): RequestHandler {
  return rateLimit({
    limit,
    windowMs: windowS * 1_000,
    // The headers are ours: the library hashes the address into each of them, which costs more than counting it.
    standardHeaders: false,
    legacyHeaders: false,
    requestPropertyName: name,
    // Its self-checks write to the console; a test covers what they look for.
    validate: false,
    handler: (request, response, next) => {
      const info = infoOf(request, name);
      const retryAfterS = secondsLeft(info);
      response.setHeader('RateLimit-Policy', policyOf({ name, limit, windowS }));
      response.setHeader('RateLimit', stateOf(name, info));
      next(
        new JobError(
          'rate_limited',
          'rate_limited',
          `More than ${limit} requests in ${windowS} s from this address; try again in ${retryAfterS} s.`,
          { retryAfterS, extra: { limit, windowS } },
        ),
      );
    },
  });
}

/** RateLimit and RateLimit-Policy as draft-ietf-httpapi-ratelimit-headers-08 has them, one item per window. */
function createLimitHeaders(windows: readonly Window[]): RequestHandler {
  const policy = windows.map(policyOf).join(', ');
  return (request, response, next) => {
    response.setHeader('RateLimit-Policy', policy);
    response.setHeader('RateLimit', windows.map(({ name }) => stateOf(name, infoOf(request, name))).join(', '));
    next();
  };
}

const infoOf = (request: object, name: string): RateLimitInfo | undefined => (request as Record<string, RateLimitInfo | undefined>)[name];
const secondsLeft = (info: RateLimitInfo | undefined): number =>
  Math.max(1, Math.ceil(((info?.resetTime?.getTime() ?? 0) - Date.now()) / 1_000));
const policyOf = ({ name, limit, windowS }: Window): string => `"${name}";q=${limit};w=${windowS}`;
const stateOf = (name: string, info: RateLimitInfo | undefined): string => `"${name}";r=${info?.remaining ?? 0};t=${secondsLeft(info)}`;
