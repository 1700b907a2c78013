/**
 * Limits per client address, as two windows that both must hold: the burst (rate × 2 in a second) and what is sustained
 * (the rate over the 20 s that such a burst of 10 s uses up). Counted per process until a shared store comes.
 */
import type { RequestHandler } from 'express';
import { type Options, rateLimit } from 'express-rate-limit';
import type { Config } from '../config.ts';
import { JobError } from '../jobs/errors.ts';

export type RateLimitSettings = Pick<Config, 'RATE_LIMIT_PER_SECOND' | 'RATE_LIMIT_BURST' | 'RATE_LIMIT_BURST_S'>;

/** The limiters, in the order they are asked; none when the rate is 0. A refusal is a JobError `rate_limited` with Retry-After. */
export function createRateLimits(settings: RateLimitSettings): RequestHandler[] {
  const { RATE_LIMIT_PER_SECOND: rate, RATE_LIMIT_BURST: burst, RATE_LIMIT_BURST_S: burstS } = settings;
  if (rate === 0) return [];
  const windowS = burst * burstS;
  return [limiter('burst', rate * burst, 1), limiter('sustained', rate * windowS, windowS)];
}

function limiter(name: string, limit: number, windowS: number): RequestHandler {
  const options: Partial<Options> = {
    identifier: name,
    limit,
    windowMs: windowS * 1_000,
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    // Its self-checks write to the console; a test covers what they look for.
    validate: false,
    handler: (request, _response, next) => {
      const { resetTime } = (request as unknown as { rateLimit: { resetTime?: Date } }).rateLimit;
      const retryAfterS = Math.max(1, Math.ceil(((resetTime?.getTime() ?? 0) - Date.now()) / 1_000));
      next(
        new JobError(
          'rate_limited',
          'rate_limited',
          `More than ${limit} requests in ${windowS} s from this address; try again in ${retryAfterS} s.`,
          {
            retryAfterS,
            extra: { limit, windowS },
          },
        ),
      );
    },
  };
  return rateLimit(options);
}
