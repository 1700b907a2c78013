/** The start and the end of every request: its id, its line in the log, its numbers. */
import { randomUUID } from 'node:crypto';
import type { RequestHandler } from 'express';
import { type Log, plainChild } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Locals } from './request.ts';

/** A client's own id is taken when it is short and plain; it goes into logs and headers. */
const SANE_ID = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

/** Paths are logged without the query: addresses end up in many logs, and people put secrets there. */
export function createAccessLog({ log: processLog, metrics }: { log: Log; metrics: Metrics }): RequestHandler {
  const log = plainChild(processLog);
  return (request, response, next) => {
    const given = request.headers['x-request-id'];
    const requestId = typeof given === 'string' && SANE_ID.test(given) ? given : newRequestId();
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

/** A uuid v7: `randomUUID` draws its random bits in bulk, which the uuid package does not. */
function newRequestId(): string {
  const ms = Date.now().toString(16).padStart(12, '0');
  return `${ms.slice(0, 8)}-${ms.slice(8)}-7${randomUUID().slice(15)}`;
}

function pathOf(url: string): string {
  const mark = url.indexOf('?');
  return (mark < 0 ? url : url.slice(0, mark)).slice(0, 500);
}
