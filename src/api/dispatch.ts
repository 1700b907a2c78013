/** Turns route descriptions into Express routes: authenticate, read, call one use case, answer. */
import { Router } from 'express';
import { z } from 'zod';
import { authenticate, type FindKey } from './authenticate.ts';
import type { ContentType } from './body.ts';
import { type BodyReader, createBodyReader } from './body.ts';
import { createIdempotency, type IdempotencyStore, parseIdempotencyKey } from './idempotent.ts';
import { parseIfMatch } from './preconditions.ts';
import { parsePrefer } from './prefer.ts';
import { methodNotAllowed } from './problem.ts';
import { createQueryReader, type QueryReader } from './query.ts';
import type { ApiRequest, ApiResponse, Call, Reply } from './request.ts';
import type { RouteSpec } from './route.ts';
import { sendJson, sendProblem } from './send.ts';

export type DispatchDeps = {
  findKey: FindKey;
  idempotency: IdempotencyStore;
  limits: { bodyBytes: number; batchBytes: number; idempotencyKeepHours: number };
};

type Prepared = { spec: RouteSpec; readQuery: QueryReader; readBody: BodyReader | null; accepted: readonly ContentType[] };

/** The router of all routes. One entry per path knows all its methods, so that a wrong one gets 405 with Allow. */
export function createDispatcher(specs: readonly RouteSpec[], deps: DispatchDeps): Router {
  const router = Router({ caseSensitive: true });
  const once = createIdempotency(deps.idempotency, deps.limits.idempotencyKeepHours);
  const readers = { normal: createBodyReader(deps.limits.bodyBytes), batch: createBodyReader(deps.limits.batchBytes) };
  const prepare = (spec: RouteSpec): Prepared => ({
    spec,
    readQuery: createQueryReader(spec.query ?? z.object({})),
    readBody: spec.method === 'get' || spec.method === 'delete' ? null : readers[spec.bodyLimit ?? 'normal'],
    accepted: acceptedTypes(spec),
  });

  for (const [path, methods] of byPath(specs)) {
    const prepared = new Map(methods.map((spec) => [spec.method.toUpperCase(), prepare(spec)]));
    const get = prepared.get('GET');
    if (get) prepared.set('HEAD', get);
    const allow = [...prepared.keys(), 'OPTIONS'].join(', ');
    router.all(path, async (request, response: ApiResponse) => {
      response.locals.route = path;
      const found = prepared.get(request.method);
      if (found) return answer(found, request, response);
      if (request.method === 'OPTIONS') return sendJson(request, response, 204, null, { Allow: allow });
      return sendProblem(request, response, methodNotAllowed(request.method, request.path, allow, response.locals.requestId));
    });
  }
  return router;

  async function answer({ spec, readQuery, readBody, accepted }: Prepared, request: ApiRequest, response: ApiResponse): Promise<void> {
    const { requestId } = response.locals;
    const holder = await authenticate(request, deps.findKey);
    response.locals.holder = holder.holder;
    const query = readQuery(request.url);
    const key =
      request.method === 'POST' && spec.idempotent !== false ? parseIdempotencyKey(request.headers['idempotency-key']) : undefined;
    const body = readBody ? await readBody(request, response, accepted) : null;
    const preferences = parsePrefer(request.get('prefer'));
    const call = (idempotency: Call['idempotency']): Call => ({
      caller: { ...holder, requestId },
      params: request.params as Record<string, string>,
      query,
      body: body?.value,
      preferences,
      ifMatch: parseIfMatch(request.headers['if-match']),
      idempotency,
      header: (name) => request.get(name),
    });
    const reply =
      key === undefined
        ? await spec.handle(call(() => undefined))
        : await once({ holder, method: 'POST', path: request.path, key, bytes: body?.bytes }, (contextFor) =>
            spec.handle(call((render) => contextFor(render as (value: never) => Reply))),
          );
    if (preferences.respondAsync && spec.headers?.includes('Prefer')) response.setHeader('Preference-Applied', 'respond-async');
    response.setHeader('Cache-Control', 'no-store');
    await sendJson(request, response, reply.status, reply.json, reply.headers);
  }
}

/** A merge patch is a JSON document: clients that say no more than that mean the same. */
const acceptedTypes = ({ body }: RouteSpec): readonly ContentType[] =>
  body?.type === 'application/merge-patch+json' ? [body.type, 'application/json'] : [body?.type ?? 'application/json'];

function byPath(specs: readonly RouteSpec[]): Map<string, RouteSpec[]> {
  const paths = new Map<string, RouteSpec[]>();
  // Fixed words before parameters: /schedule/status is no job.
  const ordered = specs.toSorted((a, b) => shape(a.path).localeCompare(shape(b.path)));
  for (const spec of ordered) paths.set(spec.path, [...(paths.get(spec.path) ?? []), spec]);
  return paths;
}

/** Sorts parameters behind every fixed word. */
const shape = (path: string) => path.replaceAll(/:[a-z]+/gi, '\uffff');
