/** What machines ask: `/health` (alive), `/health/ready` (may get requests), `/metrics`. Open, and never limited. */
import { Router } from 'express';
import { type Metrics, mayReadMetrics } from '../metrics.ts';
import type { Readiness } from '../readiness.ts';
import { authenticate, type FindKey } from './authenticate.ts';
import { methodNotAllowed } from './problem.ts';
import type { ApiRequest, ApiResponse } from './request.ts';
import { JSON_TYPE, send, sendJson, sendProblem } from './send.ts';

export type ProbesDeps = { readiness: Readiness; metrics: Metrics; findKey: FindKey; metricsToken: string };

/** The probes' router. `/health` is the liveness: it says that this process answers, whatever its servers do. */
export function createProbes({ readiness, metrics, findKey, metricsToken }: ProbesDeps): Router {
  const router = Router({ caseSensitive: true });
  const get = (path: string, handle: (request: ApiRequest, response: ApiResponse) => Promise<void>) =>
    router.all(path, async (request, response: ApiResponse) => {
      response.locals.route = path;
      response.setHeader('Cache-Control', 'no-store');
      if (request.method === 'GET' || request.method === 'HEAD') return handle(request, response);
      if (request.method === 'OPTIONS') return sendJson(request, response, 204, null, { Allow: 'GET, HEAD, OPTIONS' });
      return sendProblem(request, response, methodNotAllowed(request.method, path, 'GET, HEAD, OPTIONS', response.locals.requestId));
    });

  const live = (request: ApiRequest, response: ApiResponse) => send(request, response, 200, JSON_TYPE, '{"status":"ok"}');
  get('/health', live);
  get('/health/live', live);
  get('/health/ready', async (request, response) => {
    const { ok, checks } = await readiness.check();
    // Keep-alive connections of a stopping process end here, so that a balancer finds another.
    if (readiness.isDraining()) response.setHeader('Connection', 'close');
    await send(request, response, ok ? 200 : 503, JSON_TYPE, JSON.stringify({ status: ok ? 'ok' : 'unavailable', checks }));
  });
  get('/metrics', async (request, response) => {
    if (!mayReadMetrics(request.socket.remoteAddress, request.headers, metricsToken)) await authenticate(request, findKey);
    await send(request, response, 200, metrics.registry.contentType, await metrics.registry.metrics());
  });
  return router;
}
