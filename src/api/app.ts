/**
 * The Express application: every manner of the API in one list, in the order a request meets them.
 * Routes are described in routes-*.ts and given in as groups; this file knows none of them.
 */
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import helmet from 'helmet';
import type { Config } from '../config.ts';
import { JobError } from '../jobs/errors.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Readiness } from '../readiness.ts';
import { createAccessLog } from './access-log.ts';
import type { FindKey } from './authenticate.ts';
import { createDispatcher } from './dispatch.ts';
import { createDocs } from './docs.ts';
import type { IdempotencyStore } from './idempotent.ts';
import { createOpenApiDocument } from './openapi.ts';
import { createProbes } from './probes.ts';
import { problemOf } from './problem.ts';
import { createRateLimits, type RateLimitSettings } from './rate-limits.ts';
import type { ApiRequest, ApiResponse, Locals } from './request.ts';
import type { RoutesOfGroup } from './route.ts';
import { sendProblem } from './send.ts';

export type AppSettings = RateLimitSettings &
  Pick<
    Config,
    'TRUST_PROXY' | 'BODY_LIMIT_BYTES' | 'BODY_LIMIT_BATCH_BYTES' | 'IDEMPOTENCY_KEEP_HOURS' | 'METRICS_TOKEN' | 'PUBLIC_URL' | 'API_GROUPS'
  >;

export type AppDeps = {
  config: AppSettings;
  log: Log;
  /** Takes the line of each request. */
  accessLog: Log;
  metrics: Metrics;
  readiness: Readiness;
  findKey: FindKey;
  idempotency: IdempotencyStore;
  groups: readonly RoutesOfGroup[];
  version: string;
};

/** Creates the application. It opens nothing: listen and close belong to server.ts. */
export function createApp({ config, log, accessLog, metrics, readiness, findKey, idempotency, groups, version }: AppDeps): Express {
  const served = groups.filter(({ group }) => config.API_GROUPS.includes(group));
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.enable('case sensitive routing');
  app.set('query parser', false);
  app.set('trust proxy', config.TRUST_PROXY);

  app.use(createAccessLog({ log: accessLog, metrics }));
  app.use(securityHeaders());
  app.use(refuseBrokenAddress);
  app.use(onlyFor(/^\/(health|metrics)/, createProbes({ readiness, metrics, findKey, metricsToken: config.METRICS_TOKEN })));
  for (const limiter of createRateLimits(config)) app.use(limiter);
  app.use(onlyFor(/^\/($|\?|docs|openapi)/, createDocs(createOpenApiDocument(served, { version, url: config.PUBLIC_URL }))));
  app.use(
    createDispatcher(
      served.flatMap(({ routes }) => routes),
      {
        findKey,
        idempotency,
        limits: {
          bodyBytes: config.BODY_LIMIT_BYTES,
          batchBytes: config.BODY_LIMIT_BATCH_BYTES,
          idempotencyKeepHours: config.IDEMPOTENCY_KEEP_HOURS,
        },
      },
    ),
  );
  app.use((request, _response, next) => {
    next(
      new JobError(
        'not_found',
        'no_such_route',
        `There is no route ${request.method} ${request.path.slice(0, 200)}; /docs lists them all.`,
      ),
    );
  });
  app.use(answerError(log));
  return app;
}

/** A router asks each of its routes in turn: one look at the address spares most requests that. */
const onlyFor =
  (address: RegExp, router: RequestHandler): RequestHandler =>
  (request, response, next) =>
    address.test(request.url) ? router(request, response, next) : next();

/** Helmet's headers for an API: nothing is ever rendered. The docs page sets a policy of its own. */
function securityHeaders(): RequestHandler {
  return helmet({
    contentSecurityPolicy: { useDefaults: false, directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] } },
    crossOriginResourcePolicy: { policy: 'same-origin' },
    referrerPolicy: { policy: 'no-referrer' },
  });
}

/** Everything behind this may decode the path: no broken escape, no raw byte beyond ASCII, no NUL. */
const refuseBrokenAddress: RequestHandler = (request, _response, next) => {
  const { url } = request;
  if (/[^\x21-\x7e]/.test(url)) return next(brokenAddress('has a character that must be percent-encoded'));
  if (!url.includes('%')) return next();
  const mark = url.indexOf('?');
  try {
    const path = decodeURIComponent(mark < 0 ? url : url.slice(0, mark));
    return path.includes('\0') ? next(brokenAddress('has a NUL character (%00)')) : next();
  } catch {
    return next(brokenAddress('has broken percent-encoding'));
  }
};

const brokenAddress = (message: string) =>
  new JobError('malformed', 'malformed_url', `The address ${message}.`, { errors: [{ path: 'path', message, code: 'malformed_url' }] });

/** The last word: every error becomes a problem; ours are logged with their stack. */
function answerError(log: Log): ErrorRequestHandler {
  return (error: unknown, request: ApiRequest, response, _next) => {
    const { requestId, route } = response.locals as Locals;
    const answer = problemOf(error, requestId);
    if (answer.ours) log.error({ requestId, route, err: error }, 'a request failed for a reason that is not the caller’s');
    if (response.headersSent) {
      // Too late to say it: an ended connection is honest, half an answer is not.
      response.destroy();
      return;
    }
    response.removeHeader('Content-Encoding');
    sendProblem(request, response as ApiResponse, answer).catch((sendError: Error) => response.destroy(sendError));
  };
}
