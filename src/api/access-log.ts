/** The start and the end of every request: its id, its line in the log, its numbers. */
import type { RequestHandler } from 'express';
import { v7 } from 'uuid';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Locals } from './request.ts';

/** A client's own id is taken when it is short and plain; it goes into logs and headers. */
const SANE_ID = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

/** Paths are logged without the query: addresses end up in many logs, and people put secrets there. */
export function createAccessLog({ log, metrics }: { log: Log; metrics: Metrics }): RequestHandler {
  return (request, response, next) => {
    const given = request.headers['x-request-id'];
    const requestId = typeof given === 'string' && SANE_ID.test(given) ? given : v7();
    const locals = response.locals as Locals;
    locals.requestId = requestId;
    locals.startedAt = performance.now();
    locals.route = '(none)';
    response.setHeader('X-Request-Id', requestId);
    const { method, url } = request;
    response.once('close', () => {
      const seconds = (performance.now() - locals.startedAt) / 1_000;
      const finished = response.writableFinished;
      const status = finished ? response.statusCode : 499;
      metrics.apiDuration.observe({ method, route: locals.route }, seconds);
      metrics.apiRequests.inc({ method, route: locals.route, status });
      const line = {
        requestId,
        method,
        path: pathOf(url),
        route: locals.route,
        status,
        ms: Math.round(seconds * 1e4) / 10,
        bytes: Number(response.getHeader('content-length') ?? 0),
        holder: locals.holder,
        code: locals.code,
        ip: request.ip,
      };
      // A line per probe would hide everything else.
      if (locals.route.startsWith('/health') || locals.route === '/metrics') log.debug(line, 'request');
      else log.info(line, 'request');
    });
    next();
  };
}

function pathOf(url: string): string {
  const mark = url.indexOf('?');
  return (mark < 0 ? url : url.slice(0, mark)).slice(0, 500);
}
